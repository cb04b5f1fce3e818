package sinks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
)

// fold is a journal in memory with a DeadLetters on it: what is appended is
// consumed at once.
type fold struct {
	*DeadLetters
	mu      sync.Mutex
	batches []*schemas.Batch
	fails   int // appends that fail before one succeeds
}

func newFold(t *testing.T, change func(*DeadLetterOptions)) *fold {
	t.Helper()
	f := &fold{}
	o := DeadLetterOptions{Append: f.append, Lookup: f.lookup, Sink: func(string) (*Forwarder, bool) { return nil, false }}
	if change != nil {
		change(&o)
	}
	d, err := NewDeadLetters(o)
	if err != nil {
		t.Fatal(err)
	}
	f.DeadLetters = d
	return f
}

func (f *fold) append(ctx context.Context, tenant string, class schemas.Class, kind string, doc any) error {
	f.mu.Lock()
	if f.fails > 0 {
		f.fails--
		f.mu.Unlock()
		return errors.New("journal is away")
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		f.mu.Unlock()
		return err
	}
	b := &schemas.Batch{Header: schemas.Header{Offset: uint64(len(f.batches)), Tenant: tenant, Class: class, Flags: schemas.BatchSelf}}
	b.Events = []schemas.Event{{Class: class, Kind: kind, Tenant: tenant, Raw: raw}}
	f.batches = append(f.batches, b)
	f.mu.Unlock()
	return f.Consume(ctx, []*schemas.Batch{b})
}

func (f *fold) lookup(_ context.Context, _ uint16, offset uint64, index uint32) (*schemas.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if offset >= uint64(len(f.batches)) || int(index) >= len(f.batches[offset].Events) {
		return nil, fmt.Errorf("offset %d is gone", offset)
	}
	return &f.batches[offset].Events[index], nil
}

func (f *fold) add(t *testing.T, tenant, consumer, id string, offset uint64) {
	t.Helper()
	event := schemas.ID{1}.String()
	if ev, err := f.lookup(t.Context(), 0, offset, 0); err == nil {
		event = ev.ID.String()
	}
	f.addAbout(t, tenant, consumer, id, offset, event)
}

func (f *fold) addAbout(t *testing.T, tenant, consumer, id string, offset uint64, event string) {
	t.Helper()
	l := schemas.DeadLetter{
		ID: id, Tenant: tenant, Consumer: consumer, Offset: offset, EventID: event, Code: "hec_6", Reason: "refused",
		Bytes: []byte("copy of " + id), Attempts: 1,
	}
	if err := f.append(t.Context(), tenant, schemas.ClassHealth, "dead_letter", l); err != nil {
		t.Fatal(err)
	}
}

func (f *fold) control(t *testing.T, tenant, verb, target string) {
	t.Helper()
	c := schemas.Control{ID: "c-" + target, Tenant: tenant, Verb: verb, Target: target, Reason: "test"}
	if err := f.append(t.Context(), tenant, schemas.ClassControl, "control", c); err != nil {
		t.Fatal(err)
	}
}

func listed(f *fold, tenant, consumer string) (ids []string) {
	for _, l := range f.List(tenant, consumer, 100) {
		ids = append(ids, l.ID)
	}
	return ids
}

func TestDeadLettersFold(t *testing.T) {
	f := newFold(t, func(o *DeadLetterOptions) { o.Max = 3 })
	for i, id := range []string{"a", "b", "c"} {
		f.add(t, "one", []string{"soc", "audit"}[i%2], id, 7)
	}
	f.add(t, "two", "soc", "a", 7)
	if got := listed(f, "one", ""); !cmp.Equal(got, []string{"c", "b", "a"}) {
		t.Errorf("list: %v", got)
	}
	if got := listed(f, "one", "soc"); !cmp.Equal(got, []string{"c", "a"}) {
		t.Errorf("list of soc: %v", got)
	}
	if !f.Full("one") || f.Full("two") || f.Full("three") {
		t.Error("Full is wrong")
	}
	if l, err := f.Get(t.Context(), "one", "b"); err != nil || string(l.Bytes) != "copy of b" {
		t.Errorf("get: %+v, %v", l, err)
	}
	if _, err := f.Get(t.Context(), "two", "b"); !errors.Is(err, ErrNoDeadLetter) {
		t.Errorf("a letter of another tenant: %v", err)
	}
	f.control(t, "two", "dlq.drop", "b") // not theirs
	f.control(t, "one", "dlq.drop", "a")
	if got := listed(f, "one", ""); !cmp.Equal(got, []string{"c", "b"}) {
		t.Errorf("list after drop: %v", got)
	}
	if f.Full("one") || f.Open() != 3 {
		t.Error("a drop frees no room")
	}

	var snapshot bytes.Buffer
	if _, err := f.WriteTo(&snapshot); err != nil {
		t.Fatal(err)
	}
	again := newFold(t, nil)
	again.batches = f.batches
	if _, err := again.ReadFrom(&snapshot); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f.List("one", "", 100), again.List("one", "", 100)); diff != "" {
		t.Error(diff)
	}
	if l, err := again.Get(t.Context(), "one", "b"); err != nil || string(l.Bytes) != "copy of b" {
		t.Errorf("get after restore: %+v, %v", l, err)
	}
	for _, bad := range []string{"", "{", `{"version":2}`} {
		if _, err := again.ReadFrom(bytes.NewReader([]byte(bad))); err == nil {
			t.Errorf("snapshot %q is read", bad)
		}
	}
}

