package main

import (
	"context"
	"slices"
	"time"

	"github.com/agentrail/agentrail/executor/state"
)

// pause is one that there is or was.
type pause struct {
	state.Pause
	over time.Time // zero: it is in force
}

// held reports whether it was in force at that time: a record that arrives late
// tells of its own time.
func (p *pause) held(at time.Time) bool {
	return !at.Before(p.At) && (p.over.IsZero() || at.Before(p.over))
}

// note takes down which pauses came and went.
func (b *day) note(ctx context.Context) error {
	now, err := b.store.Pauses(ctx)
	if err != nil {
		return err
	}
	same := func(p state.Pause) func(state.Pause) bool {
		return func(o state.Pause) bool { return o.Kind == p.Kind && o.Target == p.Target && o.Response == p.Response }
	}
	for _, p := range b.pauses {
		if p.over.IsZero() && !slices.ContainsFunc(now, same(p.Pause)) {
			p.over = b.clock()
			if p.Until.Before(p.over) {
				p.over = p.Until
			}
		}
	}
	for _, p := range now {
		if is := same(p); !slices.ContainsFunc(b.pauses, func(o *pause) bool { return is(o.Pause) }) {
			b.pauses = append(b.pauses, &pause{Pause: p})
		}
	}
	return nil
}
