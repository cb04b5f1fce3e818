package collector

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
)

// kafkaPartition reads one partition during one generation of the group.
type kafkaPartition struct {
	*kafkaSource
	run       context.Context //nolint:containedctx // of Run: an append is not cut short when the generation ends
	topic     string
	id        int
	next      int64 // the offset that is read next: everything below it is in the journal
	fetchSize int
	commit    func(next int64) error
	badSum    int64 // 1 + offset of the batch whose checksum was wrong at the last try
}

func (p *kafkaPartition) String() string { return p.topic + "/" + strconv.Itoa(p.id) }

// errCommit ends the generation: the next one begins at what is committed.
var errCommit = errors.New("offsets are not committed")

// read reads until the generation ends.
func (p *kafkaPartition) read(ctx context.Context) {
	backoff := time.Duration(0)
	for ctx.Err() == nil {
		err := p.step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			p.well(p.String())
			backoff = 0
			continue
		}
		p.fault(p.String(), err)
		if errors.Is(err, errCommit) {
			wait(ctx, time.Second) // or till a rebalance, the usual cause, ends the generation
			return
		}
		p.client.forget()
		backoff = min(max(2*backoff, 100*time.Millisecond), 10*time.Second)
		wait(ctx, backoff/2+rand.N(backoff/2))
	}
}

