package console

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"time"
)

const (
	maxLive   = 5 * time.Minute // then the browser connects again and its session is looked at
	heartbeat = 15 * time.Second
	patience  = 10 * time.Second // a browser that takes nothing for so long is cut off
	steady    = 2 * time.Second  // figures of the pipeline change without news
)

// live sends the fragments of a view whenever they have changed, each as a
// server-sent event of its name.
func (c *Console) live(w http.ResponseWriter, r *http.Request, build func() (view, error)) {
	select {
	case c.streams <- struct{}{}:
		defer func() { <-c.streams }()
	default:
		http.Error(w, "too many live pages are open; close one", http.StatusServiceUnavailable)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // reverse proxies must not hold messages back
	ctx, cancel := context.WithTimeout(r.Context(), maxLive)
	defer cancel()
	s := &stream{c: c, w: w, rc: http.NewResponseController(w), sent: map[string]string{}}
	if err := s.run(ctx, build); err != nil && ctx.Err() == nil {
		c.log.Info("live page cut off", "path", r.URL.Path, "err", err)
	}
}

// stream is one browser's.
type stream struct {
	c    *Console
	w    http.ResponseWriter
	rc   *http.ResponseController
	sent map[string]string // by fragment
	last time.Time         // when something was written
}

func (s *stream) run(ctx context.Context, build func() (view, error)) error {
	if err := s.write("retry: 3000\n\n"); err != nil {
		return err
	}
	for {
		changed := s.c.o.Changed() // before the look, so that nothing is missed
		v, err := build()
		if err != nil {
			return err
		}
		if err := s.send(v); err != nil {
			return err
		}
		pause := time.Second
		if v.every > 0 {
			pause = v.every
		}
		if sleep(ctx, pause) != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(steady):
		}
	}
}

// send writes the fragments that differ from what the browser has.
func (s *stream) send(v view) error {
	var out strings.Builder
	for _, name := range v.fragments {
		var b bytes.Buffer
		if err := s.c.pages.ExecuteTemplate(&b, name, v.data); err != nil {
			return err
		}
		if html := b.String(); html != s.sent[name] {
			s.sent[name] = html
			out.WriteString("event: " + name + "\n")
			for line := range strings.Lines(html) {
				out.WriteString("data: " + strings.TrimRight(line, "\r\n") + "\n")
			}
			out.WriteString("\n")
		}
	}
	if out.Len() == 0 {
		if time.Since(s.last) < heartbeat {
			return nil
		}
		out.WriteString(": heartbeat\n\n")
	}
	return s.write(out.String())
}

func (s *stream) write(text string) error {
	s.last = time.Now()
	_ = s.rc.SetWriteDeadline(s.last.Add(patience)) // not supported by recorders of tests
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.rc.Flush()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
