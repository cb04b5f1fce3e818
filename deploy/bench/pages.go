package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// pageAim is what a page of the console may take on two cores.
const pageAim = 300 * time.Millisecond

// pages has the server take in -stored events of the sample and asks every page
// and list of the console for them: first by a server that was just started,
// -reps times, then -asks times.
func (b *bench) pages(ctx context.Context) error {
	s, err := b.filled(ctx)
	if err != nil {
		return err
	}
	defer func() { s.close() }()
	list, err := s.pageList(b.token)
	if err != nil {
		return err
	}
	first := make([][]time.Duration, len(list))
	for range *reps {
		s.close()
		if err := s.open(ctx); err != nil {
			return err
		}
		if _, err := s.ask(ctx, "/login"); err != nil {
			return err
		}
		for i, p := range list {
			took, err := s.ask(ctx, p.paths[0])
			if err != nil {
				return err
			}
			first[i] = append(first[i], took)
		}
	}
	fmt.Printf("\npages of the console over %d events, ms until the last byte: just started (slowest of %d), then %d times, with the processor time of serve and engine\n", *stored, *reps, *asks)
	fmt.Printf("%-52s %8s %8s %8s %8s\n", "page", "first", "p50", "p99", "CPU")
	over := 0
	for i, p := range list {
		var took []time.Duration
		before := s.cpu()
		for n := range *asks {
			t, err := s.ask(ctx, p.paths[n%len(p.paths)])
			if err != nil {
				return err
			}
			took = append(took, t)
		}
		cpu := 1000 * (s.cpu() - before) / float64(*asks)
		slices.Sort(took)
		p99 := took[(len(took)*99+99)/100-1]
		late := ""
		if max(p99, slices.Max(first[i])) > pageAim {
			late = "  over " + pageAim.String()
			over++
		}
		fmt.Printf("%-52s %8.0f %8.0f %8.0f %8.0f%s\n", p.name, ms(slices.Max(first[i])), ms(took[len(took)/2]), ms(p99), cpu, late)
	}
	fmt.Printf("%d of %d over %s\n", over, len(list), pageAim)
	if err := b.exports(ctx, s); err != nil {
		return err
	}
	return b.paint(ctx, s)
}

// console is a running serve whose folder is kept from one start to the next,
// and a visitor who is logged in.
type console struct {
	dir, url, token string
	p               *process
	visitor         *http.Client
}

// filled returns a server over a folder of -stored events. A folder that was
// filled before is used as it is.
func (b *bench) filled(ctx context.Context) (*console, error) {
	s := &console{dir: *folder}
	if s.dir == "" {
		s.dir = filepath.Join(b.dir, "filled")
	}
	marker := filepath.Join(s.dir, fmt.Sprintf("filled-%d", *stored))
	_, err := os.Stat(marker)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, err
		}
		began := time.Now()
		if err := fillDays(ctx, filepath.Join(s.dir, "data"), *stored); err != nil {
			return nil, fmt.Errorf("fill journal: %w", err)
		}
		fmt.Printf("journal of %d events written in %.0f s\n", *stored, time.Since(began).Seconds())
		began = time.Now()
		if err := s.settle(ctx); err != nil {
			return nil, err
		}
		fmt.Printf("store, detectors and all other consumers have read it in %.0f s\n", time.Since(began).Seconds())
		b.token = s.token
		return s, os.WriteFile(marker, nil, 0o600)
	}
	if err != nil {
		return nil, err
	}
	err = s.settle(ctx)
	b.token = s.token
	return s, err
}

// settle starts the server and waits until every consumer has read everything.
func (s *console) settle(ctx context.Context) error {
	if err := s.configure(); err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	for {
		done, err := (&served{url: s.url}).drained(s.token)
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.p.done:
			return errors.New("serve ended; see serve.log")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// configure writes a config with the default detectors and the embedded store.
func (s *console) configure() error {
	addr, err := freePort()
	if err != nil {
		return err
	}
	s.url = "http://" + addr
	tokens := filepath.Join(s.dir, "tokens.yaml")
	if err := os.RemoveAll(tokens); err != nil {
		return err
	}
	token, err := exec.Command(*bin, "token", "new", "--file", tokens, "--name", "bench", "--tenant", "default", "--roles", "analyst,admin,auditor").Output()
	if err != nil {
		return fmt.Errorf("make token: %w", err)
	}
	s.token = strings.TrimSpace(string(token))
	conf := fmt.Sprintf("version: 1\ndata: data\nlisten: %s\nlog: {level: warn}\njournal: {max_bytes: 64GiB}\n", addr)
	return os.WriteFile(filepath.Join(s.dir, "agentrail.yaml"), []byte(conf), 0o600)
}

// open starts the program and logs the visitor in.
func (s *console) open(ctx context.Context) (err error) {
	if s.p, err = start(filepath.Join(s.dir, "serve.log"), *bin, "serve", "--config", filepath.Join(s.dir, "agentrail.yaml")); err != nil {
		return err
	}
	if err := s.login(ctx); err != nil {
		log, _ := os.ReadFile(filepath.Join(s.dir, "serve.log"))
		s.p.stop()
		return fmt.Errorf("%w\n%s", err, log)
	}
	return nil
}

func (s *console) login(ctx context.Context) error {
	if err := waitReady(ctx, s.url+"/readyz", s.p); err != nil {
		return err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	s.visitor = &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	form := url.Values{"token": {s.token}, "next": {"/detectors"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/login", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", s.url)
	r, err := s.visitor.Do(req)
	if err != nil {
		return err
	}
	r.Body.Close()
	if r.StatusCode != http.StatusSeeOther {
		return fmt.Errorf("log in: %s", r.Status)
	}
	return nil
}

func (s *console) close() { s.p.stop() }

// cpu is what serve and the engine have used, seconds.
func (s *console) cpu() float64 {
	user, system, _ := s.p.usage()
	for _, pid := range s.p.children() {
		u, sy, _ := usageOf(pid)
		user, system = user+u, system+sy
	}
	return user + system
}

// ask gets a page and returns how long it took, to its last byte.
func (s *console) ask(ctx context.Context, path string) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "text/html")
	began := time.Now()
	r, err := s.visitor.Do(req)
	if err != nil {
		return 0, err
	}
	text, err := io.ReadAll(r.Body)
	took := time.Since(began)
	r.Body.Close()
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", r.Status, text[:min(len(text), 500)])
	}
	if err != nil {
		return 0, fmt.Errorf("get %s: %w", path, err)
	}
	return took, nil
}
