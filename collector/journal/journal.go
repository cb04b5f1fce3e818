// Package journal is the commit log: the one write path (Append) and, with
// Follow, the one read loop. Everything that happens is a frame in it;
// everything that reacts is a cursor on it.
package journal

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Offset is the sequence number of a batch in its shard, +1 each.
type Offset = uint64

// Errors that callers branch on.
var (
	// ErrPushback: intake is past its bound of bytes, or the disk is failing.
	// Answer 503 with Retry-After. Appends of classes other than activity use
	// the reserve and do not get it.
	ErrPushback = errors.New("journal is past its bound; retry later")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal is closed")
	// ErrLocked: another process owns the data folder.
	ErrLocked = errors.New("journal is owned by another process")
	// ErrNoSnapshot: Restore found none.
	ErrNoSnapshot = errors.New("cursor has no snapshot")
)

// Journal stores batches and gives them back in order.
type Journal interface {
	// Append stores the batch and returns when it is on disk. It sets Offset,
	// Received, Prev and Self in the header, marks duplicates and id conflicts
	// in Records and Events, and takes ownership of the batch: the caller may
	// read it afterwards but not change it. A batch whose id is known is not
	// stored again; the old offset is returned. Safe for concurrent use.
	Append(ctx context.Context, b *schemas.Batch) (Offset, error)
	// Open returns the named cursor of a shard. A cursor that exists goes on
	// where it was committed, whatever from says. One holder at a time.
	Open(ctx context.Context, name string, shard int, from From) (Cursor, error)
	Shards() int
	Close() error
}

// From says where a new cursor starts.
type From struct {
	kind byte
	at   Offset
}

// FromStart is the oldest batch that is kept.
func FromStart() From { return From{kind: 's'} }

// FromNow is the batch that is appended next.
func FromNow() From { return From{kind: 'n'} }

// FromOffset is the batch at that offset, or the oldest kept if it is gone.
func FromOffset(o Offset) From { return From{kind: 'o', at: o} }

// Cursor reads one shard in order. It is used by one goroutine, except Commit,
// which may be called from any.
type Cursor interface {
	// Next returns the next batch, waiting for it if need be. At the tail it
	// is the batch that was appended, already decoded; behind the tail it is
	// read and decoded again. Quarantined frames come as a batch with Gap set.
	Next(ctx context.Context) (*schemas.Batch, error)
	// Commit says that everything below next is done. It is lazy: one flusher
	// makes all cursors durable at most every 250 ms.
	Commit(next Offset)
	// Snapshot saves state and the offset that belongs to it, together and
	// durably, and commits that offset.
	Snapshot(ctx context.Context, next Offset, state io.WriterTo) error
	// Restore loads the newest snapshot and moves the cursor to its offset.
	// It returns ErrNoSnapshot if there is none.
	Restore(state io.ReaderFrom) (Offset, error)
	// Close makes the last Commit durable and gives the name free.
	Close() error
}

// Consumer reacts to batches. Batches come in order, ticks and gaps among
// them. Returning nil means that all are done. An error means that all are
// offered again after a back-off, except *Rejected, which names the records
// that can never be taken. Batches are shared: read only.
type Consumer interface {
	Consume(ctx context.Context, batches []*schemas.Batch) error
}

// ConsumerFunc adapts a function to Consumer.
type ConsumerFunc func(ctx context.Context, batches []*schemas.Batch) error

// Consume calls f.
func (f ConsumerFunc) Consume(ctx context.Context, batches []*schemas.Batch) error {
	return f(ctx, batches)
}

// Rejected is returned by Consume when all but some records are done and these
// will never be: Follow parks them as dead letters and goes on.
type Rejected struct{ Items []RejectedItem }

// RejectedItem names one record and why it cannot be taken.
type RejectedItem struct {
	Offset Offset
	Index  uint32
	Code   string
	Reason string
}

func (r *Rejected) Error() string {
	if len(r.Items) == 0 {
		return "records rejected"
	}
	return "records rejected: " + r.Items[0].Reason
}

// RetryAfter is an error that asks for the next try not to come earlier.
type RetryAfter struct {
	After time.Duration
	Err   error
}

func (r *RetryAfter) Error() string { return r.Err.Error() }

// Unwrap returns the cause.
func (r *RetryAfter) Unwrap() error { return r.Err }
