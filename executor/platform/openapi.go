package platform

import (
	_ "embed"
	"net/http"
)

// document describes this package's paths. A test holds it to the routes and to
// what they answer.
//
//go:embed openapi.json
var document []byte

// OpenAPI returns the OpenAPI 3.1 document of the executor's API.
func OpenAPI() []byte { return document }

func (p *platform) openapi(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(document)
}
