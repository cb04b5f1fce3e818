package sinks

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// pause waits before the next try, at least as long as the receiver asked for.
// Where a person is needed it says so once.
func (f *Forwarder) pause(ctx context.Context, we *WriteError, wait time.Duration) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.count.retry(we.Code)
	said := we.Error()
	f.hold.last.Store(&said)
	if we.RetryAfter > 0 {
		asked := min(we.RetryAfter, f.o.MaxRetryAfter, maxRetryAfter)
		f.hold.until(asked)
		wait = max(wait, asked)
	}
	if we.Kind == KindAuth {
		f.raise(ctx, we)
	} else if f.hold.warn() {
		f.o.Log.Warn("receiver does not take events; trying on", "code", we.Code, "error", we.Error(), "wait", wait)
	} else if f.hold.stalled() && !f.hold.told.Swap(true) && !f.say(ctx, "sink.stalled", "it has taken no events for "+stalledAfter.String()+": "+we.Error()) {
		f.hold.told.Store(false) // tried again with the next attempt
	}
	return sleep(ctx, wait)
}

// raise makes one health event per episode; one that could not be appended is
// tried again with the next attempt.
func (f *Forwarder) raise(ctx context.Context, we *WriteError) {
	if !f.hold.begin() {
		return
	}
	f.count.held(true)
	f.o.Log.Error("receiver refuses us; the cursor is held and nothing is dropped", "code", we.Code, "error", we.Error())
	if !f.say(ctx, "sink.auth", we.Error()) {
		f.hold.forget()
		return
	}
	f.hold.told.Store(true)
}

// say appends a health event about the sink. It reports whether it did, or
// there is no need to try again.
func (f *Forwarder) say(ctx context.Context, kind, reason string) bool {
	if f.o.Health == nil {
		return true
	}
	err := f.o.Health(ctx, schemas.Health{Kind: kind, Consumer: f.o.Name, Reason: reason, At: f.o.Now().UTC()})
	if err == nil {
		return true
	}
	if !errors.Is(err, context.Canceled) {
		f.o.Log.Warn("health event not appended", "kind", kind, "error", err)
	}
	return errors.Is(err, context.Canceled)
}

// stalledAfter is how long a receiver may fail before the journal is told.
const stalledAfter = 10 * time.Minute

// hold is what all deliveries of a forwarder share about the receiver.
type hold struct {
	now    func() time.Time
	notTil atomic.Int64           // Unix ns before which nothing is written
	held   atomic.Bool            // an episode is on and was announced
	warned atomic.Bool            // a failing receiver was logged
	since  atomic.Int64           // Unix ns at which that was
	told   atomic.Bool            // the journal was told that the receiver takes nothing
	last   atomic.Pointer[string] // what the receiver said; nil while it is well
}

// wait blocks while the receiver asked for silence.
func (h *hold) wait(ctx context.Context) error {
	for {
		left := time.Duration(h.notTil.Load() - h.now().UnixNano())
		if left <= 0 {
			return ctx.Err()
		}
		if err := sleep(ctx, left); err != nil {
			return err
		}
	}
}

func (h *hold) until(d time.Duration) {
	at := h.now().Add(d).UnixNano()
	for {
		old := h.notTil.Load()
		if at <= old || h.notTil.CompareAndSwap(old, at) {
			return
		}
	}
}

func (h *hold) begin() bool { return h.held.CompareAndSwap(false, true) }
func (h *hold) forget()     { h.held.Store(false) }

func (h *hold) warn() bool {
	if !h.warned.CompareAndSwap(false, true) {
		return false
	}
	h.since.Store(h.now().UnixNano())
	return true
}

// stalled reports whether the receiver has failed for long.
func (h *hold) stalled() bool { return h.now().UnixNano()-h.since.Load() >= int64(stalledAfter) }

// release ends the episode; it reports whether there was one.
func (h *hold) release() bool {
	if !h.warned.Load() && !h.held.Load() {
		return false
	}
	h.last.Store(nil)
	w := h.warned.Swap(false)
	return h.held.Swap(false) || w
}

// window is how many events go into one write: it halves when the receiver
// finds a write too large and grows back with each that it takes.
type window struct {
	limit int64
	cur   atomic.Int64
}

func (w *window) init(limit int) {
	w.limit = int64(limit)
	w.cur.Store(w.limit)
}

func (w *window) get() int { return int(w.cur.Load()) }

func (w *window) shrink(to int) { w.cur.Store(max(1, min(int64(to), w.cur.Load()))) }

func (w *window) grow() {
	if cur := w.cur.Load(); cur < w.limit {
		w.cur.Store(min(w.limit, cur+max(1, cur/16)))
	}
}
