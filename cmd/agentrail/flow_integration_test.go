//go:build integration

package main

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"

	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/internal/auth"
)

// axe is the source of axe-core, which the run brings (AGENTRAIL_AXE).
func axe(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(os.Getenv("AGENTRAIL_AXE"))
	if err != nil {
		t.Fatalf("axe-core: %v; run it by make integration, or: npm pack axe-core, and name its axe.min.js in AGENTRAIL_AXE", err)
	}
	return string(b)
}

// accessible fails the test for everything that axe-core finds.
func (c *chrome) accessible(where, source string) {
	c.t.Helper()
	for _, dark := range []bool{false, true} {
		c.run(scheme(dark))
		eval[bool](c, source+`; window.axeDone = null; axe.run(document, {resultTypes: ["violations"]}).then(r => { window.axeDone = r.passes.length === 0 ? ["axe checked nothing"] : r.violations.map(v => v.id + ": " + v.nodes.map(n => n.html).slice(0, 3).join(" | ")) }); true`)
		c.await(`window.axeDone !== null`)
		for _, v := range eval[[]string](c, `window.axeDone`) {
			c.t.Errorf("%s, dark %v: axe: %s", where, dark, v)
		}
	}
	c.run(scheme(false))
}

// arrives is await across the load of another page.
func (c *chrome) arrives(js string) {
	c.t.Helper()
	awaitTrue(c.t, js, func() string { return "" }, func() bool {
		so, err := chromedp.Run(c.ctx, chromedp.Evaluate[bool](`document.readyState === "complete" && (`+js+`)`))
		return err == nil && so
	})
}

// csv takes away what the page shows, by its button.
func (c *chrome) csv() (rows [][]string) {
	c.t.Helper()
	downloads := c.t.TempDir()
	c.run(command(browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: downloads}),
		chromedp.Click(chromedp.CSS("a.button[download]")))
	awaitTrue(c.t, "the CSV file", func() string { return strings.Join(must(filepath.Glob(filepath.Join(downloads, "*"))), " ") }, func() bool {
		b, err := os.ReadFile(filepath.Join(downloads, "events.csv"))
		if err != nil {
			return false
		}
		rows, err = csv.NewReader(strings.NewReader(string(b))).ReadAll()
		return err == nil && len(rows) > 2
	})
	return rows
}

