package rest_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/internal/rest"
)

func TestRead(t *testing.T) {
	f := func(body string, status int, code string) {
		t.Helper()
		w := httptest.NewRecorder()
		var into struct{ Name string }
		ok := rest.Read(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)), 50, &into)
		if ok != (status == http.StatusOK) || w.Code != status || !strings.Contains(w.Body.String(), code) || ok && into.Name != "x" {
			t.Errorf("%q: %t %d %s", body, ok, w.Code, w.Body)
		}
	}
	f(`{"name":"x"}`, http.StatusOK, "")
	f(`{"name":"x","more":1}`, http.StatusBadRequest, "bad_body")
	f(`{"name":"x"}{}`, http.StatusBadRequest, "bad_body")
	f(`{"name":`, http.StatusBadRequest, "bad_body")
	f("", http.StatusBadRequest, "bad_body")
	f(`{"name":"`+strings.Repeat("x", 100)+`"}`, http.StatusRequestEntityTooLarge, "body_too_large")
}

// TestMethodsAndPanics: a wrong method and a panic are problems, and the next
// request is answered.
func TestMethodsAndPanics(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /break", func(http.ResponseWriter, *http.Request) { panic("broken") })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	h := rest.Recover(rest.Methods(mux), slog.New(slog.DiscardHandler))
	f := func(method, path string, status int, code string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != status || !strings.Contains(w.Body.String(), code) {
			t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
	f("GET", "/break", http.StatusMethodNotAllowed, "bad_method")
	f("POST", "/break", http.StatusInternalServerError, "internal")
	f("GET", "/else", http.StatusNotFound, "")
	w := httptest.NewRecorder()
	rest.Write(w, http.StatusCreated, map[string]string{"a": "<b>"})
	if w.Code != http.StatusCreated || w.Body.String() != "{\"a\":\"<b>\"}\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
