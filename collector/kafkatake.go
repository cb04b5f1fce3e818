package collector

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

// kafkaRun gathers values that lie behind one another in a partition until they
// make a batch of the journal.
type kafkaRun struct {
	*kafkaPartition
	at    int64 // the offset that is read next; next follows when all below is stored
	body  []byte
	ends  []uint32 // of the values in body, which are parted by line feeds
	names []kafkaName
}

// kafkaName names a record of a partition, also among those that a topic of the
// same name had before.
type kafkaName struct{ offset, time int64 }

// storeError is an error of the journal or the group, not of the batch.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }

// add takes one record.
func (r *kafkaRun) add(ctx context.Context, rec kafkaRecord) error {
	if rec.offset < r.at {
		return nil
	}
	name := kafkaName{rec.offset, rec.time}
	switch {
	case rec.null:
		r.metrics.skip(r.name, "tombstone", 1)
	case rec.size > int(r.cfg.MaxRecord):
		err := r.refuse(ctx, name, bytes.Clone(rec.value), decode.CodeTooLarge,
			fmt.Sprintf("the record has %d bytes, %d are allowed; the first %d are kept", rec.size, int64(r.cfg.MaxRecord), len(rec.value)))
		if err != nil {
			return &storeError{err}
		}
	default:
		if len(r.ends) > 0 {
			r.body = append(r.body, '\n')
		}
		r.body = append(r.body, rec.value...)
		r.ends, r.names = append(r.ends, uint32(len(r.body))), append(r.names, name)
	}
	r.at = rec.offset + 1
	if len(r.body) >= int(r.cfg.Batch) || len(r.ends) >= maxLines {
		if err := r.flush(ctx); err != nil {
			return &storeError{err}
		}
	}
	return nil
}

// flush stores what was gathered and commits the offset behind it.
func (r *kafkaRun) flush(ctx context.Context) error {
	if len(r.ends) > 0 {
		if err := r.store(ctx, 0, len(r.ends)); err != nil {
			return err
		}
		r.body, r.ends, r.names = nil, nil, nil // the journal owns the body
	}
	if r.at == r.next {
		return nil
	}
	return r.moveTo(r.at)
}

// store appends the values from lo to below hi, in halves if they hold too many
// records for one batch.
func (r *kafkaRun) store(ctx context.Context, lo, hi int) error {
	from, ends := uint32(0), make([]uint32, hi-lo)
	if lo > 0 {
		from = r.ends[lo-1] + 1 // behind the line feed
	}
	for i := range ends {
		ends[i] = r.ends[lo+i] - from
	}
	names := r.names[lo:hi]
	half := false
	err := r.insist(ctx, func() error {
		to := r.ends[hi-1]
		b := r.newBatch(r.cfg.Tenant, r.body[from:to:to])
		lim := decode.Limits{RecordBytes: int(r.cfg.MaxRecord), Ends: ends, Position: func(start uint32) string {
			i := valueAt(ends, start)
			return r.position(names[i]) + ":" + strconv.Itoa(int(start-valueStart(ends, i)))
		}}
		rejects, err := r.mapping.Read(b, lim)
		if len(b.Records) == 0 {
			return fmt.Errorf("BUG: %d values without a record: %w", len(ends), err)
		}
		if half = hi-lo > 1 && len(rejects) > 0 && rejects[len(rejects)-1].Code == decode.CodeTooManyRecords; half {
			return nil
		}
		for i := range rejects {
			r.locate(b.Body, ends, names, &rejects[i])
		}
		return r.keep(b, names[0], rejects)
	})
	if err != nil || !half {
		return err
	}
	mid := (lo + hi) / 2
	if err := r.store(ctx, lo, mid); err != nil {
		return err
	}
	return r.store(ctx, mid, hi)
}

// valueAt returns which value holds a place of the body.
func valueAt(ends []uint32, at uint32) int {
	i := sort.Search(len(ends), func(i int) bool { return ends[i] >= at })
	return min(i, len(ends)-1)
}

