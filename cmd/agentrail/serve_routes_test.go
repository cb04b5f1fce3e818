package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// undocumented are routes that stand in no document of ours, by the beginning of
// pattern or path, and why.
var undocumented = map[string]string{
	"/ ":                          "the API's own mux, whose routes its own test holds to the document",
	"/alertmanager/":              "Alertmanager's own API, whose document is Alertmanager's",
	"GET /assets/":                "scripts and styles of the pages",
	"GET /login":                  "for browsers",
	"POST /login ":                "for browsers",
	"POST /logout ":               "for browsers",
	"POST /act ":                  "the form of the pages; programs have POST control",
	"POST /alerts/":               "the button of the page; programs have POST alerts/{id}/case below the prefix",
	"GET /agentrail/v1/sql/{$} ":  "a slash that some drivers add",
	"POST /agentrail/v1/sql/{$} ": "a slash that some drivers add",
	"/v1/audit ":                  "answers 405 to other methods",
	"/v1/workflowrun ":            "answers 405 to other methods",
	"GET /{$} ":                   "a page", "GET /alerts": "a page", "GET /events": "a page", "GET /subscriptions": "a page", "GET /agents": "a page", "GET /runs": "a page",
	"GET /responses": "a page", "GET /detectors ": "a page", "/detectors/backtests": "pages and their forms", "GET /pipeline ": "a page", "GET /evidence ": "a page", "GET /settings ": "a page",
}

// TestEveryRouteIsDocumented holds what a server with everything switched on
// listens for to the OpenAPI document: each route is in it or on the list above,
// and each operation of it has a route.
func TestEveryRouteIsDocumented(t *testing.T) {
	h := layHouse(t)
	h.write("alertmanager.yml", "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
	h.withSQL("alerting: {file: " + h.path("alertmanager.yml") + "}\n")
	c := h.config()
	var patterns []string
	_, addr := h.start(func(ctx context.Context, log *slog.Logger, ready func(string)) error {
		return serve(ctx, c, serveOptions{log: log, onRoutes: func(p []string) { patterns = p }, onReady: func(a string, _ func(string) string) { ready(a) }})
	})

	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(api.OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, p := range patterns {
		method, path, _ := strings.Cut(p, " ")
		if _, ok := doc.Paths[path][strings.ToLower(method)]; ok {
			continue
		}
		known := false
		for begin := range undocumented {
			if strings.HasPrefix(p+" ", begin) || strings.HasPrefix(path+" ", begin) {
				known, used[begin] = true, true
			}
		}
		if !known {
			t.Errorf("%s is in no document: add it to cmd/agentrail/api/openapi.json, or here with the reason", p)
		}
	}
	for _, begin := range slices.Sorted(maps.Keys(undocumented)) {
		if !used[begin] {
			t.Errorf("there is no route %s any more", begin)
		}
	}
	for path, item := range doc.Paths {
		for method := range item {
			req, err := http.NewRequestWithContext(t.Context(), strings.ToUpper(method), "http://"+addr+strings.NewReplacer("{id}", "1").Replace(path), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if open := item[method]; resp.StatusCode != http.StatusUnauthorized && !strings.Contains(string(open), `"security": []`) {
				t.Errorf("%s %s without a credential: %s", method, path, resp.Status)
			}
		}
	}
}
