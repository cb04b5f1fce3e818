package sinks

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// fakeSink takes events as write says and remembers what it took.
type fakeSink struct {
	write func(n int, evs []schemas.Event) (Receipt, error) // nil: takes all
	mu    sync.Mutex
	n     int
	got   map[schemas.ID]int
	last  []schemas.Event
}

func (s *fakeSink) Write(_ context.Context, evs []schemas.Event) (Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.n
	s.n++
	r := Receipt{Events: len(evs)}
	if s.write != nil {
		var err error
		if r, err = s.write(n, evs); err != nil {
			return r, err
		}
	}
	if s.got == nil {
		s.got = map[schemas.ID]int{}
	}
	for i := range evs[:r.Events] {
		s.got[evs[i].ID]++
	}
	s.last = slices.Clone(evs)
	return r, nil
}

func (s *fakeSink) Close() error { return nil }

// testBatch makes a batch of n events with ids that name offset and index.
func testBatch(offset uint64, n int) *schemas.Batch {
	b := &schemas.Batch{Header: schemas.Header{Offset: offset, Tenant: "default", Source: "audit", Class: schemas.ClassActivity}}
	for i := range n {
		ev := schemas.Event{
			ID: testID(offset, i), Class: schemas.ClassActivity, Tenant: "default", Source: "audit", Kind: "api_call", Time: 1_764_000_000_123_000_000 + int64(i),
			Received: 1_764_000_001_000_000_000, Access: schemas.AccessWrite, Action: "tool.execute", Raw: fmt.Appendf(nil, `{"n":%d,"prompt":"hunter2"}`, i),
		}
		ev.Digest = sha256.Sum256(ev.Raw)
		b.Events = append(b.Events, ev)
		b.Records = append(b.Records, schemas.Record{ID: ev.ID})
	}
	return b
}

func testID(offset uint64, i int) (id schemas.ID) {
	binary.BigEndian.PutUint64(id[:], offset)
	binary.BigEndian.PutUint64(id[8:], uint64(i))
	return id
}

// wantIDs are the ids of all events of the batches.
func wantIDs(batches ...*schemas.Batch) map[schemas.ID]bool {
	want := map[schemas.ID]bool{}
	for _, b := range batches {
		for i := range b.Events {
			want[b.Events[i].ID] = true
		}
	}
	return want
}

// sameIDs holds what arrived to what was to arrive: the same ids, none less.
func sameIDs[N any](t *testing.T, want map[schemas.ID]bool, got map[schemas.ID]N) {
	t.Helper()
	missing, foreign := 0, 0
	for id := range want {
		if _, ok := got[id]; !ok {
			missing++
		}
	}
	for id := range got {
		if !want[id] {
			foreign++
		}
	}
	if missing > 0 || foreign > 0 {
		t.Errorf("of %d events %d are missing; %d came that should not", len(want), missing, foreign)
	}
}