func valueStart(ends []uint32, i int) uint32 {
	if i == 0 {
		return 0
	}
	return ends[i-1] + 1
}

// locate makes a rejected record's place one in the topic.
func (r *kafkaRun) locate(body []byte, ends []uint32, names []kafkaName, j *decode.Reject) {
	i := valueAt(ends, j.Start)
	start := min(valueStart(ends, i), j.Start)
	j.Line = 1 + bytes.Count(body[start:j.Start], []byte{'\n'})
	j.Reason = fmt.Sprintf("%s offset %d: %s", r, names[i].offset, j.Reason)
}

// refuseBatch keeps a batch that cannot be read as one dead letter and goes on
// behind it.
func (r *kafkaRun) refuseBatch(ctx context.Context, b *kafkaBatch, code, reason string) error {
	raw := b.raw[:min(len(b.raw), int(r.cfg.MaxRecord))]
	reason = fmt.Sprintf("%s; it reaches to offset %d, and %d of its bytes are kept", reason, b.last, len(raw))
	if err := r.refuse(ctx, kafkaName{max(r.at, b.base), b.maxTime}, bytes.Clone(raw), code, reason); err != nil {
		return err
	}
	r.at = b.last + 1
	return r.flush(ctx)
}

// refuse keeps bytes that are not read as a record as a dead letter.
func (r *kafkaRun) refuse(ctx context.Context, name kafkaName, raw []byte, code, reason string) error {
	if err := r.flush(ctx); err != nil {
		return err
	}
	return r.insist(ctx, func() error {
		b := r.newBatch(r.cfg.Tenant, raw)
		rejects := r.mapping.Refuse(b, decode.Limits{Position: func(uint32) string { return r.position(name) }}, code,
			fmt.Sprintf("%s offset %d: %s", r.kafkaPartition, name.offset, reason))
		return r.keep(b, name, rejects)
	})
}

func (r *kafkaRun) position(n kafkaName) string {
	return fmt.Sprintf("%s/%d/%d@%d", r.topic, r.id, n.offset, n.time)
}

// keep appends a batch under an id that it has again when it is taken again.
func (r *kafkaRun) keep(b *schemas.Batch, first kafkaName, rejects []decode.Reject) error {
	b.ID = batchID(b, "kafka/"+r.position(first))
	k, err := keep(r.run, r.append, b, rejects)
	if err != nil {
		return err
	}
	r.metrics.count(r.name, k, len(b.Body), rejects)
	return nil
}

// tell appends an event about records of the partition that are gone.
func (p *kafkaPartition) tell(ctx context.Context, kind string, from, to int64, reason string) error {
	reason = fmt.Sprintf("%s offsets %d to %d: %s", p, from, to, reason)
	p.log.Warn("records of a topic are gone", "kind", kind, "partition", p.String(), "from", from, "to", to, "reason", reason)
	at := p.now()
	sum := sha256.Sum256(fmt.Appendf(nil, "agentrail/kafka/%q/%q/%q/%s/%d/%d", p.cfg.Tenant, p.name, kind, p, from, to))
	return p.insist(ctx, func() error {
		b, err := decode.Own(p.cfg.Tenant, schemas.ClassHealth, "health", at.UnixNano(), schemas.Health{
			Kind: kind, Tenant: p.cfg.Tenant, Consumer: p.name, Reason: reason, From: uint64(from), To: uint64(to), At: at.UTC(),
		})
		if err != nil {
			return err
		}
		b.ID = schemas.ID(sum[:16])
		_, err = p.append(p.run, b)
		return err
	})
}

// insist stores until it succeeds or the generation or the program ends.
func (p *kafkaPartition) insist(ctx context.Context, store func() error) error {
	for backoff := time.Duration(0); ; {
		err := store()
		if err == nil {
			return nil
		}
		if err := errors.Join(ctx.Err(), p.run.Err()); err != nil {
			return err
		}
		backoff = storeBackoff(p.log, backoff, err)
		wait(ctx, backoff)
	}
}
