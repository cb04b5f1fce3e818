package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// exportRows is the most that one export gives.
const exportRows = 1_000_000

// exports takes events away in both forms and prints how much memory the server
// had at most while it did: that must not grow with the rows.
func (b *bench) exports(ctx context.Context, s *console) error {
	fmt.Printf("\nexports, resident memory of serve and of its engine: before, and at most meanwhile\n")
	until := "&until=" + url.QueryEscape(time.Now().UTC().Format(time.RFC3339))
	for _, x := range []struct{ name, format, accept string }{
		{"CSV, by the button", "&format=csv", "text/html"},
		{"NDJSON, by the button", "&format=ndjson", "text/html"},
		{"CSV, by Accept", "", "text/csv"},
		{"NDJSON, by Accept", "", "application/x-ndjson"},
	} {
		for _, rows := range []int{exportRows / 100, exportRows} {
			rows = min(rows, *stored)
			serve, engine := s.memory()
			if err := s.forgetPeaks(); err != nil {
				return err
			}
			began := time.Now()
			n, size, err := s.take(ctx, fmt.Sprintf("/agentrail/v1/events?class=activity&limit=%d%s%s", rows, x.format, until), x.accept)
			if err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			if strings.HasPrefix(x.name, "CSV") {
				n-- // the header
			}
			if n != rows {
				return fmt.Errorf("%s: %d rows of %d", x.name, n, rows)
			}
			took := time.Since(began).Seconds()
			_, _, serveMost := usageOf(s.p.cmd.Process.Pid)
			engineMost := 0.0
			for _, pid := range s.p.children() {
				_, _, most := usageOf(pid)
				engineMost = max(engineMost, most)
			}
			fmt.Printf("%-24s %9d rows %6.0f MB %6.1f s   serve %4.0f -> %4.0f MB   engine %4.0f -> %4.0f MB\n", x.name, n, float64(size)/1e6, took, serve, serveMost, engine, engineMost)
		}
	}
	return nil
}

// take reads an export and returns its lines and bytes.
func (s *console) take(ctx context.Context, path, accept string) (lines, size int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("Accept", accept)
	r, err := s.visitor.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return 0, 0, fmt.Errorf("get %s: %s", path, r.Status)
	}
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Body.Read(buf)
		lines, size = lines+bytes.Count(buf[:n], []byte("\n")), size+n
		if err == io.EOF {
			return lines, size, nil
		}
		if err != nil {
			return lines, size, err
		}
	}
}

// memory is what serve and the engine have resident now, MB.
func (s *console) memory() (serve, engine float64) {
	serve = resident(s.p.cmd.Process.Pid)
	for _, pid := range s.p.children() {
		engine += resident(pid)
	}
	return serve, engine
}

func resident(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	var size, pages int
	_, _ = fmt.Sscan(string(b), &size, &pages)
	return float64(pages*os.Getpagesize()) / (1 << 20)
}

// forgetPeaks lets the peaks of memory begin anew.
func (s *console) forgetPeaks() error {
	for _, pid := range append(s.p.children(), s.p.cmd.Process.Pid) {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return fmt.Errorf("forget peak of memory: %w", err)
		}
	}
	return nil
}
