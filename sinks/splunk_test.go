package sinks

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openTest opens a sink of that kind and its forwarder.
func openTest(t testing.TB, kind, fields string, health HealthFunc) (Sink, *Forwarder) {
	t.Helper()
	c, err := plug.NewConfig(kind, "test", fields)
	if err != nil {
		t.Fatal(err)
	}
	s, common, err := Open(t.Context(), c, Deps{Log: slog.New(slog.DiscardHandler), Health: health})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, newTestForwarder(t, s, func(o *Options) { o.Common, o.Health = common, health })
}

func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL
}

// hecIDs are the event ids that a collector has indexed.
func hecIDs(t *testing.T, h *sinktest.HEC) map[schemas.ID]int {
	t.Helper()
	out := map[schemas.ID]int{}
	for text, n := range h.Events() {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != 16 {
			t.Fatalf("event id %q", text)
		}
		out[schemas.ID(b)] = n
	}
	for _, v := range h.Violations() {
		t.Errorf("not as documented: %s", v)
	}
	return out
}

func once(t *testing.T, got map[schemas.ID]int) {
	t.Helper()
	for id, n := range got {
		if n != 1 {
			t.Fatalf("%v arrived %d times", id, n)
		}
	}
}

// hecFields leave a busy machine time; where events are lost on the way the
// tests ask for less.
const (
	hecFields    = "token: secret\nack_poll: 10ms\n"
	hecImpatient = "token: secret\nack_poll: 10ms\nack_timeout: 1s\ntimeout: 1s\n"
)

func TestSplunkDelivers(t *testing.T) {
	f := func(hec *sinktest.HEC, fields string, indexed bool) {
		t.Helper()
		hec.Token = "secret"
		_, fw := openTest(t, "splunk", hecFields+"url: "+serve(t, hec)+"\n"+fields, nil)
		batches := []*schemas.Batch{testBatch(1, 3000), testBatch(2, 1), testBatch(3, 2000)}
		if err := fw.Consume(t.Context(), batches); err != nil {
			t.Fatal(err)
		}
		got := hecIDs(t, hec)
		sameIDs(t, wantIDs(batches...), got)
		once(t, got)
		l := fw.Ledger()
		if want := l.Accepted; l.Accepted != 5001 || indexed && l.Indexed != want || !indexed && l.Indexed != 0 {
			t.Errorf("%s: ledger: %+v", fields, l)
		}
	}
	f(&sinktest.HEC{}, "ack: false", false)
	f(&sinktest.HEC{}, "ack: false\ngzip: false", false)
	f(&sinktest.HEC{Ack: true}, "", true)
	f(&sinktest.HEC{Ack: true, AckDelay: 50 * time.Millisecond}, "gzip: false", true)
	f(&sinktest.HEC{Ack: true}, "batch: {max_events: 100}", true)
	f(&sinktest.HEC{Ack: true, MaxBytes: 30_000}, "batch: {max_bytes: 30000}", true)
	f(&sinktest.HEC{Ack: true, MaxBytes: 20_000}, "", true) // the receiver's limit is lower than ours
	f(&sinktest.HEC{Indexes: []string{"agents"}}, "index: agents", false)
}

