package detectors_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// fakeJournal keeps batches in memory. What the engine appends comes back to
// the engine, as in the real one.
type fakeJournal struct {
	t       testing.TB
	batches []*schemas.Batch
	ids     map[schemas.ID]uint64
	engine  *detectors.Engine
	options detectors.Options
	next    int // first batch not consumed
	fail    int // so many appends fail
}

// shipped are the mappings and tables of the program.
var shipped = sync.OnceValues(func() (*decode.Set, error) { return decode.Open("") })

func vocabulary(t testing.TB) *schemas.Vocabulary {
	t.Helper()
	set, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	return set.Vocabulary()
}

func newJournal(t testing.TB, o detectors.Options) *fakeJournal {
	t.Helper()
	j := &fakeJournal{t: t, ids: map[schemas.ID]uint64{}}
	if o.Own == nil {
		o.Own = own
	}
	o.Append = j.Append
	if o.Vocabulary == nil {
		o.Vocabulary = vocabulary(t)
	}
	j.options = o
	e, err := detectors.NewEngine(o)
	if err != nil {
		t.Fatal(err)
	}
	j.engine = e
	return j
}

// Append is what the engine calls.
func (j *fakeJournal) Append(_ context.Context, b *schemas.Batch) (uint64, error) {
	if j.fail > 0 {
		j.fail--
		return 0, context.DeadlineExceeded
	}
	if o, known := j.ids[b.ID]; known {
		return o, nil
	}
	return j.append(b), nil
}

// append stores a batch, setting what the journal sets.
func (j *fakeJournal) append(b *schemas.Batch) uint64 {
	b.Offset = uint64(len(j.batches))
	if n := len(j.batches); n > 0 {
		b.Received = max(b.Received, j.batches[n-1].Received)
	}
	for i := range b.Events {
		b.Events[i].Offset, b.Events[i].Received, b.Events[i].Index = b.Offset, b.Received, uint32(i)
	}
	if !b.ID.IsZero() {
		j.ids[b.ID] = b.Offset
	}
	j.batches = append(j.batches, b)
	return b.Offset
}

// run lets the engine consume everything, one batch at a time.
func (j *fakeJournal) run(ctx context.Context) {
	j.t.Helper()
	for j.next < len(j.batches) {
		if err := j.engine.Consume(ctx, j.batches[j.next:j.next+1]); err != nil {
			j.t.Fatal(err)
		}
		j.next++
	}
}

// alerts returns every transition that was appended, in order.
func (j *fakeJournal) alerts() []schemas.Alert {
	var out []schemas.Alert
	for _, b := range j.batches {
		if b.Class != schemas.ClassAlert {
			continue
		}
		for i := range b.Events {
			var a schemas.Alert
			if err := json.Unmarshal(b.Events[i].Raw, &a); err != nil {
				j.t.Fatal(err)
			}
			if lacks := a.Lacks(); lacks != nil {
				j.t.Errorf("alert of %s lacks %s: %q", a.Rule, strings.Join(lacks, "; "), a.Reason)
			}
			out = append(out, a)
		}
	}
	return out
}

// own builds a batch of own documents without a decoder.
func own(tenant string, class schemas.Class, kind string, received int64, docs ...any) (*schemas.Batch, error) {
	b := &schemas.Batch{Header: schemas.Header{Tenant: tenant, Source: "agentrail", Log: kind, Class: class, Received: received, Flags: schemas.BatchSelf}}
	for _, d := range docs {
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		b.Events = append(b.Events, schemas.Event{Class: class, Kind: kind, Tenant: tenant, Source: "agentrail", Time: received, Raw: raw})
		b.Records = append(b.Records, schemas.Record{})
	}
	return b, nil
}

func config(t testing.TB, kind, fields string) plug.Config {
	t.Helper()
	c, err := plug.NewConfig(kind, kind, fields)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var noon = time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC) // a Wednesday
