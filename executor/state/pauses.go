package state

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Kinds of what can be paused.
const (
	PauseSubscription = "subscription"
	PauseAgent        = "agent"
	PauseActor        = "actor" // everything on behalf of a user
	PauseTenant       = "tenant"
)

// Pause stops runs until it is resumed or has lapsed.
type Pause struct {
	Kind     string
	Target   string // id of the subscription, name of the agent or user; of a tenant any text
	Reason   string
	Author   string
	Response string // id of the response that paused; empty for a person
	At       time.Time
	Until    time.Time // zero: until it is resumed
}

// Covers reports whether the pause stops the run.
func (p Pause) Covers(r Run) bool {
	switch p.Kind {
	case PauseSubscription:
		return r.Subscription != "" && p.Target == r.Subscription
	case PauseAgent:
		return r.Agent != "" && p.Target == r.Agent
	case PauseActor:
		return p.Target == r.User
	}
	return p.Kind == PauseTenant
}

func (p Pause) live(now time.Time) bool { return p.Until.IsZero() || now.Before(p.Until) }

// same reports whether both are one act of pausing.
func (p Pause) same(o Pause) bool { return p.Response == o.Response && p.At.Equal(o.At) }

// target is what is paused.
type target struct{ kind, name string }

func (p Pause) key() target {
	if p.Kind == PauseTenant {
		return target{kind: PauseTenant}
	}
	return target{p.Kind, p.Target}
}

// Pause pauses. It holds in memory before Pause touches the disk, and also if it
// returns an error: then until a restart. The pause of one response and that of
// a person hold side by side; a second one of the same replaces the first.
func (s *Store) Pause(ctx context.Context, p Pause, records ...Record) error {
	if !slices.Contains([]string{PauseSubscription, PauseAgent, PauseActor, PauseTenant}, p.Kind) {
		return fmt.Errorf("pause %q %q: there is no such kind", p.Kind, p.Target)
	}
	if p.At.IsZero() {
		p.At = s.now().UTC()
	}
	s.brake(func(all map[target][]Pause) { put(all, p) })
	if err := s.change(ctx, records, func(t *tx) error { return keepPause(t, p) }); err != nil {
		return fmt.Errorf("keep pause of %s %s, which holds until a restart: %w", p.Kind, p.Target, err)
	}
	return nil
}

