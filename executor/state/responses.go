package state

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// PutResponse keeps a response as it is now and what happened to it, in one
// transaction. An event that was kept before is left as it is.
func (s *Store) PutResponse(ctx context.Context, r Response, happened ...ResponseEvent) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("keep response %s: %w", r.ID, err)
	}
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO responses (id, asked, open, alert, body) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET open = excluded.open, body = excluded.body`, r.ID, nano(r.Asked), r.Ended.IsZero(), r.Alert, body)
		if err != nil {
			return fmt.Errorf("keep response %s: %w", r.ID, err)
		}
		for _, e := range happened {
			line, err := json.Marshal(e)
			if err != nil {
				return fmt.Errorf("keep what happened to %s: %w", r.ID, err)
			}
			if _, err := t.exec("INSERT OR IGNORE INTO response_events (response, seq, body, record) VALUES (?, ?, ?, ?)", r.ID, e.Seq, line, e.Body); err != nil {
				return fmt.Errorf("keep what happened to %s: %w", r.ID, err)
			}
		}
		return nil
	})
}

// Response returns a response and what happened to it, oldest first.
func (s *Store) Response(ctx context.Context, id string) (Response, []ResponseEvent, error) {
	r, err := one(s.read.QueryRowContext(ctx, "SELECT body FROM responses WHERE id = ?", id), scanJSON[Response], "response "+id)
	if err != nil {
		return r, nil, err
	}
	events, err := rows(ctx, s.read, scanJSON[ResponseEvent], "SELECT body FROM response_events WHERE response = ? ORDER BY seq", id)
	return r, events, err
}

// Responses returns those that the filter picks, latest first.
func (s *Store) Responses(ctx context.Context, f ResponseFilter) ([]Response, error) {
	if f.Limit <= 0 {
		f.Limit = 1000
	}
	if f.Open { // of its own, so that the index of open ones is used
		return rows(ctx, s.read, scanJSON[Response], "SELECT body FROM responses WHERE open AND asked >= ?1 AND (?2 = '' OR alert = ?2) ORDER BY asked DESC, id LIMIT ?3",
			nano(f.Since), f.Alert, f.Limit)
	}
	return rows(ctx, s.read, scanJSON[Response], "SELECT body FROM responses WHERE asked >= ?1 AND (?2 = '' OR alert = ?2) ORDER BY asked DESC, id LIMIT ?3",
		nano(f.Since), f.Alert, f.Limit)
}

// UnrecordedResponses returns the oldest events whose records are not in the
// audit trail yet, with these in Body.
func (s *Store) UnrecordedResponses(ctx context.Context, limit int) ([]ResponseEvent, error) {
	return rows(ctx, s.read, func(r scanner) (e ResponseEvent, err error) {
		var line, record []byte
		if err := r.Scan(&line, &record); err != nil {
			return e, err
		}
		err = json.Unmarshal(line, &e)
		e.Body = record
		return e, err
	}, "SELECT body, record FROM response_events WHERE record IS NOT NULL ORDER BY number LIMIT ?", limit)
}

// RecordedResponse keeps that the record of the event is in the audit trail.
func (s *Store) RecordedResponse(ctx context.Context, e ResponseEvent) error {
	return s.write(ctx, func(t *tx) error {
		return t.must("event of response "+e.Response, "UPDATE response_events SET record = NULL WHERE response = ? AND seq = ?", e.Response, e.Seq)
	})
}

// ForgetResponses deletes responses that were over before then and are recorded
// as a whole, and returns how many these were.
func (s *Store) ForgetResponses(ctx context.Context, before time.Time) (int64, error) {
	var gone int64
	err := s.write(ctx, func(t *tx) (err error) {
		const old = "asked < ?1 AND NOT open AND NOT EXISTS (SELECT 1 FROM response_events e WHERE e.response = responses.id AND e.record IS NOT NULL)"
		if _, err = t.exec("DELETE FROM response_events WHERE response IN (SELECT id FROM responses WHERE "+old+")", nano(before)); err != nil {
			return err
		}
		gone, err = t.exec("DELETE FROM responses WHERE "+old, nano(before))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("forget responses: %w", err)
	}
	return gone, nil
}

// RestoreSubscription takes back that a subscription was deleted. Its next run
// is planned anew.
func (s *Store) RestoreSubscription(ctx context.Context, id string, records ...Record) error {
	return s.changeSubscription(ctx, id, records, func(t *tx) error {
		return t.must("deleted subscription "+id, "UPDATE subscriptions SET deleted = 0, next_run = 0, edited = ? WHERE id = ? AND deleted = 1", nano(s.now()), id)
	})
}

func scanJSON[T any](r scanner) (v T, err error) {
	var body []byte
	if err := r.Scan(&body); err != nil {
		return v, err
	}
	return v, json.Unmarshal(body, &v)
}
