package action

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	maxUnasked = 200       // notifications and requests of the server a second
	maxWaste   = 256 << 20 // bytes of one line, past which the server is killed
)

// ErrTooLarge ends the calls that wait when an answer is too large to be read.
var ErrTooLarge = errors.New("the server sent more than an answer may hold")

// lines passes on what the server writes, line by line: no line longer
// than max, none that is not one JSON object, and not more than maxUnasked a
// second that answer nothing. What is held back costs the calls that wait at
// most their time. It is the server's standard output.
type lines struct {
	to   io.Writer
	max  int
	log  *slog.Logger
	kill func()

	part   []byte // of a line that has not ended
	waste  int    // bytes of a line that is too long
	second time.Time
	seen   int // unasked lines in that second

	mu      sync.Mutex
	waiting map[int]context.CancelCauseFunc
	next    int
}

func newLines(to io.Writer, most int, log *slog.Logger, kill func()) *lines {
	return &lines{to: to, max: most, log: log, kill: kill, waiting: map[int]context.CancelCauseFunc{}}
}

// watch has the call cancelled when a line is too long; the returned function
// ends that.
func (l *lines) watch(cancel context.CancelCauseFunc) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.next
	l.next++
	l.waiting[n] = cancel
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.waiting, n)
	}
}

// fail cancels the calls that wait.
func (l *lines) fail(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, cancel := range l.waiting {
		cancel(why)
	}
}

// Write implements io.Writer. It fails only when the reader has gone.
func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			l.hold(p)
			break
		}
		l.hold(p[:i])
		p = p[i+1:]
		line, wasted := l.part, l.waste > 0
		l.part, l.waste = l.part[:0], 0
		if wasted || !l.passes(line) {
			continue
		}
		if _, err := l.to.Write(append(line, '\n')); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// hold keeps a piece of a line, or counts it if the line is too long.
func (l *lines) hold(p []byte) {
	if l.waste == 0 && len(l.part)+len(p) <= l.max {
		l.part = append(l.part, p...)
		return
	}
	if l.waste == 0 {
		l.log.Warn("answer of the server is too large", "most", l.max)
		l.fail(ErrTooLarge)
		l.waste = len(l.part)
		l.part = nil
	}
	if l.waste += len(p); l.waste > maxWaste {
		l.log.Error("server does not end its line and is killed")
		l.kill()
	}
}

// passes reports whether the client may read the line.
func (l *lines) passes(line []byte) bool {
	if len(bytes.TrimSpace(line)) == 0 {
		return false
	}
	var head struct {
		Method string `json:"method"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		l.log.Warn("server wrote a line that is no message", "bytes", len(line))
		return false
	}
	if head.Method == "" {
		return true
	}
	if now := time.Now(); now.Sub(l.second) >= time.Second {
		l.second, l.seen = now, 0
	}
	if l.seen++; l.seen == maxUnasked+1 {
		l.log.Warn("server floods with messages that answer nothing; they are dropped", "a_second", maxUnasked)
	}
	return l.seen <= maxUnasked
}
