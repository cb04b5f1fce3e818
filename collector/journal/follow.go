package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// State is what a consumer remembers between batches. Follow stores it with
// the offset that it belongs to. WriteTo and ReadFrom are never called while
// Consume runs. ReadFrom replaces the state as a whole.
type State interface {
	io.WriterTo
	io.ReaderFrom
}

// Settler is a State that changes in Settle and nowhere else. Follow calls Settle
// when batches are done and none before them is open, in their order and never
// while WriteTo runs. So what is stored is whole however many Consume calls are
// in flight, and a panic in Consume cannot leave it half changed.
type Settler interface {
	State
	Settle(batches []*schemas.Batch)
}

// changer is a State that can tell that there is nothing new to store.
type changer interface{ Changed() bool }

// FollowOptions say how a consumer is fed. Zero values mean the defaults.
type FollowOptions struct {
	Name     string        // of the consumer: in metrics, logs and dead letters. Mandatory.
	Rows     int           // records after which a Consume call is full; default 4096
	Bytes    int           // bytes of bodies after which it is full; default 4 MiB
	Linger   time.Duration // how long to wait for more once there is something; 0: take what is there
	InFlight int           // Consume calls at once; default 1

	// Exact saves the plan [from, to) of each Consume call before the call,
	// and offers exactly that plan again after a restart. InFlight must be 1.
	Exact bool

	State         State         // snapshotted; InFlight must be 1 unless it is a Settler
	SnapshotEvery time.Duration // default 30 s; while only ticks come it is 30 s at least
	SnapshotBytes int64         // bytes of bodies consumed; default 256 MB

	// Park takes records that the consumer will never take. It is retried
	// until it succeeds. Without it they are logged and counted.
	Park func(ctx context.Context, letters []schemas.DeadLetter) error

	Metrics    *Metrics
	Log        *slog.Logger
	MaxBackoff time.Duration // of retries; default 30 s
}

// idleSnapshot is how long nothing is stored where nothing but time goes on.
const idleSnapshot = 30 * time.Second

// maxRetryAfter caps how long a consumer may ask to be left alone.
const maxRetryAfter = 5 * time.Minute

func (o *FollowOptions) setDefaults() error {
	if o.Name == "" {
		return errors.New("follow: no name given")
	}
	_, settles := o.State.(Settler)
	if o.InFlight > 1 && (o.Exact || o.State != nil && !settles) {
		return fmt.Errorf("follow %s: exact plans and state need one call in flight, not %d", o.Name, o.InFlight)
	}
	for _, d := range []struct{ v, def *int }{
		{&o.Rows, new(4096)},
		{&o.Bytes, new(4 << 20)},
		{&o.InFlight, new(1)},
	} {
		if *d.v <= 0 {
			*d.v = *d.def
		}
	}
	if o.SnapshotEvery <= 0 {
		o.SnapshotEvery = idleSnapshot
	}
	if o.SnapshotBytes <= 0 {
		o.SnapshotBytes = 256 << 20
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("consumer", o.Name)
	return nil
}

// Follow feeds the consumer from the cursor until ctx ends; then it waits for
// Consume calls to return, saves the state and returns nil. It is the only read
// loop: it gathers batches, retries for ever with back-off, parks records that
// can never be taken, isolates a batch that makes Consume panic, and commits
// the highest offset below which everything is done. It does not close the
// cursor. Other errors than the end of ctx come from the cursor or the options.
func Follow(ctx context.Context, c Cursor, consumer Consumer, o FollowOptions) error {
	if err := o.setDefaults(); err != nil {
		return err
	}
	f := &follower{c: c, consumer: consumer, o: o, log: o.Log, poison: map[Offset]string{}}
	f.settler, _ = o.State.(Settler)
	f.m = o.Metrics.consumer(o.Name, c)
	defer f.m.done()
	run := f.loop
	if o.InFlight > 1 {
		run = f.parallel
	}
	if err := f.restore(ctx); err != nil {
		return f.ended(ctx, err)
	}
	return f.ended(ctx, run(ctx))
}

// ended turns the end of ctx into nil.
func (f *follower) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("follow %s: %w", f.o.Name, err)
	}
	return nil
}

// follower is one Follow call.
type follower struct {
	c        Cursor
	consumer Consumer
	o        FollowOptions
	log      *slog.Logger
	m        *consumerMetrics
	settler  Settler // the state, if it is one

	carry  *schemas.Batch    // read, but not for the group before
	plan   Offset            // Exact: end of the plan to offer again; 0: none
	single Offset            // below it batches are offered one by one
	next   Offset            // everything below is consumed
	since  int64             // bytes consumed since the last snapshot
	saved  time.Time         // last snapshot
	clean  bool              // the state is that of next
	poison map[Offset]string // batches that make Consume panic, and how
}

