package journal

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// inflight is the groups that are being consumed, in order.
type inflight struct {
	mu     sync.Mutex
	groups []*flight
	err    error // the first failure that ends Follow
}

type flight struct {
	group []*schemas.Batch
	done  bool
}

// parallel keeps up to InFlight groups being consumed at once and commits the
// highest offset below which all are done. When one fails for good the others
// are cancelled and waited for.
func (f *follower) parallel(ctx context.Context) error {
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var flights inflight
	var wg sync.WaitGroup
	slots := make(chan struct{}, f.o.InFlight)
	f.saved = time.Now()
	for work.Err() == nil {
		group, err := f.gather(work)
		if err != nil {
			flights.fail(err)
			break
		}
		select {
		case slots <- struct{}{}:
		case <-work.Done():
			continue
		}
		fl := flights.start(f, group)
		wg.Go(func() {
			defer func() { <-slots }()
			if err := f.deliver(work, group); err != nil {
				flights.fail(err)
				cancel()
				return
			}
			flights.land(work, f, fl)
		})
	}
	cancel()
	wg.Wait()
	err := flights.err
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return errors.Join(err, f.leave(ctx))
}

func (w *inflight) start(f *follower, group []*schemas.Batch) *flight {
	w.mu.Lock()
	defer w.mu.Unlock()
	fl := &flight{group: group}
	if w.groups = append(w.groups, fl); len(w.groups) == 1 {
		f.m.begin(group)
	}
	return fl
}

// land marks the group as done and keeps what is done without a hole.
func (w *inflight) land(ctx context.Context, f *follower, fl *flight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fl.done = true
	for len(w.groups) > 0 && w.groups[0].done {
		group := w.groups[0].group
		w.groups = w.groups[1:]
		f.done(group)
	}
	if err := f.snapshotIfDue(ctx); err != nil && w.err == nil {
		w.err = err
	}
	if len(w.groups) > 0 {
		f.m.begin(w.groups[0].group)
	}
}

// fail keeps the first cause; cancelling the others makes more of them.
func (w *inflight) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil || errors.Is(w.err, context.Canceled) {
		w.err = err
	}
}