func TestDeadLettersIgnoreForgeries(t *testing.T) {
	f := newFold(t, nil)
	raw, _ := json.Marshal(schemas.DeadLetter{ID: "x", Tenant: "victim"})
	forged := &schemas.Batch{Header: schemas.Header{Tenant: "one", Class: schemas.ClassActivity}, Events: []schemas.Event{{Class: schemas.ClassActivity, Kind: "dead_letter", Raw: raw}}}
	own := &schemas.Batch{Header: schemas.Header{Tenant: "one", Class: schemas.ClassHealth, Flags: schemas.BatchSelf}, Events: []schemas.Event{{Kind: "dead_letter", Raw: raw}, {Kind: "dead_letter", Raw: []byte("{")}, {Kind: "control", Raw: nil}}}
	if err := f.Consume(t.Context(), []*schemas.Batch{forged, own, {Gap: &schemas.Gap{}}}); err != nil {
		t.Fatal(err)
	}
	if f.Open() != 1 || len(f.List("victim", "", 9)) != 0 {
		t.Error("the tenant of a letter comes from its document")
	}
}

func TestDeadLettersBound(t *testing.T) {
	f := newFold(t, func(o *DeadLetterOptions) { o.Max = 10 })
	for i := range 100 {
		f.add(t, "one", "soc", fmt.Sprint(i), 0)
	}
	if f.Open() != 10*overfull {
		t.Errorf("%d letters are kept", f.Open())
	}
}

func TestDeadLettersRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := true
		sink := &fakeSink{write: func(_ int, evs []schemas.Event) (Receipt, error) {
			if bad {
				return Receipt{Events: 1}, &WriteError{Kind: KindRefused, Code: "hec_12", Err: errors.New("still refused")}
			}
			return Receipt{Events: len(evs)}, nil
		}}
		fw := newTestForwarder(t, sink, nil)
		var reappended []string
		f := newFold(t, func(o *DeadLetterOptions) {
			o.Sink = func(consumer string) (*Forwarder, bool) { return fw, consumer == "soc" }
			o.Reappend = func(_ context.Context, l schemas.DeadLetter, raw []byte) error {
				if l.Consumer != "audit" {
					return errors.New("no such source")
				}
				reappended = append(reappended, string(raw))
				return nil
			}
		})
		record := testBatch(0, 3) // offset 0 of the journal
		f.batches = append(f.batches, record)
		f.add(t, "default", "soc", "s", 0)
		f.add(t, "default", "audit", "q", 0)
		f.add(t, "default", "store", "x", 0)
		f.add(t, "default", "soc", "gone", 1000)
		f.addAbout(t, "default", "audit", "place", 0, "")                     // of a file, not of a record
		f.addAbout(t, "default", "audit", "moved", 0, schemas.ID{9}.String()) // another record lies there
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()

		for _, id := range []string{"s", "q", "x", "gone", "place", "moved"} {
			f.control(t, "default", "dlq.retry", id)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := listed(f, "default", ""); !cmp.Equal(slices.Sorted(slices.Values(got)), []string{"gone", "moved", "place", "s", "x"}) {
			t.Errorf("open after the first retry: %v", got)
		}
		if diff := cmp.Diff([]string{string(record.Events[0].Raw)}, reappended); diff != "" {
			t.Error(diff)
		}
		l, err := f.Get(t.Context(), "default", "s")
		if err != nil || l.Attempts != 2 || l.Reason != "still refused" || l.Code != "hec_12" || !bytes.Equal(l.Bytes, record.Events[0].Raw) {
			t.Errorf("after a failed retry: %+v, %v", l, err)
		}

		bad = false
		f.mu.Lock()
		f.fails = 3
		f.mu.Unlock()
		for f.append(t.Context(), "default", schemas.ClassControl, "control", schemas.Control{ID: "c2", Verb: "dlq.retry", Target: "s"}) != nil {
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, err := f.Get(t.Context(), "default", "s"); !errors.Is(err, ErrNoDeadLetter) {
			t.Errorf("after a retry that was taken: %v", err)
		}
		if sink.got[record.Events[0].ID] != 1 || sink.last[0].Raw != nil {
			t.Errorf("the sink took %v", sink.got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}

		again := newFold(t, nil) // the list is a fold of the journal: a replay gives the same
		for _, b := range f.batches[1:] {
			if err := again.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(f.List("default", "", 100), again.List("default", "", 100)); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzDeadLetterState(f *testing.F) {
	f.Add([]byte(`{"version":1,"letters":[{"id":"a","tenant":"t","event":{"offset":3}}]}`))
	f.Add([]byte(`{"version":1,"letters":[null]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		d := newFold(t, nil)
		if _, err := d.ReadFrom(bytes.NewReader(doc)); err != nil {
			return
		}
		var out bytes.Buffer
		if _, err := d.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
	})
}

// TestDeadLettersAfterRestart: until what the journal held is read back nobody
// is told that a letter is not there.
func TestDeadLettersAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFold(t, func(o *DeadLetterOptions) { o.From = 2 })
		f.add(t, "one", "soc", "a", 7)
		if err := f.Whole(t.Context(), time.Second); !errors.Is(err, ErrRestoring) {
			t.Errorf("one of two batches is folded: %v", err)
		}
		said := make(chan error)
		go func() { said <- f.Whole(t.Context(), time.Hour) }()
		synctest.Wait()
		if err := f.Consume(t.Context(), []*schemas.Batch{{Gap: &schemas.Gap{From: 1, To: 2}}}); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(<-said, f.Whole(t.Context(), 0)); err != nil {
			t.Error(err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := newFold(t, func(o *DeadLetterOptions) { o.From = 1 }).Whole(gone, time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("the caller left: %v", err)
		}
	})
	if err := newFold(t, nil).Whole(t.Context(), 0); err != nil {
		t.Errorf("an empty journal: %v", err)
	}
}
