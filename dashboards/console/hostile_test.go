package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// naughty returns texts that break pages: the Big List of Naughty Strings, and
// addresses and markup that it lacks.
func naughty(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "blns.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) < 400 {
		t.Fatalf("the list has %d texts", len(list))
	}
	return append(list,
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:msgbox(1)",
		`" onmouseover="alert(1)`, `' autofocus onfocus='alert(1)`, "</title><script>alert(1)</script>", "</script><script>alert(1)</script>", "--><svg/onload=alert(1)>",
		"<base href=//evil.example>", "<meta http-equiv=refresh content='0;url=//evil.example'>", "{{.}}", "//evil.example/", `/\evil.example`, "../../../../etc/passwd",
	)
}

var (
	tags  = regexp.MustCompile(`<[a-zA-Z/!][^>]*>`)
	value = regexp.MustCompile(`="[^"]*"`)
	links = regexp.MustCompile(`(?:href|src|action|formaction|content)="([^"]*)"`)
)

// skeleton is the page without its texts: the tags with the names of their
// attributes, in order.
func skeleton(page string) string {
	var out strings.Builder
	for _, tag := range tags.FindAllString(page, -1) {
		out.WriteString(value.ReplaceAllString(tag, "") + "\n")
	}
	return out.String()
}

// TestTextsAreNeverMarkup: whatever stands in any field of an event and an alert,
// the pages have the same tags as with harmless texts, and lead nowhere else.
func TestTextsAreNeverMarkup(t *testing.T) {
	r := newRig(t, nil)
	v := r.visit("acme/analyst")
	id := fmt.Sprintf("%032x", 1)
	pages := []string{"/", "/alerts", "/alerts?state=all", "/alerts/a1", "/events", "/events?class=all", "/events/" + id, "/runs", "/subscriptions", "/agents", "/responses", "/detectors", "/pipeline", "/evidence", "/settings"}
	set := func(text string) {
		e := api.Event{ID: id, Time: now, Received: now}
		poison(reflect.ValueOf(&e).Elem(), text, "ID")
		raw := "x" + text // no JSON, which is shown in another way
		e.Class, e.Raw = "activity", &raw
		a := schemas.Alert{LastSeen: now, FirstSeen: now, DecidedAt: now}
		if n := poison(reflect.ValueOf(&a).Elem(), text); n < 20 {
			t.Fatalf("%d texts of an alert are set", n)
		}
		a.ID, a.Transition, a.Severity = "a1", schemas.TransitionOpen, schemas.SeverityHigh
		a.Evidence = []schemas.Evidence{{ID: id, Time: now}}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events[acme], r.alerts[acme] = []api.Event{e}, []schemas.Alert{a}
	}
	show := func(page string) string {
		t.Helper()
		status, body, h := v.get(page)
		if status != http.StatusOK || !strings.Contains(h.Get("Content-Security-Policy"), "script-src 'self'") || h.Get("X-Frame-Options") != "DENY" {
			t.Fatalf("%s: %d %v", page, status, h)
		}
		for _, m := range links.FindAllStringSubmatch(body, -1) {
			if to := m[1]; !strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "#") && !strings.HasPrefix(to, "width=") && to != "light dark" && !strings.HasPrefix(to, "15") || strings.HasPrefix(to, "//") {
				t.Errorf("%s leads to %q", page, to)
			}
		}
		return skeleton(body)
	}
	want := map[string]string{}
	set("harmless")
	for _, page := range pages {
		want[page] = show(page)
	}
	for _, text := range naughty(t) {
		if text == "" {
			continue // nothing to show is another page
		}
		set(text)
		for _, page := range pages {
			if got := show(page); got != want[page] {
				t.Errorf("%s with %q has other tags:\n%s", page, text, firstDifference(want[page], got))
			}
		}
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("tag %d is %s, want %s", i, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d tags, want %d", len(g), len(w))
}

// TestNobodyIsSentElsewhereAfterALogin: next is a page of ours whatever it says.
func TestNobodyIsSentElsewhereAfterALogin(t *testing.T) {
	r := newRig(t, nil)
	for _, next := range append(naughty(t), "https:evil.example", "https:/evil.example", "///evil.example", "/%09/evil.example", "/%2f%2fevil.example", "\t//evil.example", "/.//evil.example", "@evil.example", "?//evil.example") {
		status, _, h := r.visit("").post("/login", url.Values{"token": {r.tokens["acme/viewer"]}, "next": {next}})
		to := h.Get("Location")
		at, err := url.Parse(to)
		if status != http.StatusSeeOther || err != nil || at.IsAbs() || at.Host != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`) || strings.ContainsAny(to, "\t\r\n") {
			t.Errorf("next %q: %d to %q", next, status, to)
		}
	}
}