func newTestForwarder(t testing.TB, s Sink, change func(*Options)) *Forwarder {
	t.Helper()
	o := Options{
		Name: "test", Sink: s, Common: DefaultCommon(), MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond,
		Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	f, err := NewForwarder(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestForwarderSkipsWhatIsNotForTheSink(t *testing.T) {
	s := &fakeSink{}
	f := newTestForwarder(t, s, func(o *Options) {
		o.Common.Filter = `access != "read"`
		o.Common.Tenants = []string{"default", "second"}
	})
	b := testBatch(1, 10)
	b.Events[0].Flags |= schemas.FlagDuplicate
	b.Events[1].Flags |= schemas.FlagRejected
	b.Events[2].Access = schemas.AccessRead
	tick := &schemas.Batch{Header: schemas.Header{Offset: 2, Flags: schemas.BatchTick, Class: schemas.ClassActivity}}
	gap := &schemas.Batch{Header: schemas.Header{Offset: 3}, Gap: &schemas.Gap{From: 3, To: 4}}
	health, foreign := testBatch(4, 3), testBatch(5, 3)
	health.Class, foreign.Tenant = schemas.ClassHealth, "other"
	if err := f.Consume(t.Context(), []*schemas.Batch{b, tick, gap, health, foreign}); err != nil {
		t.Fatal(err)
	}
	want := wantIDs(b)
	for i := range 3 {
		delete(want, testID(1, i))
	}
	sameIDs(t, want, s.got)
	got := f.Ledger()
	if diff := cmp.Diff(Ledger{Sink: "test", Seen: 8, Filtered: 1, Accepted: 7}, got); diff != "" {
		t.Error(diff)
	}
	for i := range s.last {
		if s.last[i].Raw != nil {
			t.Fatal("content left without being asked for")
		}
	}
	if len(b.Events[5].Raw) == 0 {
		t.Error("the shared batch was changed")
	}
}

// TestForwarderOutlastsAnOutage lets the receiver be away for an hour and more.
func TestForwarderOutlastsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := &fakeSink{}
		s.write = func(_ int, evs []schemas.Event) (Receipt, error) {
			if time.Since(start) < 61*time.Minute {
				return Receipt{Events: len(evs)}, &WriteError{Kind: KindRetry, Code: "http_503", Err: errors.New("away")}
			}
			return Receipt{Events: len(evs)}, nil
		}
		f := newTestForwarder(t, s, func(o *Options) { o.MinBackoff, o.MaxBackoff = 0, 0 })
		var wg sync.WaitGroup
		var batches []*schemas.Batch
		for i := range 4 { // as many as Follow keeps in flight
			b := testBatch(uint64(i), 1000)
			batches = append(batches, b)
			wg.Go(func() {
				if err := f.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		sameIDs(t, wantIDs(batches...), s.got)
		for id, n := range s.got {
			if n != 1 {
				t.Fatalf("%v was taken %d times", id, n)
			}
		}
		if tries := s.n; tries < 4*60 || tries > 4*150 {
			t.Errorf("%d attempts in an hour", tries)
		}
		if took := time.Since(start); took > 63*time.Minute {
			t.Errorf("back %v after the start", took)
		}
	})
}

func TestForwarderHonoursRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked time.Time
		s := &fakeSink{}
		s.write = func(n int, evs []schemas.Event) (Receipt, error) {
			if n == 0 {
				asked = time.Now()
				return Receipt{Events: len(evs)}, &WriteError{Kind: KindRetry, Code: "http_429", RetryAfter: 1000 * time.Hour, Err: errors.New("slow down")}
			}
			if since := time.Since(asked); since < 5*time.Minute || since > 6*time.Minute {
				t.Errorf("written %v after the receiver asked for silence", since)
			}
			return Receipt{Events: len(evs)}, nil
		}
		f := newTestForwarder(t, s, nil)
		var wg sync.WaitGroup
		wg.Go(func() { _ = f.Consume(t.Context(), []*schemas.Batch{testBatch(1, 3)}) })
		synctest.Wait()
		wg.Go(func() { _ = f.Consume(t.Context(), []*schemas.Batch{testBatch(2, 3)}) }) // the other delivery holds still too
		wg.Wait()
		if len(s.got) != 6 {
			t.Errorf("%d events arrived", len(s.got))
		}
	})
}

func TestForwarderHoldsOnAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := true
		var events []schemas.Health
		s := &fakeSink{}
		s.write = func(_ int, evs []schemas.Event) (Receipt, error) {
			if bad {
				return Receipt{Events: len(evs)}, &WriteError{Kind: KindAuth, Code: "hec_4", Err: errors.New("token is wrong")}
			}
			return Receipt{Events: len(evs)}, nil
		}
		calls := 0
		f := newTestForwarder(t, s, func(o *Options) {
			o.MinBackoff, o.MaxBackoff = 0, 0
			o.Health = func(_ context.Context, h schemas.Health) error {
				if calls++; calls == 1 {
					return errors.New("journal is away")
				}
				events = append(events, h)
				return nil
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		done := make(chan error)
		go func() { done <- f.Consume(ctx, []*schemas.Batch{testBatch(1, 3)}) }()
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if len(events) != 1 || events[0].Kind != "sink.auth" || events[0].Consumer != "test" || events[0].Reason != "token is wrong" {
			t.Errorf("health events: %+v", events)
		}
		if l := f.Ledger(); !l.Held || l.Accepted != 0 || l.Dead != 0 || l.LastError != "token is wrong" {
			t.Errorf("ledger: %+v", l)
		}
		s.mu.Lock()
		bad = false
		s.mu.Unlock()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if l := f.Ledger(); l.Held || l.Accepted != 3 || l.LastError != "" {
			t.Errorf("ledger afterwards: %+v", l)
		}
		if len(events) != 2 || events[1].Kind != "sink.recovered" || events[1].Consumer != "test" {
			t.Errorf("health events afterwards: %+v", events)
		}
	})
}

