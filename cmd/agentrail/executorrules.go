package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/trail"
)

// liveRules is the rules of the gates, read again when their files change. Rules
// that cannot be read change nothing.
type liveRules struct {
	c    *executorConfig
	put  func(ctx context.Context, r ...trail.Record) error
	who  trail.Who // the executor itself
	log  *slog.Logger
	now  func() time.Time
	held atomic.Pointer[gate.Rules]
	seen string
}

// load reads the rules for the first time.
func (l *liveRules) load() error {
	r, err := l.c.rules()
	if err != nil {
		return err
	}
	l.held.Store(r)
	l.seen = l.fingerprint()
	return nil
}

func (l *liveRules) rules() *gate.Rules { return l.held.Load() }

// read reads them again if a file has changed. That is on record: it decides
// what may be written.
func (l *liveRules) read(ctx context.Context) {
	now := l.fingerprint()
	if now == l.seen {
		return
	}
	l.seen = now
	r, err := l.c.rules()
	if err != nil {
		l.log.Error("rules of the gates not read again; the old ones stay", "err", err)
		return
	}
	rec := l.who.Act(trail.Act{Verb: editRules, At: l.now(), Reason: l.c.Rules + " has changed"})
	if err := l.put(ctx, rec); err != nil {
		l.log.Error("rules of the gates not read again: that could not be recorded; the old ones stay", "err", err)
		l.seen = "" // tried again
		return
	}
	l.held.Store(r)
	l.log.Info("rules of the gates read again", "file", l.c.Rules)
}

// editRules names a change of the rules in its record.
const editRules trail.Verb = "editgaterules"

// fingerprint covers the rules file and the policies beside it.
func (l *liveRules) fingerprint() string {
	if l.c.Rules == "" {
		return ""
	}
	all := []string{fingerprint(l.c.Rules)}
	for _, p := range l.held.Load().Policies {
		all = append(all, fingerprint(filepath.Join(filepath.Dir(l.c.Rules), filepath.FromSlash(p))))
	}
	return strings.Join(all, "")
}
