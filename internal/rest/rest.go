// Package rest is what every HTTP API of ours does the same way: JSON answers,
// strict and bounded bodies, wrong methods and panics as problems.
package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/agentrail/agentrail/internal/problem"
)

// Write answers with a JSON document.
func Write(w http.ResponseWriter, status int, doc any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(doc) // the client is gone; nothing is left to say
}

// MaxBody caps the body of a POST, bytes, where an API says nothing else.
const MaxBody = 64 << 10

// Read fills into from the body. Unknown members, more than one document and
// bodies larger than most bytes are refused; false means that the request was
// answered.
func Read(w http.ResponseWriter, r *http.Request, most int64, into any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is something after the document")
		}
	}
	if err == nil {
		return true
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		problem.Write(w, problem.Details{
			Status: http.StatusRequestEntityTooLarge, Title: "Body too large", Code: "body_too_large",
			Detail: fmt.Sprintf("the body is larger than %d bytes", most),
		})
		return false
	}
	problem.Write(w, problem.Details{
		Status: http.StatusBadRequest, Title: "Bad body", Code: "bad_body",
		Detail: "the body cannot be read: " + err.Error(),
	})
	return false
}

// Methods turns the mux's plain answer to a wrong method into a problem. The
// mux must have a route for /.
func Methods(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "/" || pattern == "" {
			if allow := allowed(mux, r); allow != "" && allow != r.Method {
				w.Header().Set("Allow", allow)
				problem.Write(w, problem.Details{
					Status: http.StatusMethodNotAllowed, Title: "Method not allowed", Code: "bad_method",
					Detail: r.URL.Path + " takes " + allow + " only",
				})
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

// allowed returns the method that the path takes, or "".
func allowed(mux *http.ServeMux, r *http.Request) string {
	for _, m := range []string{http.MethodGet, http.MethodPost} {
		probe := *r
		probe.Method = m
		if _, pattern := mux.Handler(&probe); pattern != "/" && pattern != "" {
			return m
		}
	}
	return ""
}

// Recover turns a panic of one request into a 500 of that request.
func Recover(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, too
				panic(p)
			}
			log.Error("panic in request", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			problem.Write(w, problem.Details{
				Status: http.StatusInternalServerError, Title: "Internal error", Code: "internal",
				Detail: "the server failed on this request; its log says more",
			})
		}()
		next.ServeHTTP(w, r)
	})
}
