package main

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"slices"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// paint prints when a headless Chromium has first painted content of the pages
// that people begin with, with an empty cache and with a full one, and what
// everything that they load weighs.
func (b *bench) paint(ctx context.Context, s *console) error {
	if err := s.weigh(ctx); err != nil {
		return err
	}
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if at, err := exec.LookPath(name); err == nil {
			path = at
			break
		}
	}
	if path == "" {
		fmt.Println("first paint: NOT RUN, there is no Chromium; apt-get install chromium")
		return nil
	}
	opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	ctx, stop := chromedp.NewExecAllocator(ctx, opts...)
	defer stop()
	ctx, closed := chromedp.NewContext(ctx)
	defer closed()
	if err := s.admit(ctx); err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	for _, page := range []string{"/", "/alerts"} {
		for _, cache := range []string{"empty cache", "full cache"} {
			var first []float64
			for range *reps {
				at, err := s.firstPaint(ctx, page, cache == "empty cache")
				if err != nil {
					return fmt.Errorf("first paint of %s: %w", page, err)
				}
				first = append(first, at)
			}
			fmt.Printf("first contentful paint of %-10s %-12s %5.0f ms, slowest of %d\n", page, cache, slices.Max(first), *reps)
		}
	}
	return nil
}

// admit makes the browser the visitor.
func (s *console) admit(ctx context.Context) error {
	at, err := url.Parse(s.url)
	if err != nil {
		return err
	}
	for _, c := range s.visitor.Jar.Cookies(at) {
		if err := chromedp.Do(ctx, command(network.SetCookie, network.SetCookieParams{Name: c.Name, Value: c.Value, URL: s.url})); err != nil {
			return err
		}
	}
	return nil
}

// firstPaint opens a page and returns the milliseconds from asking for it to
// the browser's paint timing entry.
func (s *console) firstPaint(ctx context.Context, path string, forget bool) (float64, error) {
	const entry = `new Promise(done => new PerformanceObserver(list => {
		const first = list.getEntriesByName("first-contentful-paint")[0]
		if (first) done(first.startTime)
	}).observe({type: "paint", buffered: true}))`
	steps := []chromedp.Action[chromedp.Void]{chromedp.Navigate("about:blank")}
	if forget {
		steps = append(steps, command(network.ClearBrowserCache, cdp.Empty{}))
	}
	if err := chromedp.Do(ctx, append(steps, chromedp.Navigate(s.url+path))...); err != nil {
		return 0, err
	}
	return chromedp.Run(ctx, chromedp.Evaluate[float64](entry, chromedp.EvalAwaitPromise))
}

// command is a step that sends one command of the protocol.
func command[P, R any](c cdp.Command[P, R], p P) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, c, p)
		return chromedp.Void{}, err
	}
}

var linked = regexp.MustCompile(`/assets/[^"]+`)

// weigh prints what the assets of the pages weigh when they are compressed.
func (s *console) weigh(ctx context.Context) error {
	page, err := s.get(ctx, "/")
	if err != nil {
		return err
	}
	plain, packed := 0, counter(0)
	links := linked.FindAllString(string(page), -1)
	slices.Sort(links)
	for _, link := range slices.Compact(links) {
		asset, err := s.get(ctx, link)
		if err != nil {
			return err
		}
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(asset); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		plain += len(asset)
	}
	fmt.Printf("\nassets of the overview: %.1f kB, %.1f kB by gzip\n", float64(plain)/1000, float64(packed)/1000)
	return nil
}

type counter int

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

func (s *console) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return nil, err
	}
	r, err := s.visitor.Do(req)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	return io.ReadAll(r.Body)
}