// step fetches once and takes what came.
func (p *kafkaPartition) step(ctx context.Context) error {
	if p.next < 0 {
		return p.start(ctx)
	}
	f, err := p.client.fetch(ctx, p.topic, p.id, p.next, p.fetchSize)
	if errors.Is(err, kafka.OffsetOutOfRange) {
		return p.outOfRange(ctx)
	}
	if err != nil {
		return err
	}
	if len(f.Records) == 0 {
		p.lag(p.String(), max(0, f.LastStableOffset-p.next))
		return nil
	}
	select {
	case p.turns <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	defer func() { <-p.turns }()
	err = p.take(ctx, f)
	p.lag(p.String(), max(0, f.LastStableOffset-p.next))
	return err
}

// start finds out where a partition without a committed offset begins, and
// commits that, so that start: last means the same after a restart.
func (p *kafkaPartition) start(ctx context.Context) error {
	first, end, err := p.client.bounds(ctx, p.topic, p.id)
	if err != nil {
		return err
	}
	at := first
	if p.next == kafka.LastOffset {
		at = end
	}
	return p.moveTo(at)
}

// moveTo makes next the offset that is read next, here and for the group.
func (p *kafkaPartition) moveTo(next int64) error {
	if err := p.commit(next); err != nil {
		return fmt.Errorf("%w: %w", errCommit, err)
	}
	p.next = next
	return nil
}

// outOfRange goes on where there are records, and tells what is gone.
func (p *kafkaPartition) outOfRange(ctx context.Context) error {
	first, end, err := p.client.bounds(ctx, p.topic, p.id)
	switch {
	case err != nil:
		return err
	case p.next < first:
		err = p.tell(ctx, "source.gap", p.next, first, "the topic's retention removed records before they were read; let it keep them longer")
		p.metrics.skip(p.name, "retention", first-p.next)
	case p.next > end:
		err = p.tell(ctx, "source.reset", p.next, first,
			fmt.Sprintf("the topic ends at %d, before what was read: it was made again or lost its newest records; it is read from its start at %d", end, first))
		p.metrics.skip(p.name, "reset", 1)
	default:
		return fmt.Errorf("%w, though %d lies between %d and %d", kafka.OffsetOutOfRange, p.next, first, end)
	}
	if err != nil {
		return err
	}
	return p.moveTo(first)
}

// take stores the records of an answer, batch by batch.
func (p *kafkaPartition) take(ctx context.Context, f *fetchedPartition) error {
	r := &kafkaRun{kafkaPartition: p, at: p.next}
	open := map[int64]bool{} // producers within a transaction that was aborted
	for data := []byte(f.Records); len(data) > 0; {
		b, rest, err := nextKafkaBatch(data)
		switch {
		case errors.Is(err, errKafkaPart) && len(data) < len(f.Records):
			return r.flush(ctx) // the next fetch brings the whole of it
		case errors.Is(err, errKafkaPart) && len(data) == maxFetched && b.last >= p.next:
			b.raw = data
			return r.refuseBatch(ctx, &b, codeKafkaLarge, fmt.Sprintf("the batch has more than %d bytes", maxFetched))
		case err != nil:
			return errors.Join(r.flush(ctx), err)
		}
		data = rest
		if b.last < r.at {
			continue
		}
		for len(f.AbortedTransactions) > 0 && f.AbortedTransactions[0].FirstOffset <= b.last {
			open[f.AbortedTransactions[0].ProducerID] = true
			f.AbortedTransactions = f.AbortedTransactions[1:]
		}
		if b.base > r.at {
			if err := r.hole(ctx, b.base); err != nil {
				return err
			}
		}
		if err := r.batch(ctx, &b, open); err != nil {
			return err
		}
	}
	return r.flush(ctx)
}

// batch takes one batch.
func (r *kafkaRun) batch(ctx context.Context, b *kafkaBatch, aborted map[int64]bool) error {
	code, reason := b.check()
	switch {
	case code == codeKafkaSum && r.badSum != b.base+1:
		r.badSum = b.base + 1
		return errors.Join(r.flush(ctx), fmt.Errorf("batch at offset %d: %s", b.base, reason)) // another fetch may bring it whole
	case code != "":
		return r.refuseBatch(ctx, b, code, reason)
	case b.control():
		delete(aborted, b.producer)
	case b.transactional() && aborted[b.producer]:
		r.metrics.skip(r.name, "aborted", int64(b.count))
	default:
		if missing := b.last - b.base + 1 - int64(b.count); missing > 0 && r.at <= b.base {
			if err := r.missing(ctx, b.base, b.last+1, missing); err != nil {
				return err
			}
		}
		err := b.records(int(r.cfg.MaxRecord), func(rec kafkaRecord) error { return r.add(ctx, rec) })
		if stored, ok := errors.AsType[*storeError](err); ok {
			return stored.err
		}
		if err != nil {
			return r.refuseBatch(ctx, b, codeKafkaBatch, fmt.Sprintf("from offset %d on the batch cannot be read: %v", r.at, err))
		}
	}
	r.at = b.last + 1
	return nil
}

// hole goes on at an offset that does not follow the last one.
func (r *kafkaRun) hole(ctx context.Context, to int64) error {
	if err := r.flush(ctx); err != nil {
		return err
	}
	if err := r.missing(ctx, r.at, to, to-r.at); err != nil {
		return err
	}
	r.at = to
	return nil
}

// missing counts n records that are not there, and tells of them unless the
// topic is compacted: transactions and retention leave no holes.
func (r *kafkaRun) missing(ctx context.Context, from, to, n int64) error {
	compacted, err := r.isCompacted(ctx)
	if compacted {
		r.metrics.skip(r.name, "compacted", n)
		return nil
	}
	reason := fmt.Sprintf("%d records are missing in the topic, which is not compacted", n)
	if err != nil {
		reason = fmt.Sprintf("%d records are missing in the topic; whether it is compacted is not known: %v", n, err)
	}
	if err := r.tell(ctx, "source.gap", from, to, reason); err != nil {
		return err
	}
	r.metrics.skip(r.name, "missing", n)
	return nil
}

// topicPolicy is what a topic's cleanup policy was at a time.
type topicPolicy struct {
	compacted bool
	asked     time.Time
}

// isCompacted asks again after a minute.
func (p *kafkaPartition) isCompacted(ctx context.Context) (bool, error) {
	p.mu.Lock()
	known := p.policy[p.topic]
	p.mu.Unlock()
	if p.now().Sub(known.asked) < time.Minute {
		return known.compacted, nil
	}
	compacted, err := p.client.compacted(ctx, p.topic)
	if err == nil {
		p.mu.Lock()
		p.policy[p.topic] = topicPolicy{compacted, p.now()}
		p.mu.Unlock()
	}
	return compacted, err
}
