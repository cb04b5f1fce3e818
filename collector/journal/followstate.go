package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// followState is what Follow stores in a snapshot: the plan, if Exact, and the
// state of the consumer.
type followState struct {
	to    Offset // end of the plan; 0: none
	state State
}

const followStateMagic = "ARFS0001"

// WriteTo implements io.WriterTo.
func (s *followState) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(binary.LittleEndian.AppendUint64([]byte(followStateMagic), s.to))
	if err != nil || s.state == nil {
		return int64(n), err
	}
	m, err := s.state.WriteTo(w)
	return int64(n) + m, err
}

// ReadFrom implements io.ReaderFrom.
func (s *followState) ReadFrom(r io.Reader) (int64, error) {
	var head [16]byte
	n, err := io.ReadFull(r, head[:])
	if err != nil {
		return int64(n), err
	}
	if !bytes.Equal(head[:8], []byte(followStateMagic)) {
		return int64(n), errors.New("snapshot is not one of a follower")
	}
	s.to = binary.LittleEndian.Uint64(head[8:])
	if s.state == nil {
		return int64(n), nil
	}
	m, err := s.state.ReadFrom(r)
	return int64(n) + m, err
}

// restore brings state and plan back. A consumer with state that has no
// snapshot gets one at once, so that there is always something to go back to.
func (f *follower) restore(ctx context.Context) error {
	if !f.o.Exact && f.o.State == nil {
		return nil
	}
	s := followState{state: f.o.State}
	next, err := f.c.Restore(&s)
	switch {
	case err == nil:
		f.next, f.plan, f.clean = next, s.to, true
		f.m.at(next)
		return nil
	case !errors.Is(err, ErrNoSnapshot):
		return fmt.Errorf("restore: %w", err)
	case f.o.State == nil:
		return nil
	}
	if f.carry, err = f.c.Next(ctx); err != nil {
		return err
	}
	f.next, f.clean = f.carry.Offset, true
	return f.insist(ctx, "snapshot", func() error { return f.snapshot(ctx, 0) })
}

func (f *follower) snapshot(ctx context.Context, to Offset) error {
	err := f.c.Snapshot(ctx, f.next, &followState{to: to, state: f.o.State})
	if err == nil {
		f.saved, f.since = time.Now(), 0
	}
	return err
}

// savePlan makes the plan of the group durable before it is offered.
func (f *follower) savePlan(ctx context.Context, group []*schemas.Batch) error {
	if !f.o.Exact {
		return nil
	}
	f.next = group[0].Offset
	return f.insist(ctx, "plan", func() error { return f.snapshot(ctx, NextOffset(group[len(group)-1])) })
}

// snapshotIfDue saves the state. A full disk must not stop the consumer: what
// fails is tried again with the next group.
func (f *follower) snapshotIfDue(ctx context.Context) error {
	if f.o.State == nil || f.o.Exact || f.since < f.o.SnapshotBytes && time.Since(f.saved) < f.every() {
		return nil
	}
	if err := f.snapshot(ctx, 0); err != nil && ctx.Err() == nil {
		f.log.Warn("cannot save the state of a consumer; a restart would replay more", "err", err)
		f.saved, f.since = time.Now(), 0
	}
	return nil
}

// every is how long a state may go unsaved.
func (f *follower) every() time.Duration {
	news := f.since > 0
	if c, ok := f.o.State.(changer); ok {
		news = c.Changed()
	}
	if news {
		return f.o.SnapshotEvery
	}
	return max(f.o.SnapshotEvery, idleSnapshot)
}

// leave saves where a consumer stands when it stops, unless it stopped in the
// middle of a group.
func (f *follower) leave(ctx context.Context) error {
	if !f.clean || !f.o.Exact && f.o.State == nil {
		return nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := f.snapshot(last, f.plan); err != nil && !errors.Is(err, ErrClosed) {
		f.log.Warn("cannot save the state of a consumer; a restart will replay more", "err", err)
	}
	return nil
}

// insist repeats what must succeed before the consumer may go on.
func (f *follower) insist(ctx context.Context, what string, do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := f.backoff(attempt, err)
		f.m.retry(err)
		f.log.Warn("consumer waits", "for", what, "attempt", attempt, "wait", wait, "err", err)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}