// TestPageFlow is an incident at the pages, in one browser window: an alert
// comes by itself, its subscription is paused from its page, the pause is shown
// when the executor's record has come, an admin lets it go on with a reason, and
// what happened is taken away as CSV. Every page is held to axe-core.
func TestPageFlow(t *testing.T) {
	source := axe(t)
	h := newHouse(t)
	if _, err := auth.Generate(h.path("tokens.yaml"), auth.Principal{Name: "ada@example.com", Tenant: "default", Roles: []auth.Role{auth.RoleAnalyst, auth.RoleModerator, auth.RoleAdmin}}, 0); err != nil {
		t.Fatal(err)
	}
	h.end(h.served)
	h.serve()
	h.await("the executor hears the server", func() bool { return h.fresh() })
	mo, dana := "mo@example.com", "dana@example.com"
	h.ok(mo, "agents", "publish", "weekly-digest")
	h.ok(mo, "agents", "limit-subscribers", "weekly-digest", "--to", "all")

	c := startChrome(t, h.server)
	c.run(chromedp.EmulateViewport(1280, 900), chromedp.Navigate(h.server+h.login("ada@example.com")), chromedp.WaitVisible(chromedp.CSS("#cards .node")))
	c.await(`document.getElementById("live").textContent === "live"`)
	eval[string](c, `window.same = "page"`)

	var s platform.Subscription
	h.into(&s, dana, "subscribe", "weekly-digest")
	op := &visitor{h, strings.TrimSpace(string(must(os.ReadFile(h.path("token")))))}
	now := time.Now().UTC()
	records := record("c1", now.Add(-time.Second), "createagentsubscription", dana) + record("e1", now, "editagentsubscription", "mallory@example.com")
	if status, body := op.post("/v1/audit", strings.ReplaceAll(records, `"sub_1"`, fmt.Sprintf("%q", s.ID))); status != http.StatusAccepted {
		t.Fatalf("intake: %d %s", status, body)
	}
	const edited = `[...document.querySelectorAll("#open-alerts tr")].find(r => r.querySelector(".rule")?.textContent === "subscription")?.querySelector("a.title")`
	c.await(edited + ` !== undefined`) // others may be open, too
	if eval[string](c, `String(window.same)`) != "page" {
		t.Error("the page was loaded again")
	}
	c.picture("flow-overview", 1280, 900, false, false)
	eval[string](c, edited+`.click() ?? ""`)
	c.run(chromedp.WaitVisible(chromedp.CSS("#alert-brake .deed.strong summary")))
	c.accessible("alert", source)

	// Pause from the alert's page, and see it confirmed by itself.
	c.run(chromedp.Click(chromedp.CSS("#alert-brake .deed.strong summary")),
		chromedp.SendKeys(chromedp.CSS("#alert-brake .deed[open] input[name=reason]"), "writes to the wrong board"))
	c.accessible("alert with a form", source)
	c.run(chromedp.Click(chromedp.CSS("#alert-brake .deed[open] button")))
	c.arrives(`document.querySelector(".came-done") !== null`)
	c.picture("flow-paused", 1280, 900, false, false)

	// The subscription's page says so, and lets it go on with a reason.
	target := eval[string](c, `document.querySelector('.facts a[href^="/subscriptions/"]').getAttribute("href")`)
	c.run(chromedp.Navigate(h.server+target), chromedp.WaitVisible(chromedp.CSS("#subscription-head .confirmed")))
	c.await(`document.getElementById("live").textContent === "live"`)
	if target != "/subscriptions/"+s.ID {
		t.Fatalf("the alert is on %s", target)
	}
	c.await(`document.querySelector("#subscription-head .tag").textContent === "paused"`)
	c.accessible("subscription", source)
	c.keyboard("subscription")
	c.run(chromedp.Click(chromedp.CSS("#subscription-head .deed summary")),
		chromedp.SendKeys(chromedp.CSS("#subscription-head .deed[open] input[name=reason]"), "the board was fixed"),
		chromedp.Click(chromedp.CSS("#subscription-head .deed[open] button")))
	c.arrives(`document.querySelector("#subscription-head .tag").textContent === "active"`)
	c.await(`document.querySelector("#subscription-head .confirmed").textContent.includes("subscription.resume by ada@example.com")`)

	// Somebody else pauses: this window learns it by itself.
	eval[string](c, `window.same = "page"`)
	h.ok(dana, "pause", s.ID, "--reason", "mine")
	c.await(`document.querySelector("#subscription-head .tag").textContent === "paused"`)
	if eval[string](c, `String(window.same)`) != "page" {
		t.Error("the page was loaded again")
	}

	// What happened, as a file.
	c.run(chromedp.Navigate(h.server+"/events?class=control"), chromedp.WaitVisible(chromedp.CSS("a.button[download]")))
	rows := c.csv()
	if text := fmt.Sprint(rows); !strings.Contains(text, "subscription.pause") || !strings.Contains(text, "subscription.resume") {
		t.Errorf("the CSV file: %v", rows)
	}
	run := ""
	h.cli(dana, "resume", s.ID, "--reason", "on")
	h.cli(dana, "subscriptions", "run", s.ID)
	run = h.runs()[0].ID
	// A backtest is run from its form, without another page being loaded.
	c.run(chromedp.Navigate(h.server+"/detectors"), chromedp.WaitVisible(chromedp.CSS(`form[action="/detectors/backtests"] > button`)))
	eval[string](c, `window.same = "page"`)
	c.run(chromedp.Click(chromedp.CSS(`form[action="/detectors/backtests"] > button`)))
	c.arrives(`location.pathname.startsWith("/detectors/backtests/") && document.querySelector("#backtest-body .tag")?.textContent === "done"`)
	if eval[string](c, `String(window.same)`) != "page" {
		t.Error("the form loaded another page")
	}
	test := eval[string](c, `location.pathname`)
	event := func(list string) string {
		c.run(chromedp.Navigate(h.server+list), chromedp.WaitVisible(chromedp.CSS("#event-list td a")))
		return eval[string](c, `document.querySelector("#event-list td a").getAttribute("href")`)
	}("/events")
	for _, path := range []string{"/", "/alerts?state=all", "/alerts?state=silenced", "/subscriptions", "/agents", "/agents/weekly-digest", "/runs", "/runs/" + run, "/responses", "/events?action=subscription.*", event, "/detectors", test, "/pipeline", "/evidence", "/settings"} {
		c.run(chromedp.EmulateViewport(1280, 900), chromedp.Navigate(h.server+path), chromedp.WaitVisible(chromedp.CSS("main h1")))
		c.accessible(path, source)
		c.basics(path)
		c.keyboard(path)
	}
	c.clean()
}
