package api

import (
	"net/http"

	"github.com/agentrail/agentrail/internal/rest"
)

// writeJSON answers with a JSON document.
func writeJSON(w http.ResponseWriter, status int, doc any) { rest.Write(w, status, doc) }

// readJSON fills into from the body, strictly; false means that the request was
// answered.
func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	return rest.Read(w, r, rest.MaxBody, into)
}
