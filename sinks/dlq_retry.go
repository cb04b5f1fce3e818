package sinks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Run carries out the retries that were asked for, one after the other, until
// ctx ends. The outcome of each is an event: dlq.drop for a record that was
// taken, else the letter again with one attempt more. A crash in between means
// that the record is sent once more.
func (d *DeadLetters) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		}
		for _, l := range d.due() {
			d.retry(ctx, l)
			if ctx.Err() != nil {
				return nil
			}
		}
	}
}

// due returns copies of the letters to be tried, oldest first.
func (d *DeadLetters) due() []letter {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []letter
	for _, open := range d.tenants {
		for _, l := range open {
			if l.Asked != "" && !l.tried {
				l.tried = true
				out = append(out, *l)
			}
		}
	}
	slices.SortFunc(out, func(a, b letter) int { return int(min(max(int64(a.number-b.number), -1), 1)) })
	return out
}

// retry makes one attempt and appends what became of it.
func (d *DeadLetters) retry(ctx context.Context, l letter) {
	raw, err := d.attempt(ctx, l.DeadLetter)
	if ctx.Err() != nil {
		return // shutting down: tried again after the restart
	}
	now := d.o.Now().UTC()
	if err == nil {
		d.o.Log.Info("dead letter delivered", "id", l.ID, "consumer", l.Consumer)
		d.insist(ctx, l.Tenant, schemas.ClassControl, "control", schemas.Control{
			ID: l.Asked + "-done", Tenant: l.Tenant, Verb: "dlq.drop", Target: l.ID,
			Reason: "delivered by retry " + l.Asked, Author: "agentrail", At: now,
		})
		return
	}
	again := l.DeadLetter
	again.Attempts++
	again.Reason, again.Size, again.At = err.Error(), max(len(raw), again.Size), now
	again.Bytes = raw[:min(len(raw), maxLetterBytes)]
	if we, ok := errors.AsType[*WriteError](err); ok {
		again.Code = we.Code
	}
	d.insist(ctx, l.Tenant, schemas.ClassHealth, "dead_letter", again)
}

// maxLetterBytes caps the copy of a record in a dead letter.
const maxLetterBytes = 64 << 10

func (d *DeadLetters) attempt(ctx context.Context, l schemas.DeadLetter) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, d.o.Patience)
	defer cancel()
	if l.EventID == "" {
		return nil, errors.New("the letter is about a place, not about a record; mend what it names and let the source read it again, then drop the letter")
	}
	ev, err := d.o.Lookup(ctx, l.Shard, l.Offset, l.Index)
	if err == nil && ev.ID.String() != l.EventID {
		err = fmt.Errorf("record %s lies there, not %s", ev.ID, l.EventID)
	}
	if err != nil {
		return nil, fmt.Errorf("read record %d/%d/%d again: %w", l.Shard, l.Offset, l.Index, err)
	}
	raw := bytes.Clone(ev.Raw)
	if f, ok := d.o.Sink(l.Consumer); ok {
		return raw, f.Resend(ctx, ev)
	}
	if d.o.Reappend == nil {
		return raw, fmt.Errorf("%s is neither a sink nor a source of this config; drop the letter or bring it back", l.Consumer)
	}
	return raw, d.o.Reappend(ctx, l, raw)
}

// insist appends until it succeeds or ctx ends.
func (d *DeadLetters) insist(ctx context.Context, tenant string, class schemas.Class, kind string, doc any) {
	b := backoff{min: 100 * time.Millisecond, max: 10 * time.Second}
	for {
		err := d.o.Append(ctx, tenant, class, kind, doc)
		if err == nil || ctx.Err() != nil {
			return
		}
		d.o.Log.Warn("outcome of a retry not appended; trying on", "error", err)
		if sleep(ctx, b.next()) != nil {
			return
		}
	}
}
