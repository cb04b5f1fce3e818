package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// specFolder keeps what the spec files say in the executor's state. A file that
// cannot be used is named and changes nothing; what was published goes on. A
// folder that is not there holds no agents: the gateway needs none.
type specFolder struct {
	dir   string
	store *state.Store
	who   trail.Who // the executor itself
	log   *slog.Logger
	now   func() time.Time

	mu     sync.Mutex
	faults map[string]string // by agent, or by file where it names none
	seen   string            // of the folder when it was read last
}

// read takes every file whose text has changed.
func (f *specFolder) read(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(f.dir, "*.yaml"))
	if err != nil {
		return fmt.Errorf("read agents: %w", err)
	}
	known, err := f.store.Agents(ctx)
	if err != nil {
		return fmt.Errorf("read agents: %w", err)
	}
	faults, from := map[string]string{}, map[string]string{}
	var errs []error
	for _, file := range files {
		name, err := f.take(ctx, file, known, from)
		if err == nil {
			continue
		}
		if fault, ok := errors.AsType[*specFault](err); ok {
			faults[firstOf(name, filepath.Base(file))] = fault.Error()
			continue
		}
		errs = append(errs, err)
	}
	for _, a := range known {
		if from[a.Name] == "" && faults[a.Name] == "" {
			faults[a.Name] = "its file is gone from " + f.dir + "; what was published goes on until it is unpublished"
		}
	}
	f.tell(faults)
	return errors.Join(errs...)
}

// specFault is a file that cannot be used.
type specFault struct{ text string }

func (e *specFault) Error() string { return e.text }

// take keeps what one file says, and records a change. It returns the name of
// the agent, also where the file cannot be used but for that.
func (f *specFolder) take(ctx context.Context, file string, known []state.Agent, from map[string]string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", &specFault{err.Error()}
	}
	s, faults := executor.Parse(file, string(text))
	if s == nil {
		// the agent that the file was of before, if it was one
		i := slices.IndexFunc(known, func(a state.Agent) bool { return a.File == file })
		name := ""
		if i >= 0 {
			name = known[i].Name
			from[name] = file
		}
		for _, fault := range faults {
			if fault.Severity == executor.SeverityError {
				return name, &specFault{fmt.Sprintf("%s:%d: %s; agentrail agents validate %s tells all", file, fault.Line, fault.Message, file)}
			}
		}
		return name, &specFault{file + ": it is no spec"}
	}
	if other := from[s.Name]; other != "" {
		return s.Name, &specFault{fmt.Sprintf("%s: agent %s stands in %s, too; give each a name of its own", file, s.Name, other)}
	}
	from[s.Name] = file
	sum := sha256.Sum256(text)
	a := state.Agent{Name: s.Name, Version: s.Version, Digest: hex.EncodeToString(sum[:]), Spec: string(text), Owner: s.Owner, File: file}
	verb, before := trail.CreateAgent, state.Agent{}
	if i := slices.IndexFunc(known, func(k state.Agent) bool { return k.Name == s.Name }); i >= 0 {
		verb, before = trail.EditAgent, known[i]
	}
	if before.Digest == a.Digest && before.File == a.File {
		return s.Name, nil
	}
	who := f.who
	who.Agent, who.Version, who.Owner = a.Name, a.Version, a.Owner
	rec := who.Act(trail.Act{Verb: verb, At: f.now(), Changes: map[string]trail.Change{"version": {From: before.Version, To: a.Version}, "digest": {From: before.Digest, To: a.Digest}}})
	if err := f.store.PutAgent(ctx, a, rec); err != nil {
		return s.Name, err
	}
	f.log.Info("agent read", "agent", a.Name, "version", a.Version, "file", file)
	return s.Name, nil
}

// tell names faults that were not named yet.
func (f *specFolder) tell(faults map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		if f.faults[name] != faults[name] {
			f.log.Warn("spec is not used", "agent", name, "reason", faults[name])
		}
	}
	f.faults = faults
}

// Faults returns what is wrong, by agent or file.
func (f *specFolder) Faults() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.faults)
}

// fingerprint changes when a file of the folder does.
func fingerprint(pattern string) string {
	files, _ := filepath.Glob(pattern)
	h := sha256.New()
	for _, file := range files {
		if st, err := os.Stat(file); err == nil {
			fmt.Fprintf(h, "%s %d %d\n", file, st.Size(), st.ModTime().UnixNano())
		}
	}
	return string(h.Sum(nil))
}

// changed reports whether the folder changed since it was asked last.
func (f *specFolder) changed() bool {
	now := fingerprint(filepath.Join(f.dir, "*.yaml"))
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.seen
	f.seen = now
	return was != now
}
