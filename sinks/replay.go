package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// ReplayOptions say what replays are made of.
type ReplayOptions struct {
	// Operator is the tenant whose controls are carried out; empty: anybody's.
	Operator string
	// Sink returns the forwarder of that name. Mandatory.
	Sink func(name string) (*Forwarder, bool)
	// Open returns a reader of the journal from that offset on that holds no
	// retention. Mandatory.
	Open func(ctx context.Context, from uint64) (BatchReader, error)
	// OffsetAt returns the first offset received at that time or later. Mandatory.
	OffsetAt func(ctx context.Context, t time.Time) (uint64, error)
	// Append stores how a replay went, in a batch of that id; where the journal
	// has the id it does nothing. Mandatory.
	Append func(ctx context.Context, id schemas.ID, tenant string, h schemas.Health) error
	// Keep is how long replayed events are known by hour; 0: 31 days.
	Keep time.Duration
	Log  *slog.Logger
	Now  func() time.Time
}

// BatchReader reads the journal in order.
type BatchReader interface {
	Next(ctx context.Context) (*schemas.Batch, error)
	io.Closer
}

// ReplayName is the name of the cursor of replays.
const ReplayName = "replays"

// Replays sends ranges of the journal to a sink again, with the ids that the
// events have, as controls ask for it: what was asked for and what became of it
// is in the journal. How far each is belongs to the state that Follow saves, so
// a crash makes it send again what it sent since, and count that once. It is a
// journal.Consumer and its journal.State; Run carries the replays out, those of
// one sink in the order in which they were asked for.
type Replays struct {
	o    ReplayOptions
	wake chan struct{}

	mu      sync.Mutex
	jobs    []*replayJob
	counts  map[statementOf]int64
	running map[string]bool
	changed bool
}

// NewReplays returns one that has nothing to do.
func NewReplays(o ReplayOptions) (*Replays, error) {
	if o.Sink == nil || o.Open == nil || o.OffsetAt == nil || o.Append == nil {
		return nil, errors.New("replays: Sink, Open, OffsetAt and Append are mandatory")
	}
	if o.Keep <= 0 {
		o.Keep = 31 * 24 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Replays{o: o, wake: make(chan struct{}, 1), counts: map[statementOf]int64{}, running: map[string]bool{}}, nil
}

// Consume learns what is asked for.
func (r *Replays) Consume(_ context.Context, batches []*schemas.Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range batches {
		if b.Gap != nil || b.Class != schemas.ClassControl || b.Flags&schemas.BatchSelf == 0 || r.o.Operator != "" && b.Tenant != r.o.Operator {
			continue
		}
		for ev := range b.Accepted() {
			if ev.Kind == "control" {
				r.control(b, ev)
			}
		}
	}
	r.nudge()
	return nil
}

func (r *Replays) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Replays) control(b *schemas.Batch, ev *schemas.Event) {
	var c schemas.Control
	if err := json.Unmarshal(ev.Raw, &c); err != nil {
		r.o.Log.Error("control cannot be read", "offset", b.Offset, "error", err)
		return
	}
	switch c.Verb {
	case VerbReplay:
		c.Tenant = b.Tenant
		r.jobs = append(r.jobs, &replayJob{Control: c, End: b.Offset})
		r.changed = true
	case VerbReplayStop:
		for _, j := range r.jobs {
			if j.Control.Target == c.Target && j.Ended == "" {
				j.Ended = "stopped by " + c.Author
				r.changed = true
				if j.stop != nil {
					j.stop()
				}
			}
		}
	}
}

// Run carries replays out until ctx ends.
func (r *Replays) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
		for _, j := range r.due() {
			wg.Go(func() {
				r.carry(ctx, j)
				r.mu.Lock()
				delete(r.running, j.Control.Target)
				r.mu.Unlock()
				r.nudge()
			})
		}
	}
}

// due returns the first job of each sink that has none running, and marks it.
func (r *Replays) due() (out []*replayJob) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.jobs {
		if !r.running[j.Control.Target] {
			r.running[j.Control.Target] = true
			out = append(out, j)
		}
	}
	return out
}