// loop offers one group after the other.
func (f *follower) loop(ctx context.Context) error {
	f.saved = time.Now()
	for {
		group, err := f.gather(ctx)
		if err == nil {
			err = f.step(ctx, group)
		}
		if err != nil {
			return errors.Join(err, f.leave(ctx))
		}
	}
}

// step gets a group done and commits it.
func (f *follower) step(ctx context.Context, group []*schemas.Batch) error {
	f.m.begin(group)
	if err := f.savePlan(ctx, group); err != nil {
		return err
	}
	f.clean = f.settler != nil
	err := f.deliver(ctx, group)
	if errors.Is(err, errRewound) {
		return nil
	}
	if err != nil {
		return err
	}
	f.clean = true
	f.done(group)
	return f.snapshotIfDue(ctx)
}

// done says that the group and everything before it is consumed. Without state
// that is all there is to keep.
func (f *follower) done(group []*schemas.Batch) {
	f.next = NextOffset(group[len(group)-1])
	f.m.finish(group, f.next)
	if f.settler != nil {
		f.settler.Settle(group)
	}
	if f.o.State == nil {
		f.c.Commit(f.next)
		return
	}
	f.since += bytesOf(group)
}

// deliver offers the group until it is taken. A panic splits it, down to the
// batch that causes it, whose records are parked.
func (f *follower) deliver(ctx context.Context, group []*schemas.Batch) error {
	group = f.sound(group)
	if len(group) == 0 {
		return nil
	}
	for attempt := 1; ; attempt++ {
		err := f.consume(ctx, group)
		var rejected *Rejected
		var broken *panicked
		switch {
		case err == nil:
			return nil
		case errors.As(err, &rejected):
			return f.parkItems(ctx, group, rejected, attempt)
		case errors.As(err, &broken):
			return f.isolate(ctx, group, broken)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := f.backoff(attempt, err)
		f.m.retry(err)
		f.log.Warn("consumer did not take its batches; trying again", "attempt", attempt, "from", group[0].Offset, "wait", wait, "err", err)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// backoff doubles from 100 ms to MaxBackoff, of which a random half is taken
// off; a RetryAfter is never undercut, up to five minutes.
func (f *follower) backoff(attempt int, err error) time.Duration {
	d := min(100*time.Millisecond<<min(attempt-1, 20), f.o.MaxBackoff)
	d = d/2 + rand.N(d/2+1)
	if ra, ok := errors.AsType[*RetryAfter](err); ok {
		d = max(d, min(ra.After, maxRetryAfter))
	}
	return d
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// consume calls the consumer and turns a panic into an error.
func (f *follower) consume(ctx context.Context, group []*schemas.Batch) (err error) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			err = newPanicked(p)
		}
		f.m.took(time.Since(start))
	}()
	return f.consumer.Consume(ctx, group)
}

// poller is a Cursor that can tell what is there without waiting.
type poller interface {
	Poll() (*schemas.Batch, error) // nil: nothing now
}

// gather waits for a batch and takes more until the group is full, nothing
// more is there, or the linger time is over. A plan is gathered as it was.
func (f *follower) gather(ctx context.Context) ([]*schemas.Batch, error) {
	b := f.carry
	f.carry = nil
	if b == nil {
		var err error
		if b, err = f.c.Next(ctx); err != nil {
			return nil, err
		}
	}
	group := []*schemas.Batch{b}
	if b.Offset < f.single {
		return group, nil
	}
	rows, size := len(b.Records), len(b.Body)
	planned := f.plan > 0
	deadline := time.Now().Add(f.o.Linger)
	for {
		if planned && NextOffset(b) >= f.plan || !planned && (rows >= f.o.Rows || size >= f.o.Bytes) {
			f.plan = 0
			return group, nil
		}
		var err error
		if planned {
			b, err = f.c.Next(ctx)
		} else {
			b, err = f.more(ctx, deadline)
		}
		if err != nil {
			return nil, err
		}
		if b == nil {
			return group, nil
		}
		if !planned && (rows+len(b.Records) > f.o.Rows || size+len(b.Body) > f.o.Bytes) {
			f.carry = b
			return group, nil
		}
		group = append(group, b)
		rows, size = rows+len(b.Records), size+len(b.Body)
	}
}

// more returns the next batch if it comes before the deadline.
func (f *follower) more(ctx context.Context, deadline time.Time) (*schemas.Batch, error) {
	if p, ok := f.c.(poller); ok {
		if b, err := p.Poll(); b != nil || err != nil {
			return b, err
		}
	}
	left := time.Until(deadline)
	if left <= 0 {
		return nil, nil
	}
	wait, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	b, err := f.c.Next(wait)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, nil
	}
	return b, err
}

func bytesOf(group []*schemas.Batch) (n int64) {
	for _, b := range group {
		n += int64(len(b.Body))
	}
	return n
}
