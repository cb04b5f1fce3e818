//go:build integration

package main

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/agentrail/agentrail/internal/auth"
)

// upProcess is `agentrail up` as people start it: a program of its own.
type upProcess struct {
	t            *testing.T
	program, dir string
	url          string
	out          *syncBuffer
	tokens       map[string]string // by principal
}

// startUpProcess builds the program, makes the people of the story known and
// starts up in a new folder.
func startUpProcess(t *testing.T) *upProcess {
	t.Helper()
	top := t.TempDir()
	u := &upProcess{t: t, program: filepath.Join(top, "agentrail"), dir: filepath.Join(top, "data"), out: &syncBuffer{}, tokens: map[string]string{}}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", u.program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if err := os.MkdirAll(filepath.Join(u.dir, "config"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, roles := range map[string][]auth.Role{
		"ada@example.com": {auth.RoleAnalyst, auth.RoleModerator, auth.RoleAdmin}, "grace@example.com": {auth.RoleAuditor},
	} {
		token, err := auth.Generate(filepath.Join(u.dir, "config", "tokens.yaml"), auth.Principal{Name: name, Tenant: "default", Roles: roles}, 0)
		if err != nil {
			t.Fatal(err)
		}
		u.tokens[name] = token
	}
	cmd := exec.Command(u.program, "up", "--data", u.dir, "--listen", "127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = u.out, u.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			t.Error("up does not end")
		}
	})
	awaitTrue(t, "up to be ready", u.out.String, func() bool { return strings.Contains(u.out.String(), "\nready  ") })
	r, ok := runningIn(t.Context(), u.dir)
	if !ok {
		t.Fatalf("up does not run\n%s", u.out.String())
	}
	u.url = r.URL
	return u
}

// login leaves whoever is logged in and enters with the token of another.
func (c *chrome) login(u *upProcess, who string) {
	c.t.Helper()
	c.run(chromedp.Navigate(u.url+"/login"), chromedp.WaitVisible(chromedp.CSS("#token")), chromedp.SendKeys(chromedp.CSS("#token"), u.tokens[who]+"\r"), chromedp.WaitVisible(chromedp.CSS("#cards .node")))
}

// TestScreenshots is the story that the README tells, with real programs: an
// agent runs away, its alert and its pause arrive in an open page by themselves,
// an admin lets it go on with a reason, an auditor reads what happened and takes
// it away. It takes the README's pictures on the way.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		return // the command is: make screenshots
	}
	u := startUpProcess(t)
	c := startChrome(t, u.url)
	c.run(chromedp.EmulateViewport(1280, 900))
	c.login(u, "ada@example.com")
	c.await(`document.getElementById("live").textContent === "live"`)
	c.await(`document.querySelector("#overview-charts .uplot") !== null`)
	c.picture("page", 1280, 900, false, false)

	// The agent runs away; the open page learns it by itself.
	eval[string](c, `window.same = "page"`)
	story := make(chan error, 1)
	var said bytes.Buffer
	runaway := exec.CommandContext(t.Context(), u.program, "demo", "runaway", "--data", u.dir)
	runaway.Stdout, runaway.Stderr = &said, &said
	if err := runaway.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { story <- runaway.Wait() }()
	const alert = `[...document.querySelectorAll("#open-alerts tr")].find(r => r.querySelector(".rule")?.textContent.startsWith("burst") && /board-sync|runaway/i.test(r.textContent))?.querySelector("a.title")`
	c.await(alert + ` !== undefined`)
	c.await(`[...document.querySelectorAll("#cards .node")].some(n => n.textContent.includes("Paused") && !n.textContent.includes("Paused0"))`)
	if eval[string](c, `String(window.same)`) != "page" {
		t.Error("the page was loaded again")
	}
	c.picture("walk-1-alert", 1280, 900, false, false)
	if err := <-story; err != nil {
		t.Fatalf("demo runaway: %v\n%s", err, said.String())
	}
	t.Log(said.String())
	eval[string](c, alert+`.click() ?? ""`)
	c.arrives(`document.querySelector("#alert-brake .confirmed") !== null`)
	c.picture("walk-2-paused", 1280, 900, false, false)

	// An admin lets it go on, with a reason.
	m := regexp.MustCompile(`agentrail resume (\S+) --reason`).FindStringSubmatch(said.String())
	if m == nil {
		t.Fatalf("demo runaway names no subscription:\n%s", said.String())
	}
	page := u.url + "/subscriptions/" + url.PathEscape(m[1])
	c.run(chromedp.Navigate(page), chromedp.WaitVisible(chromedp.CSS("#subscription-head .deed summary")), chromedp.Click(chromedp.CSS("#subscription-head .deed summary")),
		chromedp.SendKeys(chromedp.CSS("#subscription-head .deed[open] input[name=reason]"), "The loop of webhooks is mended: change CHG-2291."))
	c.picture("walk-3-resume", 1280, 900, false, false)
	c.run(chromedp.Click(chromedp.CSS("#subscription-head .deed[open] button")))
	c.arrives(`document.querySelector("#subscription-head .tag").textContent === "active" && document.querySelector("#subscription-head .confirmed") !== null`)
	c.picture("walk-4-resumed", 1280, 900, false, false)

	// An auditor reads the whole story, and takes it away.
	c.run(chromedp.Navigate(u.url+"/"), chromedp.Click(chromedp.CSS(".who button")), chromedp.WaitVisible(chromedp.CSS("#token")))
	c.login(u, "grace@example.com")
	c.run(chromedp.Navigate(page), chromedp.WaitVisible(chromedp.CSS("#subscription-history table")))
	c.picture("walk-5-story", 1280, 1100, false, false)
	c.run(chromedp.Navigate(u.url+"/events?class=all&subscription="+url.QueryEscape(m[1])), chromedp.WaitVisible(chromedp.CSS("#event-list tbody tr")))
	c.picture("walk-6-export", 1280, 900, false, false)
	text := fmt.Sprint(c.csv())
	for _, want := range []string{"alert.open", "subscription.pause", "response.confirmed", "subscription.resume", "The loop of webhooks is mended: change CHG-2291."} {
		if !strings.Contains(text, want) {
			t.Errorf("the CSV file does not tell of %q", want)
		}
	}
	c.clean()
	if dir := os.Getenv("AGENTRAIL_ALL_PICTURES"); dir != "" {
		c.everything(u, dir, m[1])
	}
}

