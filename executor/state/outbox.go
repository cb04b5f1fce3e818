package state

import (
	"context"
	"fmt"
)

// Record is one document of the audit trail that waits to be sent. It is an
// alias of what it is made of, as that of the trail is: neither imports the
// other.
type Record = struct {
	Source string
	ID     string
	Body   []byte
}

// Queued is a record in the outbox. Seq grows by the order in which records came.
type Queued struct {
	Seq int64
	Record
}

// PutRecord puts records into the outbox.
func (s *Store) PutRecord(ctx context.Context, records ...Record) error {
	return s.write(ctx, func(t *tx) error { return s.queue(t, records) })
}

// Outbox returns the oldest records that wait, at most so many.
func (s *Store) Outbox(ctx context.Context, limit int) ([]Queued, error) {
	return rows(ctx, s.read, func(r scanner) (q Queued, err error) {
		return q, r.Scan(&q.Seq, &q.Source, &q.ID, &q.Body)
	}, "SELECT seq, source, id, body FROM outbox ORDER BY seq LIMIT ?", limit)
}

// Sent takes records out that have arrived where they belong.
func (s *Store) Sent(ctx context.Context, seqs ...int64) error {
	return s.write(ctx, func(t *tx) error {
		for _, seq := range seqs {
			if err := s.takeOut(t, seq); err != nil {
				return fmt.Errorf("take record %d out: %w", seq, err)
			}
		}
		return nil
	})
}

// OutboxLen is how many records wait; it is answered from memory.
func (s *Store) OutboxLen() int { return int(s.waiting.Load()) }

// SpansLen is how many of them are spans.
func (s *Store) SpansLen() int { return int(s.spans.Load()) }

// sourceSpans is the source of records that are spans: who waits for records
// does not wait for these.
const sourceSpans = "traces"

// count adds to the numbers of what waits once the transaction is on disk.
func (s *Store) count(t *tx, source string, n int64) {
	t.after = append(t.after, func() {
		s.waiting.Add(n)
		if source == sourceSpans {
			s.spans.Add(n)
		}
	})
}

// queue puts records into the outbox in the transaction of what they tell of.
func (s *Store) queue(t *tx, records []Record) error {
	for _, r := range records {
		if _, err := t.exec("INSERT INTO outbox (source, id, body) VALUES (?, ?, ?)", r.Source, r.ID, r.Body); err != nil {
			return fmt.Errorf("put record %s: %w", r.ID, err)
		}
		s.count(t, r.Source, 1)
	}
	return nil
}

func (s *Store) loadOutbox(ctx context.Context) error {
	var n, spans int64
	if err := s.read.QueryRowContext(ctx, "SELECT count(*), count(*) FILTER (WHERE source = ?) FROM outbox", sourceSpans).Scan(&n, &spans); err != nil {
		return fmt.Errorf("count records: %w", err)
	}
	s.waiting.Store(n)
	s.spans.Store(spans)
	return nil
}

// change does a change and puts its records into the outbox with it.
func (s *Store) change(ctx context.Context, records []Record, do func(*tx) error) error {
	return s.write(ctx, func(t *tx) error {
		if err := do(t); err != nil {
			return err
		}
		return s.queue(t, records)
	})
}