// carry takes one replay to its end, says how it went, and forgets it. It
// returns early when ctx ends.
func (r *Replays) carry(ctx context.Context, j *replayJob) {
	began := r.o.Now()
	err := r.send(ctx, j)
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	if err != nil && j.Ended == "" {
		j.Ended = err.Error()
	}
	h := schemas.Health{Kind: VerbReplay, Tenant: j.Control.Tenant, Consumer: j.Control.Target, Reason: j.outcome(), To: j.Next, At: r.o.Now().UTC()}
	r.mu.Unlock()
	r.o.Log.Info("replay ended", "sink", j.Control.Target, "outcome", h.Reason, "took", r.o.Now().Sub(began))
	id := schemas.ProducerID("replay/"+j.Control.ID, j.End, 0)
	b := backoff{min: 100 * time.Millisecond, max: 10 * time.Second}
	for {
		if err := r.o.Append(ctx, id, j.Control.Tenant, h); err == nil {
			break
		} else if ctx.Err() == nil {
			r.o.Log.Warn("outcome of a replay not appended; trying on", "error", err)
		}
		if sleep(ctx, b.next()) != nil {
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs = slices.DeleteFunc(r.jobs, func(other *replayJob) bool { return other == j })
	r.changed = true
}

// send sends what is left of a replay, batch by batch.
func (r *Replays) send(ctx context.Context, j *replayJob) error {
	ask, err := ParseReplay(j.Control)
	if err != nil {
		return err
	}
	f, ok := r.o.Sink(j.Control.Target)
	if !ok {
		return fmt.Errorf("sink %s is not in the config", j.Control.Target)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if !r.begin(j, stop) {
		return nil
	}
	from := j.Next
	if from == 0 {
		from = ask.From.Offset
		if !ask.From.At.IsZero() {
			if from, err = r.o.OffsetAt(ctx, ask.From.At); err != nil {
				return fmt.Errorf("find the first batch: %w", err)
			}
		}
	}
	if from >= j.End {
		return nil
	}
	reader, err := r.o.Open(ctx, from)
	if err != nil {
		return fmt.Errorf("open journal at %d: %w", from, err)
	}
	defer reader.Close()
	for expect := from; ; {
		b, err := reader.Next(ctx)
		if err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		if b.Gap != nil || b.Offset > expect {
			to := b.Offset
			if b.Gap != nil {
				to = b.Gap.To
			}
			r.missing(j, expect, min(to, j.End))
			expect = to
		}
		if b.Gap != nil && expect < j.End {
			continue
		}
		if expect >= j.End || ask.To.reached(b) {
			return nil
		}
		t, err := f.replay(ctx, b, ask.Filter)
		if err != nil {
			return err
		}
		expect = b.Offset + 1
		sent := r.progress(f, j, b, t)
		if err := sleep(ctx, time.Duration(sent)*time.Second/time.Duration(ask.Rate)); err != nil {
			return err
		}
	}
}

// begin notes how to stop the attempt; it reports false for a replay that was
// stopped before.
func (r *Replays) begin(j *replayJob, stop func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	j.stop = stop
	return j.Ended == ""
}

func (r *Replays) missing(j *replayJob, from, to uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j.Missing += to - min(from, to)
}

// progress counts a batch and returns how many events were sent.
func (r *Replays) progress(f *Forwarder, j *replayJob, b *schemas.Batch, t replayed) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent := t.seen - t.filtered - t.dead
	j.Next, r.changed = b.Offset+1, true
	j.Sent, j.Filtered, j.Refused = j.Sent+sent, j.Filtered+t.filtered, j.Refused+t.dead
	if j.Why == "" {
		j.Why = t.why
	}
	if sent > 0 {
		r.counts[statementOf{f.Name(), accountOf(b)}] += sent
		f.count.add(outcomeReplayed, int(sent))
	}
	return sent
}

// Count returns how many events that the journal received in the hour were
// sent to the sink again.
func (r *Replays) Count(sink, tenant string, hour time.Time) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[statementOf{sink, account{tenant, hourOf(hour.UnixNano())}}]
}