// TestForwarderTellsOfAStall: a receiver that is away is told of once, after ten
// minutes, and once when it is back; a short outage is not told.
func TestForwarderTellsOfAStall(t *testing.T) {
	outage := func(long time.Duration) (kinds []string) {
		synctest.Test(t, func(t *testing.T) {
			until := time.Now().Add(long)
			s := &fakeSink{write: func(_ int, evs []schemas.Event) (Receipt, error) {
				if time.Now().Before(until) {
					return Receipt{Events: len(evs)}, &WriteError{Kind: KindRetry, Code: "network", Err: errors.New("away")}
				}
				return Receipt{Events: len(evs)}, nil
			}}
			calls := 0
			f := newTestForwarder(t, s, func(o *Options) {
				o.Health = func(_ context.Context, h schemas.Health) error {
					if calls++; calls == 1 {
						return errors.New("journal is away")
					}
					kinds = append(kinds, h.Kind)
					return nil
				}
			})
			if err := f.Consume(t.Context(), []*schemas.Batch{testBatch(1, 3)}); err != nil {
				t.Error(err)
			}
		})
		return kinds
	}
	if got := outage(3 * time.Hour); !slices.Equal(got, []string{"sink.stalled", "sink.recovered"}) {
		t.Errorf("a long outage makes %v", got)
	}
	if got := outage(9 * time.Minute); len(got) != 0 {
		t.Errorf("a short outage makes %v", got)
	}
}

func TestForwarderStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSink{write: func(int, []schemas.Event) (Receipt, error) { return Receipt{}, errors.New("away") }}
		f := newTestForwarder(t, s, func(o *Options) { o.MinBackoff, o.MaxBackoff = 0, 0 })
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		if err := f.Consume(ctx, []*schemas.Batch{testBatch(1, 3)}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// TestForwarderFindsPoison refuses some events of many, with and without the
// receiver saying which.
func TestForwarderFindsPoison(t *testing.T) {
	f := func(every int, blame bool, maxWrites int) {
		t.Helper()
		b := testBatch(7, 10_000)
		poison := func(ev *schemas.Event) bool {
			return binary.BigEndian.Uint64(ev.ID[8:])%uint64(every) == uint64(every)/2
		}
		s := &fakeSink{}
		s.write = func(_ int, evs []schemas.Event) (Receipt, error) {
			for i := range evs {
				if !poison(&evs[i]) {
					continue
				}
				we := &WriteError{Kind: KindRefused, Code: "hec_6", Err: errors.New("invalid data")}
				if blame {
					we.Rejected = []Item{{Index: i}}
				}
				return Receipt{Events: len(evs)}, we
			}
			return Receipt{Events: len(evs)}, nil
		}
		fw := newTestForwarder(t, s, func(o *Options) { o.Common.Batch.MaxEvents = 500 })
		var rejected *journal.Rejected
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); !errors.As(err, &rejected) {
			t.Fatalf("got %v", err)
		}
		want, dead := wantIDs(b), 0
		for _, it := range rejected.Items {
			ev := &b.Events[it.Index]
			if it.Offset != 7 || !poison(ev) || it.Code != "hec_6" || it.Reason != "invalid data" {
				t.Fatalf("rejected: %+v", it)
			}
			delete(want, ev.ID)
			dead++
		}
		if dead != 10_000/every {
			t.Errorf("%d dead letters, want %d", dead, 10_000/every)
		}
		sameIDs(t, want, s.got)
		if s.n > maxWrites {
			t.Errorf("1 in %d: %d writes for 10,000 events", every, s.n)
		}
	}
	f(1000, true, 20+10*3)
	f(1000, false, 20+10*20)
	f(10_000, false, 20+20)
	f(1, true, 40_000)
}

