package collector

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

// parkBytes is how many bytes of records one batch of dead letters carries.
const parkBytes = 4 << 20

// kept says what became of a batch.
type kept struct {
	offset     uint64
	accepted   int
	duplicates int
	rejected   int
}

// keep appends the batch and then a dead letter for each record that could not
// be read. When it returns without an error both are on disk. Dead letters come
// second because they name the offset of the batch; if the process dies in
// between, the sender has no answer, sends again and gets its dead letters, and
// those that were written have the same ids.
func keep(ctx context.Context, appendTo AppendFunc, b *schemas.Batch, rejects []decode.Reject) (kept, error) {
	offset, err := appendTo(ctx, b)
	if err != nil {
		return kept{}, err
	}
	k := kept{offset: offset, rejected: len(rejects)}
	if b.Self == (schemas.Digest{}) { // the batch id was known: nothing new was stored
		k.duplicates = len(b.Records) - len(rejects)
	} else {
		for i := range b.Records {
			switch f := b.Records[i].Flags; {
			case f&schemas.FlagRejected != 0:
			case f&schemas.FlagDuplicate != 0:
				k.duplicates++
			default:
				k.accepted++
			}
		}
	}
	if len(rejects) == 0 {
		return k, nil
	}
	letters := decode.DeadLetters(b, rejects)
	for i := range letters {
		letters[i].Offset = offset // b has none if its id was known
	}
	return k, park(ctx, appendTo, b, letters)
}

// insist calls store until it succeeds, for senders that nobody can tell to
// come again. The error is that of ctx.
func insist(ctx context.Context, log *slog.Logger, store func() error) error {
	for backoff := time.Duration(0); ; {
		err := store()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		backoff = storeBackoff(log, backoff, err)
		wait(ctx, backoff)
	}
}

// park appends dead letters about records of b, a few megabytes a batch.
func park(ctx context.Context, appendTo AppendFunc, b *schemas.Batch, letters []schemas.DeadLetter) error {
	var docs []any
	size, n := 0, uint32(0)
	for i, l := range letters {
		docs = append(docs, l)
		size += len(l.Bytes) + len(l.Reason)
		if size < parkBytes && i < len(letters)-1 {
			continue
		}
		own, err := decode.Own(b.Tenant, schemas.ClassHealth, "dead_letter", b.Received, docs...)
		if err != nil {
			return fmt.Errorf("encode dead letters: %w", err)
		}
		own.ID = derivedID(b.ID, "dead-letters", n)
		if _, err := appendTo(ctx, own); err != nil {
			return fmt.Errorf("append dead letters: %w", err)
		}
		docs, size, n = nil, 0, n+1
	}
	return nil
}

// derivedID is the id of the n-th batch that follows from another.
func derivedID(from schemas.ID, what string, n uint32) schemas.ID {
	h := sha256.New()
	h.Write([]byte("agentrail/collector/" + what))
	h.Write(from[:])
	h.Write(binary.BigEndian.AppendUint32(nil, n))
	return schemas.ID(h.Sum(nil)[:16])
}

// count adds the result to the source's metrics.
func (m *metrics) count(source string, k kept, size int, rejects []decode.Reject) {
	m.records.WithLabelValues(source, "accepted").Add(float64(k.accepted))
	m.records.WithLabelValues(source, "duplicate").Add(float64(k.duplicates))
	m.records.WithLabelValues(source, "rejected").Add(float64(k.rejected))
	m.bytes.WithLabelValues(source).Add(float64(size))
	for _, r := range rejects {
		m.rejected.WithLabelValues(source, r.Code).Inc()
	}
}

// newBatch returns a batch for a body as it came in, to be read by a mapping.
func newBatch(tenant, source, log, contentType string, now time.Time, body []byte) *schemas.Batch {
	return &schemas.Batch{
		Header: schemas.Header{
			Tenant: tenant, Source: source, Log: log, Class: schemas.ClassActivity,
			ContentType: contentType, Received: now.UnixNano(),
		},
		Body: body,
	}
}
