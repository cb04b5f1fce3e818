//go:build integration

package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/agentrail/agentrail/internal/auth"
)

var screenshots = flag.String("screenshots", "", "folder to write pictures of the pages into")

// inProcess is a server in this process, without a store.
type inProcess struct {
	url, token string
	login      func(principal string) string
}

func startInProcess(t *testing.T, detectors string) *inProcess {
	t.Helper()
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens.yaml")
	token, err := auth.Generate(tokens, auth.Principal{
		Name: "jane", Tenant: "default", Roles: []auth.Role{auth.RoleIngest, auth.RoleAnalyst},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "agentrail.yaml")
	text := fmt.Sprintf(`version: 1
data: %s
listen: 127.0.0.1:0
store: {kind: none}
auth: {tokens: %s}
detectors:
%s
sources:
  - {kind: workflowrun, allow_backfill: true}
  - {kind: audit, allow_backfill: true}
sinks:
  - {kind: file, name: archive, path: %s}
`, filepath.Join(dir, "data"), tokens, detectors, filepath.Join(dir, "export", "events.ndjson"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &inProcess{token: token}
	ctx, cancel := context.WithCancel(t.Context())
	ready, served := make(chan struct{}), make(chan error, 1)
	go func() {
		served <- serve(ctx, cfg, serveOptions{log: slog.New(slog.DiscardHandler), onReady: func(addr string, login func(string) string) {
			s.url, s.login = "http://"+addr, login
			close(ready)
		}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-served:
		served <- nil
		t.Fatal(err)
	}
	return s
}

func (s *inProcess) post(t *testing.T, path, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/x-ndjson")
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusAccepted {
		t.Fatalf("POST %s: %s", path, r.Status)
	}
}

// chrome is a headless browser that notes what must not happen: errors on the
// console, violations of the policy, requests to anywhere else.
type chrome struct {
	t    *testing.T
	ctx  context.Context
	host string

	mu     sync.Mutex
	faults []string
}

func startChrome(t *testing.T, server string) *chrome {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Fatal("no Chromium found: apt-get install chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	actx, cancel := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(actx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 8*time.Minute)
	t.Cleanup(cancel)
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	c := &chrome{t: t, ctx: ctx, host: u.Host}
	if err := chromedp.Listen(ctx, c.listen); err != nil {
		t.Fatal(err)
	}
	c.run(command(network.Enable, network.EnableParams{}), command(cdplog.Enable, cdp.Empty{}), command(runtime.Enable, cdp.Empty{}))
	return c
}

func (c *chrome) listen(ev any) {
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(ev.Request.URL); err == nil && u.Host != "" && u.Host != c.host {
			c.fault("request to %s", ev.Request.URL)
		}
	case *runtime.EventExceptionThrown:
		c.fault("exception: %s", ev.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		c.fault("console: %s with %d arguments", ev.Type, len(ev.Args))
	case *cdplog.EventEntryAdded:
		if ev.Entry.Level == cdplog.EntryLevelError || ev.Entry.Level == cdplog.EntryLevelWarning {
			c.fault("log: %s %s", ev.Entry.Text, ev.Entry.URL)
		}
	case *cdppage.EventJavascriptDialogOpening:
		c.fault("dialog: %s", ev.Message)
	}
}

func (c *chrome) fault(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

// clean fails the test for what was noted.
func (c *chrome) clean() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.faults {
		c.t.Error(f)
	}
}

func (c *chrome) run(steps ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	if err := chromedp.Do(c.ctx, steps...); err != nil {
		text, _ := chromedp.Run(c.ctx, chromedp.Text(chromedp.CSS("body")))
		c.t.Fatalf("%v; the page says: %s", err, text)
	}
}

// ask runs the action and returns its value.
func ask[T any](c *chrome, a chromedp.Action[T]) T {
	c.t.Helper()
	v, err := chromedp.Run(c.ctx, a)
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

// eval returns the value of an expression in the page.
func eval[T any](c *chrome, js string) T {
	c.t.Helper()
	return ask(c, chromedp.Evaluate[T](js))
}

// await waits until the expression is true.
func (c *chrome) await(js string) {
	c.t.Helper()
	ask(c, chromedp.Poll[bool](js, chromedp.WithPollingTimeout(30*time.Second)))
}

// picture writes a screenshot of the page if the test was asked for pictures.
func (c *chrome) picture(name string, width, height int64, dark, whole bool) {
	c.t.Helper()
	if *screenshots == "" {
		return
	}
	shot := chromedp.CaptureScreenshot()
	if whole {
		shot = chromedp.FullScreenshot(100)
	}
	c.run(chromedp.EmulateViewport(width, height), scheme(dark))
	png := ask(c, shot)
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// scheme makes the page dark or light.
func scheme(dark bool) chromedp.Action[chromedp.Void] {
	value := "light"
	if dark {
		value = "dark"
	}
	return command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}},
	})
}

// command sends one command of the protocol.
func command[P any](c cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

// TestPage is an analyst's first visit: the address with the code, an alert
// that appears by itself, its page, its records.
func TestPage(t *testing.T) {
	s := startInProcess(t, "  - {kind: subscription}")
	c := startChrome(t, s.url)
	c.run(chromedp.Navigate(s.url+s.login("jane")), chromedp.WaitVisible(chromedp.CSS("#open-alerts .empty")))
	if at := ask(c, chromedp.Location()); at != s.url+"/" {
		t.Errorf("after the login at %s", at)
	}
	c.await(`document.getElementById("live").textContent === "live"`)
	eval[string](c, `window.same = "page"`)

	now := time.Now().UTC()
	s.post(t, "/v1/audit", record("c1", now.Add(-time.Hour), "createagentsubscription", "u_a")+record("e1", now, "editagentsubscription", `<img src=x onerror=alert(1)>`))
	c.run(chromedp.WaitVisible(chromedp.CSS("#open-alerts a.title")), chromedp.WaitVisible(chromedp.CSS("#latest-events tbody tr")))
	if eval[string](c, `String(window.same)`) != "page" {
		t.Error("the page was loaded again")
	}
	c.basics("/")

	c.run(chromedp.Click(chromedp.CSS("#open-alerts a.title")), chromedp.WaitVisible(chromedp.CSS(".record summary")))
	c.basics("alert")
	c.run(chromedp.Click(chromedp.CSS(".record summary")), chromedp.Click(chromedp.CSS(".record .asis summary")),
		chromedp.WaitVisible(chromedp.CSS(".record .asis pre")))
	raw := ask(c, chromedp.Text(chromedp.CSS(".record .asis pre")))
	if !strings.Contains(raw, canary) || !strings.Contains(raw, `"insertId":"`) {
		t.Errorf("record as received: %s", raw)
	}
	c.keyboard("alert")

	for _, path := range []string{"/alerts?state=all", "/events", "/events?class=alert", "/alerts/none"} {
		if path == "/alerts/none" { // its 404 is logged by the browser
			c.clean()
		}
		c.run(chromedp.Navigate(s.url+path), chromedp.WaitVisible(chromedp.CSS("main h1")))
		c.basics(path)
	}
	c.mu.Lock()
	c.faults = nil
	c.mu.Unlock()
	c.run(chromedp.Click(chromedp.CSS(".who button")), chromedp.WaitVisible(chromedp.CSS("#token")))
	c.basics("login")
	c.run(chromedp.SendKeys(chromedp.CSS("#token"), "ar_wrong"+kb.Enter), chromedp.WaitVisible(chromedp.CSS(".problem")))
	c.mu.Lock()
	c.faults = nil // the 401 of that
	c.mu.Unlock()
	c.run(chromedp.SendKeys(chromedp.CSS("#token"), s.token+kb.Enter), chromedp.WaitVisible(chromedp.CSS("#open-alerts a.title")))
	c.clean()
}

// basics checks what every page must have.
func (c *chrome) basics(where string) {
	c.t.Helper()
	for _, f := range eval[[]string](c, pageBasics) {
		c.t.Errorf("%s: %s", where, f)
	}
	for _, width := range []int64{360, 1280} {
		c.run(chromedp.EmulateViewport(width, 800))
		if over := eval[int](c, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
			c.t.Errorf("%s: at a width of %d the page is %d wider", where, width, over)
		}
	}
	for _, dark := range []bool{true, false} {
		c.run(scheme(dark))
		if faults := eval[[]string](c, pageContrast); len(faults) > 0 {
			c.t.Errorf("%s, dark %v: contrast below 4.5: %s", where, dark, strings.Join(faults, "; "))
		}
	}
}

// keyboard walks through the page by Tab: everything that can be used is
// reached, and one sees where one is.
func (c *chrome) keyboard(where string) {
	c.t.Helper()
	eval[bool](c, `document.activeElement.blur(), window.scrollTo(0, 0), true`)
	want := eval[int](c, `[...document.querySelectorAll("a[href], button, summary, input, select, pre[tabindex]")].filter(e => e.checkVisibility()).length`)
	seen := map[string]bool{}
	for range want + 5 {
		c.run(chromedp.KeyEvent(kb.Tab))
		at := eval[struct {
			Key     string
			Outline bool
		}](c, `(() => { const e = document.activeElement, all = [...document.querySelectorAll("*")], s = getComputedStyle(e);
			return {Key: e === document.body ? "" : String(all.indexOf(e)), Outline: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0} })()`)
		if at.Key == "" {
			continue
		}
		if !at.Outline {
			c.t.Errorf("%s: element %s does not show that it has the focus", where, at.Key)
		}
		seen[at.Key] = true
	}
	if len(seen) < want {
		c.t.Errorf("%s: Tab reaches %d of %d elements", where, len(seen), want)
	}
}

const pageBasics = `(() => {
	const out = [], d = document;
	if (d.documentElement.lang !== "en") out.push("no language");
	if (!/ · Agentrail$/.test(d.title)) out.push("title " + d.title);
	if (d.querySelectorAll("main").length !== 1 || d.querySelectorAll("h1").length !== 1) out.push("not one main and one h1");
	for (const e of d.querySelectorAll("input:not([type=hidden]), select")) if (!e.labels.length) out.push("no label: " + e.outerHTML);
	for (const e of d.querySelectorAll("a, button, summary")) if (!e.textContent.trim() && !e.ariaLabel) out.push("no text: " + e.outerHTML);
	for (const e of d.querySelectorAll("th:not(.uplot *)")) if (!e.scope) out.push("th without scope");
	const ids = [...d.querySelectorAll("[id]")].map(e => e.id);
	if (new Set(ids).size !== ids.length) out.push("an id twice");
	for (const e of d.querySelectorAll("[aria-labelledby]")) if (!d.getElementById(e.getAttribute("aria-labelledby"))) out.push("label missing");
	if (d.querySelector("[style]:not(.uplot, .uplot *), style, script:not([src]), img[onerror]")) out.push("style or script in the page");
	return out;
})()`

// pageContrast lists visible texts whose contrast with the ground below them is
// lower than 4.5.
const pageContrast = `(() => {
	const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
	const rgba = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
	const lum = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
	const ground = e => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] > 250) return c; } return [255, 255, 255, 255]; };
	const out = new Set();
	for (const e of document.querySelectorAll("body *")) {
		if (!e.checkVisibility() || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
		const a = lum(rgba(getComputedStyle(e).color).slice(0, 3)), b = lum(ground(e).slice(0, 3));
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) out.add(e.tagName + "." + e.className + " " + ratio.toFixed(2));
	}
	return [...out];
})()`
