package sinks

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// KindTest is the kind and the action of the event that Try sends. Nothing else
// has it.
const KindTest = "agentrail.test"

// testOffset is where the marked event says that it lies: no journal gets so
// far, and every receiver can hold the number.
const testOffset = 1 << 52

// Finder is a Sink that can ask its receiver whether an event can be found
// there.
type Finder interface {
	// Find reports whether the event, as it was written, is there. An error says
	// that the receiver does not tell; asking again is of no use.
	Find(ctx context.Context, ev *schemas.Event) (bool, error)
}

// Trial is how it went to send a marked event.
type Trial struct {
	Sink     string        `json:"sink"`
	EventID  string        `json:"event_id"`
	Bytes    int           `json:"bytes,omitempty"`       // on the wire, before compression
	Accepted time.Duration `json:"accepted_ns,omitempty"` // from the first byte until the receiver took it; 0: it did not
	Indexed  time.Duration `json:"indexed_ns,omitempty"`  // until it was indexed or stored; 0: the receiver does not say
	How      string        `json:"how,omitempty"`         // confirmed: by the receiver on its own; found: it was looked for
	Note     string        `json:"note,omitempty"`        // why it is not known whether it is indexed
	Code     string        `json:"code,omitempty"`        // of the refusal
	Reason   string        `json:"reason,omitempty"`      // for people: why it did not come to pass
}

// OK reports whether the receiver took the event and, where it says, has it.
func (t Trial) OK() bool { return t.Reason == "" }

// Marked makes the event of a trial. It is of class health, so that no detector
// and no rule takes it for something that an agent did.
func Marked(sink, tenant string, now time.Time) (schemas.Event, error) {
	raw, err := json.Marshal(schemas.Health{Kind: KindTest, Tenant: tenant, Consumer: sink, Reason: "test of the sink; sent by agentrail sink test", At: now.UTC()})
	if err != nil {
		return schemas.Event{}, fmt.Errorf("make test event: %w", err)
	}
	ev := schemas.Event{
		Class: schemas.ClassHealth, Tenant: tenant, Source: "agentrail", Kind: KindTest, Action: KindTest, Access: schemas.AccessRead, Target: sink,
		Outcome: schemas.OutcomeOK, Time: now.UnixNano(), Received: now.UnixNano(), Offset: testOffset, Digest: sha256.Sum256(raw), Raw: raw,
	}
	var place [4]byte
	if _, err := rand.Read(ev.ID[:]); err != nil {
		return ev, fmt.Errorf("make test event: %w", err)
	}
	if _, err := rand.Read(place[:]); err != nil {
		return ev, fmt.Errorf("make test event: %w", err)
	}
	ev.Index = binary.BigEndian.Uint32(place[:])
	return ev, nil
}

// Try sends the event to the receiver once, past filter and cursor and through
// redaction, format and protocol of the sink, and waits until ctx ends for the
// receiver to have it.
func (f *Forwarder) Try(ctx context.Context, ev schemas.Event) Trial {
	t := Trial{Sink: f.o.Name, EventID: ev.ID.String()}
	if f.Whole() {
		return t.failed("whole", errors.New("this sink sends requests of traces whole; there is no event that it could be tried with"))
	}
	evs := []schemas.Event{ev}
	f.redact.apply(&evs[0])
	began := f.o.Now()
	receipt, err := f.o.Sink.Write(ctx, evs)
	if err != nil {
		return t.failed("", err)
	}
	t.Bytes, t.Accepted = receipt.Bytes, f.o.Now().Sub(began)
	if receipt.Confirm != nil {
		switch err := receipt.Wait(ctx); {
		case errors.Is(err, ErrUnconfirmed):
			t.Note = err.Error()
		case err != nil:
			return t.failed("unconfirmed", fmt.Errorf("taken, but not confirmed: %w", err))
		default:
			t.Indexed, t.How = f.o.Now().Sub(began), "confirmed"
		}
	}
	if finder, ok := f.o.Sink.(Finder); ok {
		return f.look(ctx, finder, &evs[0], began, t)
	}
	return t
}

// look asks the receiver for the event until it is there.
func (f *Forwarder) look(ctx context.Context, finder Finder, ev *schemas.Event, began time.Time, t Trial) Trial {
	b := backoff{min: f.o.MinBackoff, max: f.o.MaxBackoff}
	for {
		found, err := finder.Find(ctx, ev)
		switch {
		case found:
			t.Indexed, t.How = f.o.Now().Sub(began), "found"
			return t
		case err != nil && ctx.Err() == nil:
			t.Note = "the receiver does not let us look: " + err.Error()
			return t
		}
		if err := sleep(ctx, b.next()); err != nil {
			return t.failed("not_found", errors.New("taken, but not to be found in time"))
		}
	}
}

func (t Trial) failed(code string, err error) Trial {
	t.Code, t.Reason = code, err.Error()
	if we, ok := errors.AsType[*WriteError](err); ok {
		t.Code = we.Code
		if len(we.Rejected) > 0 {
			t.Reason = we.Rejected[0].Reason
		}
	}
	return t
}
