package state

import (
	"context"
	"fmt"
	"time"
)

// Statuses of a confirmation.
const (
	Asked    = "waiting"
	Approved = "approved"
	Declined = "declined"
	Expired  = "expired"
	Used     = "used"
)

// Confirmation is a question to a person about one call: may it be made. An
// approval is good for that call only, once, until it expires.
type Confirmation struct {
	ID              string
	Run             string
	Call            string
	User            string // on whose behalf the call is made
	Tool            string
	ArgumentsSHA256 string
	Summary         string
	Status          string
	AnsweredBy      string
	Asked           time.Time
	Expires         time.Time
	Answered        time.Time
}

// ConfirmationFilter picks confirmations.
type ConfirmationFilter struct {
	Run, User, Tool, ArgumentsSHA256, Status string
	Limit                                    int // default 100
}

const confirmationColumns = "id, run, call, user, tool, arguments_sha256, summary, status, answered_by, asked, expires, answered"

func scanConfirmation(r scanner) (c Confirmation, err error) {
	return c, r.Scan(&c.ID, &c.Run, &c.Call, &c.User, &c.Tool, &c.ArgumentsSHA256, &c.Summary, &c.Status, &c.AnsweredBy, stamp{&c.Asked}, stamp{&c.Expires}, stamp{&c.Answered})
}

// Ask keeps a question. Its id is that of c or, without one, a new one.
func (s *Store) Ask(ctx context.Context, c Confirmation, records ...Record) (Confirmation, error) {
	return s.ask(ctx, c, records, func(*tx) error { return nil })
}

// AskSingle keeps a question with the single call's run, which waits for the
// answer, in one transaction.
func (s *Store) AskSingle(ctx context.Context, r Run, c Confirmation, records ...Record) (Confirmation, error) {
	return s.ask(ctx, c, records, func(t *tx) error {
		_, err := t.exec("INSERT INTO runs ("+runColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", r.columns()...)
		return err
	})
}

func (s *Store) ask(ctx context.Context, c Confirmation, records []Record, also func(*tx) error) (Confirmation, error) {
	if c.ID == "" {
		c.ID = NewID("cf_")
	}
	c.Status, c.Asked = Asked, s.now().UTC()
	err := s.change(ctx, records, func(t *tx) error {
		if err := also(t); err != nil {
			return err
		}
		_, err := t.exec("INSERT INTO confirmations ("+confirmationColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?, 0)",
			c.ID, c.Run, c.Call, c.User, c.Tool, c.ArgumentsSHA256, c.Summary, c.Status, nano(c.Asked), nano(c.Expires))
		return err
	})
	if err != nil {
		return c, fmt.Errorf("ask for confirmation of %s: %w", c.Tool, err)
	}
	return c, nil
}

// Answer approves or declines. A question that was answered gives ErrConflict,
// one whose time is over ErrExpired. Who may answer is the caller's to check.
func (s *Store) Answer(ctx context.Context, id, by string, approve bool, records ...Record) (Confirmation, error) {
	var c Confirmation
	err := s.change(ctx, records, func(t *tx) (err error) {
		if c, err = s.open1(t, id, Asked); err != nil {
			return err
		}
		c.Status, c.AnsweredBy, c.Answered = Declined, by, s.now().UTC()
		if approve {
			c.Status = Approved
		}
		return t.must("confirmation "+id, "UPDATE confirmations SET status = ?, answered_by = ?, answered = ? WHERE id = ?", c.Status, by, nano(c.Answered), id)
	})
	if err != nil {
		return c, fmt.Errorf("answer: %w", err)
	}
	return c, nil
}

// Use takes an approval for the call that c describes by ID, Run, User, Tool and
// ArgumentsSHA256: all must be those that were asked about. It succeeds exactly
// once.
func (s *Store) Use(ctx context.Context, c Confirmation, records ...Record) (Confirmation, error) {
	var kept Confirmation
	err := s.change(ctx, records, func(t *tx) (err error) {
		if kept, err = s.open1(t, c.ID, Approved); err != nil {
			return err
		}
		if kept.Run != c.Run || kept.User != c.User || kept.Tool != c.Tool || kept.ArgumentsSHA256 != c.ArgumentsSHA256 {
			return fmt.Errorf("confirmation %s: %w: it is for another call", c.ID, ErrConflict)
		}
		kept.Status = Used
		return t.must("confirmation "+c.ID, "UPDATE confirmations SET status = ? WHERE id = ?", Used, c.ID)
	})
	if err != nil {
		return kept, fmt.Errorf("use: %w", err)
	}
	return kept, nil
}

// open1 reads a confirmation that must have the status and time left.
func (s *Store) open1(t *tx, id, status string) (Confirmation, error) {
	what := "confirmation " + id
	c, err := one(t.row("SELECT "+confirmationColumns+" FROM confirmations WHERE id = ?", id), scanConfirmation, what)
	switch {
	case err != nil:
		return c, err
	case c.Status == Expired || (c.Status == Asked || c.Status == Approved) && !s.now().Before(c.Expires):
		return c, fmt.Errorf("%s: %w", what, ErrExpired)
	case c.Status != status:
		return c, fmt.Errorf("%s: %w: it is %s", what, ErrConflict, c.Status)
	}
	return c, nil
}

// Confirmation returns one.
func (s *Store) Confirmation(ctx context.Context, id string) (Confirmation, error) {
	return one(s.read.QueryRowContext(ctx, "SELECT "+confirmationColumns+" FROM confirmations WHERE id = ?", id), scanConfirmation, "confirmation "+id)
}

// Confirmations returns those that the filter picks, latest first.
func (s *Store) Confirmations(ctx context.Context, f ConfirmationFilter) ([]Confirmation, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	return rows(ctx, s.read, scanConfirmation, "SELECT "+confirmationColumns+` FROM confirmations
		WHERE (?1 = '' OR run = ?1) AND (?2 = '' OR user = ?2) AND (?3 = '' OR tool = ?3) AND (?4 = '' OR arguments_sha256 = ?4) AND (?5 = '' OR status = ?5)
		ORDER BY asked DESC, id LIMIT ?6`, f.Run, f.User, f.Tool, f.ArgumentsSHA256, f.Status, f.Limit)
}

// Expire marks the questions whose time is over, approved ones that were not
// used included, and returns them.
func (s *Store) Expire(ctx context.Context) ([]Confirmation, error) {
	now := s.now()
	over, err := rows(ctx, s.read, scanConfirmation, "SELECT "+confirmationColumns+" FROM confirmations WHERE status IN ('waiting', 'approved') AND expires <= ? ORDER BY expires", nano(now))
	if err != nil || len(over) == 0 {
		return nil, err
	}
	var marked []Confirmation
	err = s.write(ctx, func(t *tx) error {
		marked = nil
		for _, c := range over {
			n, err := t.exec("UPDATE confirmations SET status = ? WHERE id = ? AND status IN ('waiting', 'approved')", Expired, c.ID)
			if err != nil {
				return err
			}
			if n > 0 {
				c.Status = Expired
				marked = append(marked, c)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("expire confirmations: %w", err)
	}
	return marked, nil
}
