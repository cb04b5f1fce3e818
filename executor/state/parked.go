package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Parked is a record that its receiver will never take, and why.
type Parked struct {
	Queued
	Reason string
	At     time.Time
}

// Waiting returns the oldest records of a source that wait, at most so many, and
// their places.
func (s *Store) Waiting(ctx context.Context, source string, limit int) (seqs []int64, records []Record, err error) {
	list, err := rows(ctx, s.read, func(r scanner) (q Queued, err error) {
		return q, r.Scan(&q.Seq, &q.Source, &q.ID, &q.Body)
	}, "SELECT seq, source, id, body FROM outbox WHERE source = ? ORDER BY seq LIMIT ?", source, limit)
	for _, q := range list {
		seqs, records = append(seqs, q.Seq), append(records, q.Record)
	}
	return seqs, records, err
}

// Park takes records out of the outbox, by their places, and keeps them aside
// with the reason.
func (s *Store) Park(ctx context.Context, reasons map[int64]string) error {
	return s.write(ctx, func(t *tx) error {
		for seq, reason := range reasons {
			if _, err := t.exec("INSERT OR REPLACE INTO parked SELECT seq, source, id, body, ?, ? FROM outbox WHERE seq = ?", reason, nano(s.now()), seq); err != nil {
				return fmt.Errorf("park record %d: %w", seq, err)
			}
			if err := s.takeOut(t, seq); err != nil {
				return fmt.Errorf("park record %d: %w", seq, err)
			}
		}
		return nil
	})
}

// Parked returns the latest records that were parked, at most so many.
func (s *Store) Parked(ctx context.Context, limit int) ([]Parked, error) {
	return rows(ctx, s.read, func(r scanner) (p Parked, err error) {
		return p, r.Scan(&p.Seq, &p.Source, &p.ID, &p.Body, &p.Reason, stamp{&p.At})
	}, "SELECT seq, source, id, body, reason, at FROM parked ORDER BY seq DESC LIMIT ?", limit)
}

// Resend puts parked records, by their places, back into the outbox, behind what
// waits, with a record of it in the same transaction. It returns ErrNotFound, and
// puts none back, if one of the places holds none; which it was is in the error.
func (s *Store) Resend(ctx context.Context, seqs []int64, records ...Record) error {
	return s.change(ctx, records, func(t *tx) error {
		for _, seq := range slices.Compact(slices.Sorted(slices.Values(seqs))) {
			var source string
			err := t.row("INSERT INTO outbox (source, id, body) SELECT source, id, body FROM parked WHERE seq = ? RETURNING source", seq).Scan(&source)
			if errors.Is(err, sql.ErrNoRows) {
				return fmt.Errorf("send record %d again: parked record: %w", seq, ErrNotFound)
			}
			if err != nil {
				return fmt.Errorf("send record %d again: %w", seq, explain(err))
			}
			if _, err := t.exec("DELETE FROM parked WHERE seq = ?", seq); err != nil {
				return fmt.Errorf("send record %d again: %w", seq, err)
			}
			s.count(t, source, 1)
		}
		return nil
	})
}

// TrimSpans takes the oldest spans out so that no more than so many wait, and
// says how many those were.
func (s *Store) TrimSpans(ctx context.Context, most int) (int, error) {
	gone := 0
	err := s.write(ctx, func(t *tx) error {
		gone = 0
		n, err := t.exec("DELETE FROM outbox WHERE source = ?1 AND seq NOT IN (SELECT seq FROM outbox WHERE source = ?1 ORDER BY seq DESC LIMIT ?2)", sourceSpans, most)
		if err != nil {
			return fmt.Errorf("drop spans: %w", err)
		}
		gone = int(n)
		s.count(t, sourceSpans, -n)
		return nil
	})
	return gone, err
}

// takeOut takes one record out, if it is still there.
func (s *Store) takeOut(t *tx, seq int64) error {
	var source string
	switch err := t.row("DELETE FROM outbox WHERE seq = ? RETURNING source", seq).Scan(&source); {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return explain(err)
	}
	s.count(t, source, -1)
	return nil
}
