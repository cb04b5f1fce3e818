package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// replayed is what became of one batch of a replay.
type replayed struct {
	tally
	why string // the first refusal
}

// replay delivers the batch again: what passes the sink's own filter and that
// one. It is no part of what the cursor delivers, and is not counted there. What
// the receiver refuses makes no dead letter: the events are in the journal, and
// were parked when they came the first time.
func (f *Forwarder) replay(ctx context.Context, b *schemas.Batch, also *Filter) (replayed, error) {
	if b.Tick() || !f.wants(b.Class, b.Tenant) {
		return replayed{}, nil
	}
	d := delivery{f: f, filter: f.filter, also: also, tallies: map[uint64]*tally{}}
	defer d.free()
	if whole, ok := f.o.Sink.(BatchSink); ok {
		if err := d.whole(ctx, whole, b); err != nil {
			return replayed{}, err
		}
	} else if err := d.add(ctx, b); err != nil {
		return replayed{}, err
	}
	if err := d.flush(ctx); err != nil {
		return replayed{}, err
	}
	out := replayed{tally: *d.tally(b.Offset)}
	if rejected, ok := errors.AsType[*journal.Rejected](d.verdict()); ok {
		out.why = rejected.Error()
	}
	return out, nil
}

// Window says how far back the receiver takes an event at its own time; 0: any.
func (f *Forwarder) Window() (past time.Duration, what string) {
	if w, ok := f.o.Sink.(Windowed); ok {
		return w.Window()
	}
	return 0, ""
}

// replayState is the snapshot.
type replayState struct {
	Version int           `json:"version"`
	Jobs    []*replayJob  `json:"jobs"`
	Counts  []replayCount `json:"counts"`
}

type replayCount struct {
	Sink string `json:"sink"`
	account
	Events int64 `json:"events"`
}

// Changed reports whether there is something new to save.
func (r *Replays) Changed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// WriteTo writes the replays and how far they are for a snapshot.
func (r *Replays) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	oldest := hourOf(r.o.Now().Add(-r.o.Keep).UnixNano())
	maps.DeleteFunc(r.counts, func(of statementOf, _ int64) bool { return of.Hour < oldest })
	s := replayState{Version: 1, Jobs: r.jobs}
	for of, n := range r.counts {
		s.Counts = append(s.Counts, replayCount{of.sink, of.account, n})
	}
	doc, err := json.Marshal(s)
	r.changed = false
	r.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("write replays: %w", err)
	}
	n, err := w.Write(doc)
	return int64(n), err
}

// ReadFrom replaces them by a snapshot.
func (r *Replays) ReadFrom(in io.Reader) (int64, error) {
	doc, err := io.ReadAll(in)
	n := int64(len(doc))
	if err != nil {
		return n, fmt.Errorf("read replays: %w", err)
	}
	var s replayState
	if err := json.Unmarshal(doc, &s); err != nil {
		return n, fmt.Errorf("read replays: %w", err)
	}
	if s.Version != 1 || slices.Contains(s.Jobs, nil) {
		return n, fmt.Errorf("read replays: snapshot of version %d is not one that this program reads", s.Version)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs, r.counts = s.Jobs, map[statementOf]int64{}
	for _, c := range s.Counts {
		r.counts[statementOf{c.Sink, c.account}] = c.Events
	}
	r.nudge()
	return n, nil
}
