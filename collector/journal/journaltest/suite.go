package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
	"github.com/google/go-cmp/cmp"
)

// OpenFunc opens the journal under test. Two calls in one test, with a Close
// between, are a restart: the second finds what the first left. Ticks must be
// off and the decoder must be Decode.
type OpenFunc func(t *testing.T) journal.Journal

// Run holds an implementation to the contract of journal.Journal. make is
// called once for each test and returns the opener of a fresh, empty journal.
func Run(t *testing.T, make func(t *testing.T) OpenFunc) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, open OpenFunc)
	}{
		{"append and next", testAppendNext},
		{"offsets are consecutive under concurrency", testConcurrent},
		{"restart keeps batches, cursors and windows", testRestart},
		{"duplicates and id conflicts", testDuplicates},
		{"known batch id", testKnownID},
		{"snapshot and restore", testSnapshot},
		{"two cursors", testTwoCursors},
		{"starts", testStarts},
		{"context ends", testContext},
		{"closed", testClosed},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, make(t)) })
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(failure{err})
	}
	return v
}

// failure carries an error of must to the test that it fails.
type failure struct{ error }

func catch(t *testing.T) {
	t.Helper()
	if p := recover(); p != nil {
		f, ok := p.(failure)
		if !ok {
			panic(p)
		}
		t.Fatal(f.error)
	}
}

func next(t *testing.T, c journal.Cursor) *schemas.Batch {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b, err := c.Next(ctx)
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	return b
}