func TestForwarderSplitsWhatIsTooLarge(t *testing.T) {
	b := testBatch(1, 1000)
	s := &fakeSink{}
	giant := testID(1, 500)
	s.write = func(_ int, evs []schemas.Event) (Receipt, error) {
		holds := slices.ContainsFunc(evs, func(ev schemas.Event) bool { return ev.ID == giant })
		if len(evs) > 64 || holds {
			return Receipt{Events: len(evs)}, &WriteError{Kind: KindTooLarge, Code: "http_413", Err: errors.New("too large")}
		}
		return Receipt{Events: len(evs)}, nil
	}
	f := newTestForwarder(t, s, nil)
	var rejected *journal.Rejected
	if err := f.Consume(t.Context(), []*schemas.Batch{b}); !errors.As(err, &rejected) {
		t.Fatalf("got %v", err)
	}
	if diff := cmp.Diff([]journal.RejectedItem{{Offset: 1, Index: 500, Code: "http_413", Reason: "too large"}}, rejected.Items); diff != "" {
		t.Error(diff)
	}
	want := wantIDs(b)
	delete(want, giant)
	sameIDs(t, want, s.got)
	if s.n > 150 {
		t.Errorf("%d writes", s.n)
	}
}

func TestForwarderResendsWhatIsNotConfirmed(t *testing.T) {
	b := testBatch(1, 100)
	s := &fakeSink{}
	s.write = func(n int, evs []schemas.Event) (Receipt, error) {
		k := min(10, len(evs))
		return Receipt{Events: k, Confirm: func(context.Context) error {
			if n%3 == 0 {
				return &WriteError{Kind: KindRetry, Code: "ack_timeout", Err: errors.New("not indexed")}
			}
			return nil
		}}, nil
	}
	f := newTestForwarder(t, s, nil)
	if err := f.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), s.got)
	if l := f.Ledger(); l.Indexed != 100 || l.Accepted <= 100 || l.Retries == 0 {
		t.Errorf("ledger: %+v", l)
	}
}

func TestForwarderTakesPartialAnswers(t *testing.T) {
	b := testBatch(1, 10)
	s := &fakeSink{}
	s.write = func(_ int, evs []schemas.Event) (Receipt, error) {
		return Receipt{Events: len(evs)}, &WriteError{Kind: KindPartial, Err: errors.New("some refused"), Rejected: []Item{{Index: 3, Code: "mapping", Reason: "no"}}}
	}
	f := newTestForwarder(t, s, nil)
	var rejected *journal.Rejected
	if err := f.Consume(t.Context(), []*schemas.Batch{b}); !errors.As(err, &rejected) || len(rejected.Items) != 1 || rejected.Items[0].Index != 3 {
		t.Fatalf("got %v", err)
	}
	if l := f.Ledger(); l.Accepted != 9 || l.Dead != 1 {
		t.Errorf("ledger: %+v", l)
	}
}