// Resume lifts the pauses of a target: those of the response or, without one,
// all. It returns those that it lifted; if there was none the error is
// ErrNotFound. Nothing is lifted unless that is on disk.
func (s *Store) Resume(ctx context.Context, kind, name, response string, records ...Record) ([]Pause, error) {
	var lifted []Pause
	err := s.change(ctx, records, func(t *tx) (err error) {
		if lifted, err = s.lift(t, kind, name, response); err == nil && len(lifted) == 0 {
			err = ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("resume %s %s: %w", kind, name, err)
	}
	return lifted, nil
}

// Lapse takes out the pauses whose time is over and returns them, and keeps what
// record makes of each in the same transaction. They stopped holding before.
func (s *Store) Lapse(ctx context.Context, record ...func(Pause) Record) ([]Pause, error) {
	now := s.now()
	var over []Pause
	for _, list := range *s.brakes.Load() {
		for _, p := range list {
			if !p.live(now) {
				over = append(over, p)
			}
		}
	}
	if len(over) == 0 {
		return nil, nil
	}
	err := s.write(ctx, func(t *tx) error {
		for _, p := range over {
			if _, err := t.exec("DELETE FROM pauses WHERE kind = ? AND target = ? AND response = ? AND until = ?", p.Kind, p.key().name, p.Response, nano(p.Until)); err != nil {
				return fmt.Errorf("take pause of %s %s out: %w", p.Kind, p.Target, err)
			}
			for _, f := range record {
				if err := s.queue(t, []Record{f(p)}); err != nil {
					return err
				}
			}
		}
		t.after = append(t.after, func() {
			s.brake(func(all map[target][]Pause) {
				for _, p := range over {
					drop(all, p.key(), p.same)
				}
			})
		})
		return nil
	})
	return over, err
}

// Pauses returns all that hold, oldest first.
func (s *Store) Pauses(context.Context) ([]Pause, error) {
	now := s.now()
	var out []Pause
	for _, list := range *s.brakes.Load() {
		for _, p := range list {
			if p.live(now) {
				out = append(out, p)
			}
		}
	}
	slices.SortFunc(out, func(a, b Pause) int { return a.At.Compare(b.At) })
	return out, nil
}

// Paused returns the pause that stops runs of the subscription, of the agent, or
// on behalf of the actor. It is answered from memory.
func (s *Store) Paused(_ context.Context, subscription, agent, actor string) (Pause, bool) {
	all := *s.brakes.Load()
	if len(all) == 0 {
		return Pause{}, false
	}
	now := s.now()
	for _, k := range []target{{kind: PauseTenant}, {PauseActor, actor}, {PauseAgent, agent}, {PauseSubscription, subscription}} {
		for _, p := range all[k] {
			if p.live(now) {
				return p, true
			}
		}
	}
	return Pause{}, false
}

// brake changes what is paused in memory.
func (s *Store) brake(change func(map[target][]Pause)) {
	s.braking.Lock()
	defer s.braking.Unlock()
	all := maps.Clone(*s.brakes.Load())
	change(all)
	s.brakes.Store(&all)
}

func put(all map[target][]Pause, p Pause) {
	drop(all, p.key(), func(o Pause) bool { return o.Response == p.Response })
	all[p.key()] = append(all[p.key()], p)
}

// drop takes pauses out of a copy: readers may hold the list.
func drop(all map[target][]Pause, k target, which func(Pause) bool) {
	if left := slices.DeleteFunc(slices.Clone(all[k]), which); len(left) > 0 {
		all[k] = left
		return
	}
	delete(all, k)
}

func keepPause(t *tx, p Pause) error {
	if _, err := t.exec("INSERT OR REPLACE INTO pauses (kind, target, response, reason, author, at, until) VALUES (?, ?, ?, ?, ?, ?, ?)",
		p.Kind, p.key().name, p.Response, p.Reason, p.Author, nano(p.At), nano(p.Until)); err != nil {
		return fmt.Errorf("keep pause: %w", err)
	}
	return nil
}

// lift takes pauses out of the file and, once that is on disk, out of memory.
func (s *Store) lift(t *tx, kind, name, response string) ([]Pause, error) {
	k := Pause{Kind: kind, Target: name}.key()
	lifted, err := rows(context.Background(), t.conn, scanPause, "SELECT "+pauseColumns+" FROM pauses WHERE kind = ?1 AND target = ?2 AND (?3 = '' OR response = ?3)", kind, k.name, response)
	if err != nil {
		return nil, err
	}
	if _, err := t.exec("DELETE FROM pauses WHERE kind = ?1 AND target = ?2 AND (?3 = '' OR response = ?3)", kind, k.name, response); err != nil {
		return nil, err
	}
	t.after = append(t.after, func() {
		s.brake(func(all map[target][]Pause) {
			drop(all, k, func(p Pause) bool { return slices.ContainsFunc(lifted, p.same) }) // one that came meanwhile stays
		})
	})
	return lifted, nil
}

const pauseColumns = "kind, target, response, reason, author, at, until"

func scanPause(r scanner) (p Pause, err error) {
	return p, r.Scan(&p.Kind, &p.Target, &p.Response, &p.Reason, &p.Author, stamp{&p.At}, stamp{&p.Until})
}

func (s *Store) loadPauses(ctx context.Context) error {
	all := map[target][]Pause{}
	list, err := rows(ctx, s.read, scanPause, "SELECT "+pauseColumns+" FROM pauses ORDER BY at")
	if err != nil {
		return fmt.Errorf("read pauses: %w", err)
	}
	for _, p := range list {
		put(all, p)
	}
	s.brakes.Store(&all)
	return nil
}
