package main

import "net/http"

// router is a ServeMux that knows what was registered.
type router struct {
	http.ServeMux
	patterns []string
}

// Handle registers a handler. It must not be called after the first request.
func (r *router) Handle(pattern string, h http.Handler) {
	r.patterns = append(r.patterns, pattern)
	r.ServeMux.Handle(pattern, h)
}