func TestForwarderFilterWithoutValueIsADeadLetter(t *testing.T) {
	b := testBatch(1, 3)
	b.Events[0].Status, b.Events[2].Status = 1, 1
	s := &fakeSink{}
	f := newTestForwarder(t, s, func(o *Options) { o.Common.Filter = `100 / status > 1` })
	var rejected *journal.Rejected
	if err := f.Consume(t.Context(), []*schemas.Batch{b}); !errors.As(err, &rejected) || len(rejected.Items) != 1 || rejected.Items[0].Code != "filter_error" {
		t.Fatalf("got %v", err)
	}
	if len(s.got) != 2 {
		t.Errorf("%d events arrived", len(s.got))
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	f := func(v string, want time.Duration) {
		t.Helper()
		if got := retryAfter(http.Header{"Retry-After": {v}}, now); got != want {
			t.Errorf("%q: got %v, want %v", v, got, want)
		}
	}
	f("", 0)
	f("7", 7*time.Second)
	f("0", 0)
	f("-5", 0)
	f("86400", 5*time.Minute)
	f("99999999999999999999999", 5*time.Minute)
	f("soon", 0)
	f(now.Add(90*time.Second).Format(http.TimeFormat), 90*time.Second)
	f(now.Add(-time.Hour).Format(http.TimeFormat), 0)
	f(now.Add(1000*time.Hour).Format(http.TimeFormat), 5*time.Minute)
}

func TestOpenFaults(t *testing.T) {
	f := func(kind, fields string, want string) {
		t.Helper()
		c, err := plug.NewConfig(kind, "x", fields)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = Open(t.Context(), c, Deps{Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", fields, err, want)
		}
	}
	const hec = "url: https://splunk:8088\ntoken: t\n"
	f("splonk", "", `unknown sink kind "splonk"; known kinds: `)
	f("splunk", hec+"fliter: 'true'", `unknown key "fliter"; did you mean "filter"`)
	f("splunk", hec+"toke_file: x", `did you mean "token_file"`)
	f("splunk", hec+"filter: acess == 1", "undeclared reference to 'acess'")
	f("splunk", hec+"classes: [alarm]", `unknown class "alarm"`)
	f("splunk", hec+"from: yesterday", "neither now nor start")
	f("splunk", hec+"format: xml", "unknown format")
	f("splunk", hec+"batch: {max_bytes: 12}", "not between 4KiB and 64MiB")
	f("splunk", hec+"in_flight: 0", "in_flight")
	f("splunk", hec+"redact: [tenant]", "tenant cannot be redacted")
	f("splunk", "url: https://splunk:8088", "token: is missing")
	f("splunk", "url: https://splunk:8088/services/collector\ntoken: t", "give scheme, host and port only")
	f("splunk", "url: ftp://splunk\ntoken: t", "neither http nor https")
	f("splunk", "url: https://user:pass@splunk\ntoken: t", "holds a user name")
	f("splunk", "url: http://169.254.169.254\ntoken: t", "link-local")
	f("splunk", "url: http://[::ffff:169.254.169.254]\ntoken: t", "link-local")
	f("splunk", hec+"tls: {ca_file: /does/not/exist}", "ca_file")
	f("splunk", "url: https://splunk:8088\ntoken: \"a\\nb\"", "cannot stand in a header")
	f("webhook", "url: https://x\nsecret: whsec_AAAA", "24 to 64")
	f("webhook", "url: https://x\nsecret: abc", "whsec_")
	f("webhook", "url: https://x", "secret: is missing")
	f("file", "", "path: is missing")
	f("file", "path: /dev/null/x.ndjson", "not a directory")
}

// rejectedIndexes are the records that Consume gave up, in order.
func rejectedIndexes(err error) []uint32 {
	var r *journal.Rejected
	if !errors.As(err, &r) {
		return nil
	}
	var out []uint32
	for _, it := range r.Items {
		out = append(out, it.Index)
	}
	slices.Sort(out)
	return out
}

// TestForwarderKeepsOrderWithOneInFlight follows a journal into a receiver that
// fails now and then, confirms late and takes part of a write: with in_flight 1
// events come in the order of the journal, but for those that come again.
func TestForwarderKeepsOrderWithOneInFlight(t *testing.T) {
	const batches, size = 40, 25
	j, err := journal.OpenDisk(t.Context(), journal.Options{Dir: t.TempDir(), Decode: decodeLines, ReserveBytes: -1, SegmentBytes: 1 << 20, Tick: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for i := range batches {
		if _, err := j.Append(t.Context(), lines(t, i, size)); err != nil {
			t.Fatal(err)
		}
	}
	var order []schemas.ID
	seen := map[schemas.ID]bool{}
	s := &fakeSink{}
	s.write = func(n int, evs []schemas.Event) (Receipt, error) {
		if n%4 == 1 {
			return Receipt{Events: len(evs)}, errors.New("away")
		}
		k := 1 + n%7
		k = min(k, len(evs))
		for i := range evs[:k] {
			if !seen[evs[i].ID] {
				seen[evs[i].ID] = true
				order = append(order, evs[i].ID)
			}
		}
		return Receipt{Events: k, Confirm: func(context.Context) error {
			if n%11 == 3 {
				return errors.New("not indexed")
			}
			return nil
		}}, nil
	}
	f := newTestForwarder(t, s, func(o *Options) { o.Common.InFlight = 1 })
	cur, err := j.Open(t.Context(), "soc", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	o := f.FollowOptions()
	o.Rows = 60
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- journal.Follow(ctx, cur, f, o) }()
	await(t, func() bool { return settled(f) == batches*size })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for i, id := range order {
		if want := testID(uint64(i/size), i%size); id != want {
			t.Fatalf("event %d is %v, want %v", i, id, want)
		}
	}
	if len(order) != batches*size {
		t.Errorf("%d events arrived", len(order))
	}
}
