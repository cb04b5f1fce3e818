package state

import (
	"context"
	"fmt"
	"time"
)

// Kinds of runs.
const (
	KindAgent = "agent" // the steps of an agent
	KindCall  = "call"  // one single call
)

// Statuses of a run.
const (
	Pending     = "queued"
	Running     = "running"
	Waiting     = "waiting" // for a confirmation
	Success     = "success"
	Denied      = "denied"
	Failed      = "error"
	Cancelled   = "cancelled"
	TimedOut    = "timeout"
	Missed      = "missed"      // its time passed without it
	Interrupted = "interrupted" // the executor ended before it
	Shown       = "shown"       // of a call: it was decided on, not made
)

// Run is one run.
type Run struct {
	ID           string
	Kind         string
	Agent        string
	Version      string
	Subscription string
	User         string // on whose behalf
	Mode         string // interactive or background
	Initiator    string
	Status       string
	Reason       string
	DryRun       bool
	Trace        string
	Key          string // of what started it: two runs of a subscription with one key cannot be
	Started      time.Time
	Ended        time.Time // zero while it runs
	Output       string
}

// RunFilter picks runs. The zero value picks the latest 100.
type RunFilter struct {
	Agent, Subscription, User, Status string
	Since, Before                     time.Time // of Started
	Open                              bool      // only those that have not ended
	Limit                             int
}

const runColumns = "id, kind, agent, version, subscription, user, mode, initiator, status, reason, dry_run, trace, key, started, ended, output"

func scanRun(r scanner) (v Run, err error) {
	return v, r.Scan(&v.ID, &v.Kind, &v.Agent, &v.Version, &v.Subscription, &v.User, &v.Mode, &v.Initiator, &v.Status, &v.Reason, &v.DryRun, &v.Trace, &v.Key,
		stamp{&v.Started}, stamp{&v.Ended}, &v.Output)
}

// columns are the values of runColumns.
func (r Run) columns() []any {
	return []any{r.ID, r.Kind, r.Agent, r.Version, r.Subscription, r.User, r.Mode, r.Initiator, r.Status, r.Reason, r.DryRun, r.Trace, r.Key, nano(r.Started), nano(r.Ended), r.Output}
}

// BeginRun keeps a run. If it is of a subscription of which atMost runs are open
// the error is ErrBusy; if one with its key was there before, ErrDuplicate. Of
// two that begin at once one gets the last place. A run that has ended already,
// such as one that was missed, takes no place, and neither does a single call.
func (s *Store) BeginRun(ctx context.Context, r Run, atMost int, records ...Record) error {
	return s.change(ctx, records, func(t *tx) error {
		if r.Kind == KindAgent && r.Subscription != "" && r.Ended.IsZero() {
			var open int
			if err := t.row("SELECT count(*) FROM runs WHERE subscription = ? AND kind = 'agent' AND ended = 0", r.Subscription).Scan(&open); err != nil {
				return fmt.Errorf("count runs: %w", explain(err))
			}
			if open >= max(1, atMost) {
				return s.whyNot(t, r)
			}
		}
		_, err := t.exec("INSERT INTO runs ("+runColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", r.columns()...)
		if isDuplicate(err) {
			return fmt.Errorf("begin run of %s: %w", r.Agent, ErrDuplicate)
		}
		if err != nil {
			return fmt.Errorf("begin run of %s: %w", r.Agent, err)
		}
		return nil
	})
}

// whyNot tells a run that was started before from one that must wait.
func (s *Store) whyNot(t *tx, r Run) error {
	var same int
	if r.Key != "" {
		if err := t.row("SELECT count(*) FROM runs WHERE agent = ? AND subscription = ? AND key = ?", r.Agent, r.Subscription, r.Key).Scan(&same); err != nil {
			return fmt.Errorf("count runs: %w", explain(err))
		}
	}
	if same > 0 {
		return fmt.Errorf("begin run of subscription %s: %w", r.Subscription, ErrDuplicate)
	}
	return fmt.Errorf("begin run of subscription %s: %w", r.Subscription, ErrBusy)
}

// SetRun changes the status of an open run.
func (s *Store) SetRun(ctx context.Context, id, status string) error {
	return s.write(ctx, func(t *tx) error {
		return t.must("open run "+id, "UPDATE runs SET status = ? WHERE id = ? AND ended = 0", status, id)
	})
}

// EndRun ends an open run: Status, Reason, Output and Ended are kept. Calls of it
// that have not ended are interrupted. Of two that end it the first one counts;
// the other gets ErrNotFound.
func (s *Store) EndRun(ctx context.Context, r Run, records ...Record) error {
	return s.change(ctx, records, func(t *tx) error {
		if err := t.must("open run "+r.ID, "UPDATE runs SET status = ?, reason = ?, output = ?, ended = ? WHERE id = ? AND ended = 0",
			r.Status, r.Reason, r.Output, nano(r.Ended), r.ID); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE calls SET status = ?, ended = ? WHERE run = ? AND ended = 0", Interrupted, nano(r.Ended), r.ID); err != nil {
			return fmt.Errorf("end calls of run %s: %w", r.ID, err)
		}
		return nil
	})
}

// Run returns one.
func (s *Store) Run(ctx context.Context, id string) (Run, error) {
	return one(s.read.QueryRowContext(ctx, "SELECT "+runColumns+" FROM runs WHERE id = ?", id), scanRun, "run "+id)
}

// Runs returns those that the filter picks, latest first.
func (s *Store) Runs(ctx context.Context, f RunFilter) ([]Run, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	return rows(ctx, s.read, scanRun, "SELECT "+runColumns+` FROM runs
		WHERE (?1 = '' OR agent = ?1) AND (?2 = '' OR subscription = ?2) AND (?3 = '' OR user = ?3) AND (?4 = '' OR status = ?4)
		AND started >= ?5 AND (?6 = 0 OR started < ?6) AND (NOT ?7 OR ended = 0) ORDER BY started DESC, id LIMIT ?8`,
		f.Agent, f.Subscription, f.User, f.Status, nano(f.Since), nano(f.Before), f.Open, f.Limit)
}

// Interrupted ends the runs that the executor left open when it ended, and
// returns them. Each is handed to told before it is ended, so that one of which
// told errs is told again. It is called once, before a run begins. Single calls
// that wait for a confirmation go on waiting.
func (s *Store) Interrupted(ctx context.Context, told func(Run) error) ([]Run, error) {
	left, err := rows(ctx, s.read, scanRun, "SELECT "+runColumns+" FROM runs WHERE ended = 0 AND NOT (kind = 'call' AND status = 'waiting') ORDER BY started")
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	for i := range left {
		r := &left[i]
		r.Status, r.Reason, r.Ended = Interrupted, "the executor ended while it ran", s.now().UTC()
		if err := told(*r); err != nil {
			return nil, fmt.Errorf("tell of run %s: %w", r.ID, err)
		}
		if err := s.EndRun(ctx, *r); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// Forget removes runs that ended before, with their calls, and confirmations and
// controls that are older, and says how many runs that were.
func (s *Store) Forget(ctx context.Context, before time.Time) (int, error) {
	gone := int64(0)
	err := s.write(ctx, func(t *tx) (err error) {
		if gone, err = t.exec("DELETE FROM runs WHERE ended > 0 AND ended < ?", nano(before)); err != nil {
			return err
		}
		for _, q := range []string{"DELETE FROM confirmations WHERE expires < ?", "DELETE FROM controls WHERE at < ?"} {
			if _, err := t.exec(q, nano(before)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("forget runs: %w", err)
	}
	return int(gone), nil
}
