package action

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	maxStderrLine = 1000 // bytes of a line that is kept
	maxStderr     = 20   // lines a second
)

// stderr is what a server says beside the protocol: logged at level debug, line
// by line, so many a second, without the credential.
type stderr struct {
	log    *slog.Logger
	secret string

	mu     sync.Mutex
	part   []byte
	second time.Time
	seen   int
}

// Write implements io.Writer; it never fails.
func (s *stderr) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		piece := p
		if i >= 0 {
			piece = p[:i]
		}
		// A secret that is cut would not be found: one more of its length is kept
		// until it has been looked for.
		if room := maxStderrLine + len(s.secret) - len(s.part); room > 0 {
			s.part = append(s.part, piece[:min(len(piece), room)]...)
		}
		if i < 0 {
			break
		}
		s.line()
		p = p[i+1:]
	}
	return n, nil
}

func (s *stderr) line() {
	text := string(s.part)
	s.part = s.part[:0]
	if now := time.Now(); now.Sub(s.second) >= time.Second {
		s.second, s.seen = now, 0
	}
	if s.seen++; s.seen > maxStderr || strings.TrimSpace(text) == "" {
		return
	}
	if s.secret != "" {
		text = strings.ReplaceAll(text, s.secret, "***")
	}
	s.log.Debug("server says", "text", cut(text, maxStderrLine))
}