// everything takes pictures of every page, small, usual and large, light and
// dark, for the eyes of whoever changes the pages.
func (c *chrome) everything(u *upProcess, dir, sub string) {
	c.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	*screenshots = dir
	c.run(chromedp.Navigate(u.url+"/"), chromedp.Click(chromedp.CSS(".who button")), chromedp.WaitVisible(chromedp.CSS("#token")))
	c.pictures("login")
	c.login(u, "ada@example.com")
	u.act(c, "agent.unpublish", "meeting-minutes", "the prompt is to be looked at again")
	u.act(c, "subscription.pause", sub, "looked at by hand")
	c.run(chromedp.Navigate(u.url+"/detectors"), chromedp.WaitVisible(chromedp.CSS(`form[action="/detectors/backtests"] button`)), chromedp.Click(chromedp.CSS(`form[action="/detectors/backtests"] > button`)))
	c.arrives(`location.pathname.startsWith("/detectors/backtests/") && document.querySelector("#backtest-body .tag")?.textContent === "done"`)
	c.pictures("backtest")
	first := func(list, selector string) string {
		c.run(chromedp.Navigate(u.url+list), chromedp.WaitVisible(chromedp.CSS(selector)))
		return eval[string](c, `document.querySelector(`+"`"+selector+"`"+`).getAttribute("href")`)
	}
	for _, p := range [][2]string{
		{"overview", "/"},
		{"alerts", "/alerts?state=all"},
		{"alert", first("/alerts?state=all", "#alert-list a.title")},
		{"alert-runaway", first("/alerts?state=all&rule=burst", "#alert-list a.title")},
		{"subscriptions", "/subscriptions"},
		{"subscription", "/subscriptions/" + sub},
		{"agents", "/agents"},
		{"agent", "/agents/meeting-minutes"},
		{"agent-sample", first("/alerts?state=all&rule=burst", "#alert-list a.title")},
		{"runs", "/runs"},
		{"run", first("/runs?subscription="+sub, "#run-list td a")},
		{"responses", "/responses"},
		{"response", first("/responses", "#response-list a.title")},
		{"events", "/events"},
		{"event", first("/events", "#event-list td a")},
		{"detectors", "/detectors"},
		{"pipeline", "/pipeline"},
		{"evidence", "/evidence"},
		{"settings", "/settings"},
		{"empty", "/alerts?state=silenced"},
		{"not-found", "/alerts/none"},
		{"bad", "/events?since=nonsense"},
	} {
		c.run(chromedp.Navigate(u.url+p[1]), chromedp.WaitVisible(chromedp.CSS("main h1")))
		c.pictures(p[0])
	}
}

// act asks for something as the visitor of the page would.
func (u *upProcess) act(c *chrome, verb, target, reason string) {
	c.t.Helper()
	ok := eval[bool](c, `fetch("/act", {method: "POST", body: new URLSearchParams({verb: `+"`"+verb+"`, target: `"+target+"`, reason: `"+reason+"`"+`, next: "/"})}).then(() => { window.acted = true }), true`)
	if !ok {
		c.t.Fatal("not asked")
	}
	c.await(`window.acted === true`)
	eval[bool](c, `window.acted = false, true`)
}

func (c *chrome) pictures(name string) {
	c.t.Helper()
	for _, w := range []int64{360, 1280, 2560} {
		height := map[int64]int64{360: 780, 1280: 900, 2560: 1440}[w]
		for _, dark := range []bool{false, true} {
			suffix := map[bool]string{false: "light", true: "dark"}[dark]
			c.picture(strings.Join([]string{name, map[int64]string{360: "360", 1280: "1280", 2560: "2560"}[w], suffix}, "-"), w, height, dark, w != 2560)
		}
	}
}