func TestSplunkBehindLoadBalancer(t *testing.T) {
	f := func(hec *sinktest.HEC, dup bool) {
		t.Helper()
		hec.Token, hec.Ack, hec.Indexers = "secret", true, 3
		base := hecFields
		if dup {
			base = hecImpatient
		}
		_, fw := openTest(t, "splunk", base+"url: "+serve(t, hec)+"\nbatch: {max_events: 50}", nil)
		var wg sync.WaitGroup
		var batches []*schemas.Batch
		for i := range 4 {
			b := testBatch(uint64(i), 250)
			batches = append(batches, b)
			wg.Go(func() {
				if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got := hecIDs(t, hec)
		sameIDs(t, wantIDs(batches...), got)
		if !dup {
			once(t, got)
		}
	}
	f(&sinktest.HEC{AckDelay: 5 * time.Millisecond}, false)
	f(&sinktest.HEC{AckDelay: 5 * time.Millisecond, Lose: func(n int) bool { return n%7 == 0 }}, true)
	f(&sinktest.HEC{IgnoreCookie: true}, true)
	f(&sinktest.HEC{IgnoreCookie: true, Lose: func(n int) bool { return n%5 == 0 }}, true)
}

// TestSplunkOutlastsFaults lets most requests fail, each in another way. With
// acknowledgement nothing may be lost, whatever the receiver claims.
func TestSplunkOutlastsFaults(t *testing.T) {
	faults := []sinktest.Fault{
		{Status: 500, Body: `{"text":"Internal server error","code":8}`},
		{Status: 503, Body: `{"text":"Server is busy","code":9}`},
		{Status: 502, Body: "<html>bad gateway</html>"},
		{Status: 429, Body: `{"text":"busy","code":26}`, Header: http.Header{"Retry-After": {"nonsense"}}},
		{Cut: true},
		{Swallow: true},
		{Garble: true},
		{Silence: true},
		{Drip: 5 * time.Millisecond},
		{Status: 200, Body: "<html>welcome</html>"},
		{Status: 400, Body: `{"text":"Data channel is missing","code":10}`},
		{Status: 408},
	}
	hec := &sinktest.HEC{Token: "secret", Ack: true, Lose: func(n int) bool { return n%10 == 3 }}
	faulty := &sinktest.Faulty{Next: hec, Script: func(n int, _ *http.Request) sinktest.Fault {
		if n%2 == 0 {
			return sinktest.Fault{}
		}
		return faults[n/2%len(faults)]
	}}
	_, fw := openTest(t, "splunk", hecImpatient+"batch: {max_events: 250}\nurl: "+serve(t, faulty), nil)
	var wg sync.WaitGroup
	var batches []*schemas.Batch
	for i := range 4 {
		b := testBatch(uint64(i), 1000)
		batches = append(batches, b)
		wg.Go(func() {
			if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	sameIDs(t, wantIDs(batches...), hecIDs(t, hec))
	if l := fw.Ledger(); l.Indexed != 4000 || l.Dead != 0 || l.Retries == 0 {
		t.Errorf("ledger: %+v", l)
	}
}

func TestSplunkPoison(t *testing.T) {
	for _, blame := range []bool{true, false} {
		hec := &sinktest.HEC{Token: "secret", Ack: true, Blame: blame, Poison: func(ev []byte) bool { return strings.Contains(string(ev), `"poison"`) }}
		_, fw := openTest(t, "splunk", hecFields+"url: "+serve(t, hec), nil)
		b := testBatch(1, 3000)
		want := wantIDs(b)
		for i := 500; i < 3000; i += 1000 {
			b.Events[i].Tool = "poison"
			delete(want, b.Events[i].ID)
		}
		err := fw.Consume(t.Context(), []*schemas.Batch{b})
		if got := rejectedIndexes(err); !cmp.Equal(got, []uint32{500, 1500, 2500}) {
			t.Errorf("rejected: %v, %v", got, err)
		}
		sameIDs(t, want, hecIDs(t, hec))
	}
}

func TestSplunkAnswers(t *testing.T) {
	f := func(status int, body string, want Kind, code string) {
		t.Helper()
		we := hecFailure(answer{status: status, body: []byte(body)})
		if we.Kind != want || we.Code != code {
			t.Errorf("%d %s: got %v %s, want %v %s", status, body, we.Kind, we.Code, want, code)
		}
	}
	code := func(n int) string { return fmt.Sprintf(`{"text":"x","code":%d}`, n) }
	for _, n := range []int{5, 6, 12, 13, 15} {
		f(400, code(n), KindRefused, fmt.Sprintf("hec_%d", n))
	}
	for _, n := range []int{10, 11, 14} {
		f(400, code(n), KindRetry, fmt.Sprintf("hec_%d", n))
	}
	f(400, code(7), KindAuth, "hec_7")
	f(401, code(2), KindAuth, "hec_2")
	f(401, code(3), KindAuth, "hec_3")
	f(403, code(1), KindAuth, "hec_1")
	f(403, code(4), KindAuth, "hec_4")
	f(500, code(8), KindRetry, "hec_8")
	for _, n := range []int{9, 18, 19, 20, 23} {
		f(503, code(n), KindRetry, fmt.Sprintf("hec_%d", n))
	}
	f(429, code(26), KindRetry, "hec_26")
	f(413, "", KindTooLarge, "http_413")
	f(400, "The plain HTTP request was sent to HTTPS port", KindAuth, "http_400")
	f(404, "", KindAuth, "http_404")
	f(302, "", KindAuth, "http_302")
	f(400, `{"text":"x","code":-99999}`, KindAuth, "hec_0")
	we := hecFailure(answer{status: 403, body: []byte(`{"text":"line\nbreak\u202e` + strings.Repeat("x", 10_000) + `","code":4}`)})
	if s := we.Error(); strings.ContainsAny(s, "\n\u202e") || len(s) > 300 {
		t.Errorf("message is %q", s)
	}
}

// TestSplunkWithoutAck meets a token that does not acknowledge.
func TestSplunkWithoutAck(t *testing.T) {
	var said []string
	health := func(_ context.Context, h schemas.Health) error {
		said = append(said, h.Kind)
		return nil
	}
	hec := &sinktest.HEC{Token: "secret"}
	_, fw := openTest(t, "splunk", hecFields+"url: "+serve(t, hec)+"\nbatch: {max_events: 10}", health)
	b := testBatch(1, 100)
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), hecIDs(t, hec))
	if l := fw.Ledger(); l.Accepted != 100 || l.Indexed != 0 {
		t.Errorf("ledger: %+v", l)
	}
	if diff := cmp.Diff([]string{"sink.ack_disabled"}, said); diff != "" {
		t.Error(diff)
	}
}

// TestSplunkAckTurnedOff learns in the middle that nothing is acknowledged.
func TestSplunkAckTurnedOff(t *testing.T) {
	var said atomic.Int32
	health := func(_ context.Context, h schemas.Health) error { said.Add(1); return nil }
	hec := &sinktest.HEC{Token: "secret", Ack: true}
	mux := http.NewServeMux()
	mux.Handle("/", hec)
	mux.HandleFunc("/services/collector/ack", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"text":"ACK is disabled","code":14}`)
	})
	_, fw := openTest(t, "splunk", hecFields+"url: "+serve(t, mux)+"\nbatch: {max_events: 10}", health)
	b := testBatch(1, 100)
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	got := hecIDs(t, hec)
	sameIDs(t, wantIDs(b), got)
	once(t, got)
	if l := fw.Ledger(); l.Indexed != 0 || said.Load() != 1 {
		t.Errorf("ledger: %+v, said %d times", l, said.Load())
	}
}

func TestSplunkFollowsNoRedirect(t *testing.T) {
	var reached atomic.Int32
	thief := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	s, _ := openTest(t, "splunk", hecFields+"url: "+serve(t, http.RedirectHandler(thief, http.StatusTemporaryRedirect)), nil)
	_, err := s.Write(t.Context(), testBatch(1, 1).Events)
	if we := asWriteError(err); we.Kind != KindAuth || !strings.Contains(we.Error(), "not followed") {
		t.Errorf("got %v", err)
	}
	if reached.Load() != 0 {
		t.Error("the token went elsewhere")
	}
}

func TestSplunkEventOnTheWire(t *testing.T) {
	hec := &sinktest.HEC{Token: "secret"}
	_, fw := openTest(t, "splunk", hecFields+"content: true\nurl: "+serve(t, hec), nil)
	texts := []string{"", "line\nbreak\r\n\x00", "\"},{\"event\":\"forged\"}", `\`, "\xff\xfe", "\u202egnirts\u2028", "😍", "{}{}", strings.Repeat("x", 10_000)}
	b := testBatch(1, 0)
	for i, text := range texts {
		for j, at := range []int64{-1 << 63, 0, 1_764_000_000_000_000_000, 1<<63 - 1} {
			ev := schemas.Event{ID: testID(uint64(i), j), Class: schemas.ClassActivity, Time: at, Received: 1_764_000_000_000_000_000, Raw: []byte(text)}
			for k := range fields {
				if fields[k].str != nil {
					*fields[k].str(&ev) = text
				}
			}
			b.Events = append(b.Events, ev)
		}
	}
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), hecIDs(t, hec))
	for i := range b.Events {
		var doc map[string]any
		if err := json.Unmarshal(hec.Event(b.Events[i].ID.String()), &doc); err != nil {
			t.Fatal(err)
		}
		want := b.Events[i].Actor
		if want == "\xff\xfe" {
			want = "\ufffd\ufffd"
		}
		if got, _ := doc["actor"].(string); got != want {
			t.Errorf("actor %q arrived as %q", want, got)
		}
	}
}

func TestSplunkProbe(t *testing.T) {
	url := serve(t, &sinktest.HEC{Token: "secret"})
	f := func(token string, want bool) {
		t.Helper()
		_, fw := openTest(t, "splunk", "token: "+token+"\nurl: "+url, nil)
		if err := fw.Probe(t.Context()); (err == nil) != want {
			t.Errorf("token %s: got %v", token, err)
		}
	}
	f("secret", true)
	f("wrong", false)
}
