package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Control is what somebody asked of the executor through the journal.
type Control struct {
	Verb     string // subscription.pause, agent.pause, actor.pause, tenant.panic, or KIND.resume
	Target   string
	Reason   string
	Author   string
	Response string // id of the response that asks; empty for a person
	At       time.Time
	TTL      time.Duration // of a pause; 0: until it is resumed
}

// Applied is what a control did.
type Applied struct {
	Known   bool    // the control had been applied before, and nothing was done
	Paused  *Pause  // that holds now
	Resumed []Pause // that were lifted
}

// pause returns the pause that the control asks for; ok is false if it asks for
// something else.
func (c Control) pause() (p Pause, ok bool) {
	kind, act, _ := strings.Cut(c.Verb, ".")
	switch {
	case c.Verb == "tenant.panic":
	case act == "pause" && (kind == PauseSubscription || kind == PauseAgent || kind == PauseActor || kind == PauseTenant):
	default:
		return Pause{}, false
	}
	p = Pause{Kind: kind, Target: c.Target, Reason: c.Reason, Author: c.Author, Response: c.Response, At: c.At}
	if c.TTL > 0 {
		p.Until = c.At.Add(c.TTL)
	}
	return p, true
}

// ApplyControl applies the control with the event id and moves the cursor to
// offset, the next one to be read, in one transaction with the records. A
// control that is not the executor's business only moves the cursor. A pause
// holds also if it cannot be kept: then until a restart, and the error says so.
func (s *Store) ApplyControl(ctx context.Context, offset uint64, event string, c Control, records ...Record) (Applied, error) {
	var done Applied
	p, pausing := c.pause()
	err := s.write(ctx, func(t *tx) error {
		done = Applied{}
		if err := s.moveCursor(t, offset); err != nil {
			return err
		}
		n, err := t.exec("INSERT OR IGNORE INTO controls (event, verb, at) VALUES (?, ?, ?)", event, c.Verb, nano(c.At))
		if err != nil {
			return err
		}
		if n == 0 {
			done.Known = true
			return nil
		}
		kind, act, _ := strings.Cut(c.Verb, ".")
		switch {
		case pausing && p.live(s.now()):
			if err := keepPause(t, p); err != nil {
				return err
			}
			done.Paused = &p
			t.after = append(t.after, func() { s.brake(func(all map[target][]Pause) { put(all, p) }) })
		case act == "resume":
			if done.Resumed, err = s.lift(t, kind, c.Target, c.Response); err != nil {
				return err
			}
		}
		return s.queue(t, records)
	})
	if err != nil {
		err = fmt.Errorf("apply control %s %s: %w", c.Verb, c.Target, err)
		if pausing && p.live(s.now()) {
			s.brake(func(all map[target][]Pause) { put(all, p) })
			return Applied{Paused: &p}, fmt.Errorf("%w; the pause holds until a restart", err)
		}
		return Applied{}, err
	}
	return done, nil
}

// MoveCursor keeps that everything before offset was read, and that this was
// now. It may go back, when the journal was begun anew.
func (s *Store) MoveCursor(ctx context.Context, offset uint64) error {
	return s.write(ctx, func(t *tx) error { return s.moveCursor(t, offset) })
}

func (s *Store) moveCursor(t *tx, offset uint64) error {
	if _, err := t.exec("INSERT OR REPLACE INTO cursor (only, offset, seen) VALUES (1, ?, ?)", int64(offset), nano(s.now())); err != nil {
		return fmt.Errorf("keep cursor: %w", err)
	}
	return nil
}

// Cursor returns the offset to read next and when it was last moved; both are
// zero before the first time.
func (s *Store) Cursor(ctx context.Context) (uint64, time.Time, error) {
	var offset int64
	var seen time.Time
	err := s.read.QueryRowContext(ctx, "SELECT offset, seen FROM cursor").Scan(&offset, stamp{&seen})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, time.Time{}, fmt.Errorf("read cursor: %w", explain(err))
	}
	return uint64(offset), seen, nil
}
