//go:build integration

package main

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// TestPageWithHostileRecords sends records whose texts are markup, scripts and
// addresses in every field, lets a browser load every page and live update, and
// holds it to what startChrome notes: no dialog, no violation of the policy, no
// request elsewhere.
func TestPageWithHostileRecords(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "dashboards", "console", "testdata", "blns.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	var evil []string
	for _, s := range list {
		if strings.ContainsAny(s, "<>") || strings.Contains(strings.ToLower(s), "script:") || strings.Contains(s, "on") && strings.Contains(s, "=") {
			evil = append(evil, s)
		}
	}
	evil = append(evil, "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "javascript:alert(1)", "</title><script>alert(1)</script>", "<meta http-equiv=refresh content=0;url=//evil.example>")
	if len(evil) < 100 {
		t.Fatalf("%d texts", len(evil))
	}
	s := startInProcess(t, "  - {kind: subscription}")
	c := startChrome(t, s.url)
	c.run(command(cdppage.Enable, cdppage.EnableParams{}))
	c.run(chromedp.Navigate(s.url+s.login("jane")), chromedp.WaitVisible(chromedp.CSS("#open-alerts .empty")))
	now := time.Now().UTC()
	var body strings.Builder
	for i, e := range evil {
		doc, err := json.Marshal(map[string]any{
			"insertId": "h" + e, "timestamp": now.Add(time.Duration(i) * time.Millisecond).Format(time.RFC3339Nano),
			"jsonPayload": map[string]any{
				"endpoint": "/api/v1/editagentsubscription", "workflowId": e, "workflowName": e, "subscriptionId": e, "runId": e, "traceId": e,
				"actor": map[string]any{"type": e, "userId": e, "email": e, "department": e}, "request": map[string]any{"prompt": e, "tool": e, e: e}, "statusCode": 200, "errorMessage": e,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		body.Write(doc)
		body.WriteByte('\n')
	}
	s.post(t, "/v1/audit", body.String())
	c.run(chromedp.WaitVisible(chromedp.CSS("#open-alerts a.title")), chromedp.WaitVisible(chromedp.CSS("#latest-events tbody tr"))) // they came as live fragments

	seen := map[string]bool{}
	todo := []string{"/", "/alerts?state=all", "/events?class=all", "/login?next=" + url.QueryEscape(`"><script>alert(1)</script>`), "/events?actor=" + url.QueryEscape("<script>alert(1)</script>")}
	for len(todo) > 0 && len(seen) < 150 {
		path := todo[0]
		todo = todo[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		c.run(chromedp.Navigate(s.url+path), chromedp.WaitVisible(chromedp.CSS("main h1")))
		for _, fault := range eval[[]string](c, `[...document.querySelectorAll("main script, [style]:not(.uplot, .uplot *), style, iframe, object, embed, base, meta[http-equiv=refresh], img[onerror], [onload], [onmouseover], [onfocus]")].map(e => e.outerHTML).
			concat([...document.querySelectorAll("a[href], form[action]")].map(e => String(new URL(e.getAttribute("href") || e.getAttribute("action") || "", location))).filter(h => !h.startsWith(location.origin + "/")))`) {
			t.Errorf("%s has %s", path, fault)
		}
		todo = append(todo, eval[[]string](c, `[...document.querySelectorAll("main a[href^='/alerts/'], main a[href^='/events/']")].map(e => e.getAttribute("href")).slice(0, 60)`)...)
	}
	if len(seen) < 60 {
		t.Errorf("only %d pages were looked at", len(seen))
	}
	c.clean()
}
