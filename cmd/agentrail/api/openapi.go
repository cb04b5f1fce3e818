package api

import (
	_ "embed"
	"net/http"
)

// document is the OpenAPI description of this package's paths and of the
// intake. A test holds it to the routes and to what they answer.
//
//go:embed openapi.json
var document []byte

// OpenAPI returns the OpenAPI 3.1 document of the server's own API.
func OpenAPI() []byte { return document }

func (a *api) openapi(w http.ResponseWriter, r *http.Request) {
	if _, err := params(r); err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(document)
}