func closeAll(t *testing.T, cs ...io.Closer) {
	t.Helper()
	for _, c := range cs {
		if err := c.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}

func testAppendNext(t *testing.T, open OpenFunc) {
	defer catch(t)
	j := open(t)
	if j.Shards() < 1 {
		t.Fatalf("%d shards", j.Shards())
	}
	c := must(j.Open(t.Context(), "c", 0, journal.FromStart()))
	defer closeAll(t, c, j)
	var prev schemas.Digest
	for i := range 5 {
		in := Batch(fmt.Sprint(i), i+1)
		in.Records[0].Flags |= schemas.FlagTimeMissing
		body := bytes.Clone(in.Body)
		o := must(j.Append(t.Context(), in))
		b := next(t, c)
		if b.Offset != o || b.Received == 0 || b.ID.IsZero() || b.Self == (schemas.Digest{}) || b.Prev != prev {
			t.Fatalf("header %+v of offset %d after %s", b.Header, o, prev)
		}
		prev = b.Self
		if !bytes.Equal(b.Body, body) || len(b.Events) != i+1 || len(b.Records) != i+1 {
			t.Fatalf("batch %d: body %q, %d events, %d records", i, b.Body, len(b.Events), len(b.Records))
		}
		for k, ev := range b.Events {
			if ev.Offset != o || ev.Index != uint32(k) || ev.Received != b.Received || ev.Class != schemas.ClassActivity || !ev.Accepted() {
				t.Fatalf("event %+v", ev)
			}
		}
		if b.Events[0].Time != b.Received {
			t.Fatal("a record without time must have the time of its receipt")
		}
	}
}

func testConcurrent(t *testing.T, open OpenFunc) {
	defer catch(t)
	j := open(t)
	c := must(j.Open(t.Context(), "c", 0, journal.FromStart()))
	defer closeAll(t, c, j)
	const producers, each = 8, 25
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				if _, err := j.Append(t.Context(), Batch(fmt.Sprint(p, "-", i), 2)); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	var want journal.Offset
	var received int64
	for i := range producers * each {
		b := next(t, c)
		if i == 0 {
			want = b.Offset
		}
		if b.Offset != want || b.Received < received {
			t.Fatalf("offset %d received %d, want offset %d and not before %d", b.Offset, b.Received, want, received)
		}
		want, received = want+1, b.Received
	}
	wg.Wait()
}

func testRestart(t *testing.T, open OpenFunc) {
	defer catch(t)
	j := open(t)
	c := must(j.Open(t.Context(), "c", 0, journal.FromStart()))
	var before []*schemas.Batch
	for i := range 6 {
		must(j.Append(t.Context(), Batch(fmt.Sprint(i), 3)))
		before = append(before, next(t, c))
	}
	c.Commit(before[3].Offset)
	closeAll(t, c, j)

	j = open(t)
	c = must(j.Open(t.Context(), "c", 0, journal.FromNow()))
	defer closeAll(t, c, j)
	for _, want := range before[3:] {
		if diff := cmp.Diff(want, next(t, c)); diff != "" {
			t.Fatalf("batch %d differs after a restart (-before +after):\n%s", want.Offset, diff)
		}
	}
	again := Batch("5", 3)
	if o := must(j.Append(t.Context(), again)); o != before[5].Offset+1 {
		t.Fatalf("offset %d after %d", o, before[5].Offset)
	}
	b := next(t, c)
	if b.Prev != before[5].Self {
		t.Fatal("the chain broke at the restart")
	}
	if b.Events[0].Flags&schemas.FlagDuplicate == 0 {
		t.Fatal("the window of event ids did not survive the restart")
	}
}

func testDuplicates(t *testing.T, open OpenFunc) {
	defer catch(t)
	j := open(t)
	c := must(j.Open(t.Context(), "c", 0, journal.FromStart()))
	defer closeAll(t, c, j)
	flags := func(in *schemas.Batch) (out []schemas.Flags) {
		t.Helper()
		must(j.Append(t.Context(), in))
		b := next(t, c)
		for i, r := range b.Records {
			if b.Events[i].Flags != r.Flags {
				t.Fatalf("event %d has flags %b, its record %b", i, b.Events[i].Flags, r.Flags)
			}
			out = append(out, r.Flags)
		}
		return out
	}
	first := Batch("x", 2)
	first.Records, first.Body = append(first.Records, first.Records[0]), append(first.Body, first.Body...)
	first.Records[2].Start = uint32(len(first.Body) / 2)
	must(0, Decode(first))
	other := Batch("x", 2)
	other.Records[1].Digest[0]++
	f := func(in *schemas.Batch, want ...schemas.Flags) {
		t.Helper()
		if diff := cmp.Diff(want, flags(in)); diff != "" {
			t.Fatalf("flags (-want +got):\n%s", diff)
		}
	}
	const dup, conflict = schemas.FlagDuplicate, schemas.FlagIDConflict
	f(first, 0, 0, dup)
	f(Batch("x", 3), dup, dup, 0)
	f(other, dup, conflict)
	f(Batch("x", 2), dup, dup)
}

func testKnownID(t *testing.T, open OpenFunc) {
	defer catch(t)
	j := open(t)
	id := schemas.ProducerID("test", 7, 1)
	own := func() *schemas.Batch {
		b := must(Own("acme", schemas.ClassAlert, "alert", 1, map[string]int{"a": 1}))
		b.ID = id
		return b
	}
	first := must(j.Append(t.Context(), own()))
	must(j.Append(t.Context(), Batch("x", 1)))
	if again := must(j.Append(t.Context(), own())); again != first {
		t.Fatalf("offset %d, the first was %d", again, first)
	}
	closeAll(t, j)
	j = open(t)
	if again := must(j.Append(t.Context(), own())); again != first {
		t.Fatalf("offset %d after a restart, the first was %d", again, first)
	}
	closeAll(t, j)
}

func testSnapshot(t *testing.T, open OpenFunc) {
	defer catch(t)
	j := open(t)
	c := must(j.Open(t.Context(), "c", 0, journal.FromStart()))
	var got bytes.Buffer
	if _, err := c.Restore(&got); !errors.Is(err, journal.ErrNoSnapshot) {
		t.Fatalf("restore of nothing: %v", err)
	}
	var offsets []journal.Offset
	for i := range 5 {
		offsets = append(offsets, must(j.Append(t.Context(), Batch(fmt.Sprint(i), 1))))
		next(t, c)
	}
	must(0, c.Snapshot(t.Context(), offsets[1], bytes.NewBufferString("one")))
	must(0, c.Snapshot(t.Context(), offsets[2], bytes.NewBufferString("two")))
	c.Commit(offsets[4])
	closeAll(t, c, j)

	j = open(t)
	c = must(j.Open(t.Context(), "c", 0, journal.FromStart()))
	defer closeAll(t, c, j)
	if o := must(c.Restore(&got)); o != offsets[2] || got.String() != "two" {
		t.Fatalf("restored %q at %d", got.String(), o)
	}
	if b := next(t, c); b.Offset != offsets[2] {
		t.Fatalf("batch %d after restoring %d", b.Offset, offsets[2])
	}
}

func testTwoCursors(t *testing.T, open OpenFunc) {
	defer catch(t)
	j := open(t)
	a := must(j.Open(t.Context(), "a", 0, journal.FromStart()))
	b := must(j.Open(t.Context(), "b/with some: name", 0, journal.FromStart()))
	if _, err := j.Open(t.Context(), "a", 0, journal.FromStart()); err == nil {
		t.Fatal("a cursor must have one holder")
	}
	o := must(j.Append(t.Context(), Batch("x", 1)))
	must(j.Append(t.Context(), Batch("y", 1)))
	if x, y := next(t, a), next(t, b); x.Offset != o || y.Offset != o {
		t.Fatalf("offsets %d and %d", x.Offset, y.Offset)
	}
	a.Commit(o + 1)
	closeAll(t, a, b)
	a = must(j.Open(t.Context(), "a", 0, journal.FromStart()))
	b = must(j.Open(t.Context(), "b/with some: name", 0, journal.FromStart()))
	defer closeAll(t, a, b, j)
	if x, y := next(t, a), next(t, b); x.Offset != o+1 || y.Offset != o {
		t.Fatalf("offsets %d and %d after opening again", x.Offset, y.Offset)
	}
}

func testStarts(t *testing.T, open OpenFunc) {
	defer catch(t)
	j := open(t)
	defer closeAll(t, j)
	first := must(j.Append(t.Context(), Batch("0", 1)))
	must(j.Append(t.Context(), Batch("1", 1)))
	c := must(j.Open(t.Context(), "now", 0, journal.FromNow()))
	o := must(j.Append(t.Context(), Batch("2", 1)))
	if b := next(t, c); b.Offset != o {
		t.Fatalf("from now: offset %d, want %d", b.Offset, o)
	}
	closeAll(t, c)
	for _, f := range []struct {
		name string
		from journal.From
		want journal.Offset
	}{
		{"start", journal.FromStart(), first},
		{"offset", journal.FromOffset(first + 1), first + 1},
	} {
		c := must(j.Open(t.Context(), f.name, 0, f.from))
		if b := next(t, c); b.Offset != f.want {
			t.Fatalf("from %s: offset %d, want %d", f.name, b.Offset, f.want)
		}
		closeAll(t, c)
	}
}

func testContext(t *testing.T, open OpenFunc) {
	defer catch(t)
	j := open(t)
	c := must(j.Open(t.Context(), "c", 0, journal.FromStart()))
	defer closeAll(t, c, j)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := c.Next(ctx)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("next: %v", err)
	}
	o := must(j.Append(t.Context(), Batch("x", 1)))
	if b := next(t, c); b.Offset != o {
		t.Fatalf("offset %d after a cancelled next, want %d", b.Offset, o)
	}
}

func testClosed(t *testing.T, open OpenFunc) {
	defer catch(t)
	j := open(t)
	c := must(j.Open(t.Context(), "c", 0, journal.FromStart()))
	done := make(chan error)
	go func() {
		_, err := c.Next(t.Context())
		done <- err
	}()
	closeAll(t, j)
	if err := <-done; !errors.Is(err, journal.ErrClosed) {
		t.Fatalf("next: %v", err)
	}
	if _, err := j.Append(t.Context(), Batch("x", 1)); !errors.Is(err, journal.ErrClosed) {
		t.Fatalf("append: %v", err)
	}
}
