package state

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Call is one call of a tool that a run made or was denied.
type Call struct {
	ID           string
	Run          string
	Step         string
	Tool         string
	Access       string
	Status       string // running, then success, denied, error, cancelled, timeout or interrupted
	Problem      string // code of what went wrong
	Verdict      []byte // JSON of the gates' verdict
	Began        time.Time
	Ended        time.Time
	Scopes       []string // of the credential that was used
	Destinations []byte   // JSON
}

// Use is a permission that an agent used.
type Use struct {
	Tool   string
	Access string
	Scope  string // empty if the credential had none
	Calls  int
	Last   time.Time
}

// PutCall keeps a call; a later one with its id replaces it.
func (s *Store) PutCall(ctx context.Context, c Call, records ...Record) error {
	return s.change(ctx, records, func(t *tx) error { return putCall(t, c) })
}

// PutSingle keeps a single call with the run that it is, in one transaction. A
// run that has ended stays as it is.
func (s *Store) PutSingle(ctx context.Context, r Run, c Call, records ...Record) error {
	return s.change(ctx, records, func(t *tx) error {
		_, err := t.exec("INSERT INTO runs ("+runColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET status = excluded.status, reason = excluded.reason, output = excluded.output, ended = excluded.ended WHERE ended = 0`, r.columns()...)
		if err != nil {
			return fmt.Errorf("keep run %s: %w", r.ID, err)
		}
		return putCall(t, c)
	})
}

func putCall(t *tx, c Call) error {
	scopes, err := json.Marshal(c.Scopes)
	if err != nil {
		return fmt.Errorf("keep call of %s: %w", c.Tool, err)
	}
	_, err = t.exec(`INSERT INTO calls (id, run, step, tool, access, status, problem, verdict, began, ended, scopes, destinations) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET status = excluded.status, problem = excluded.problem, verdict = excluded.verdict, ended = excluded.ended, scopes = excluded.scopes, destinations = excluded.destinations`,
		c.ID, c.Run, c.Step, c.Tool, c.Access, c.Status, c.Problem, c.Verdict, nano(c.Began), nano(c.Ended), string(scopes), c.Destinations)
	if err != nil {
		return fmt.Errorf("keep call of %s: %w", c.Tool, err)
	}
	return nil
}

// Calls returns the calls of a run in their order.
func (s *Store) Calls(ctx context.Context, run string) ([]Call, error) {
	return rows(ctx, s.read, func(r scanner) (c Call, err error) {
		var scopes string
		if err := r.Scan(&c.ID, &c.Run, &c.Step, &c.Tool, &c.Access, &c.Status, &c.Problem, &c.Verdict, stamp{&c.Began}, stamp{&c.Ended}, &scopes, &c.Destinations); err != nil {
			return c, err
		}
		return c, json.Unmarshal([]byte(scopes), &c.Scopes)
	}, "SELECT id, run, step, tool, access, status, problem, verdict, began, ended, scopes, destinations FROM calls WHERE run = ? ORDER BY began, rowid", run)
}

// UsedScopes returns the tools and scopes that an agent has used since then, in
// calls that were made.
func (s *Store) UsedScopes(ctx context.Context, agent string, since time.Time) ([]Use, error) {
	return rows(ctx, s.read, func(r scanner) (u Use, err error) {
		return u, r.Scan(&u.Tool, &u.Access, &u.Scope, &u.Calls, stamp{&u.Last})
	}, `SELECT c.tool, c.access, coalesce(j.value, ''), count(*), max(c.began)
		FROM calls c JOIN runs r ON r.id = c.run LEFT JOIN json_each(c.scopes) j
		WHERE r.agent = ? AND c.began >= ? AND c.status <> 'denied' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`, agent, nano(since))
}
