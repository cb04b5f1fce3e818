package sinks

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

func TestIntakesDeliver(t *testing.T) {
	eachIntake(t, func(t *testing.T, rig func(rigOptions) *intakeRig) {
		f := func(o rigOptions, fields string) {
			t.Helper()
			r := rig(o)
			_, fw := r.open(t, nil, fields, nil)
			b := testBatch(1, 3000)
			if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
				t.Fatal(err)
			}
			got := r.ids(t)
			sameIDs(t, wantIDs(b), got)
			once(t, got)
			if l := fw.Ledger(); l.Accepted != 3000 || l.Indexed != 0 || l.Dead != 0 || l.Retries != 0 {
				t.Errorf("%s: ledger %+v", fields, l)
			}
			if err := fw.Probe(t.Context()); err != nil {
				t.Errorf("%s: probe: %v", fields, err)
			}
		}
		f(rigOptions{}, "")
		f(rigOptions{}, "gzip: true")
		f(rigOptions{}, "gzip: false")
		f(rigOptions{}, "batch: {max_bytes: 4KiB}")
		f(rigOptions{}, "in_flight: 1\nbatch: {max_bytes: 1MiB, max_events: 20000}")
		f(rigOptions{narrow: 20_000}, "") // 413, or what this receiver says instead
	})
}

// TestIntakesOutlastFaults lets most requests fail, each in another way.
// Nothing may be lost and nothing is a dead letter.
func TestIntakesOutlastFaults(t *testing.T) {
	faults := []sinktest.Fault{
		{Status: 500},
		{Status: 502, Body: "<html>bad gateway</html>"},
		{Status: 503, Body: `{"error":{"code":503,"status":"UNAVAILABLE","message":"try again"}}`},
		{Status: 504},
		{Status: 429, Header: http.Header{"Retry-After": {"nonsense"}}},
		{Status: 400, Body: "<html>what?</html>"},
		{Status: 401},
		{Status: 403, Body: `{"error":{"code":"OperationFailed"}}`},
		{Status: 404, Body: `{"error":{"code":"NotFound","message":"stream not found"}}`},
		{Status: 408},
		{Cut: true},
		{Swallow: true},
		{Garble: true},
		{Silence: true},
		{Drip: 5 * time.Millisecond},
		{Status: 200, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Body: "<html>welcome</html>"},
		{Status: 301, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}},
	}
	eachIntake(t, func(t *testing.T, rig func(rigOptions) *intakeRig) {
		r := rig(rigOptions{})
		faulty := &sinktest.Faulty{Next: r.server, Script: func(n int, _ *http.Request) sinktest.Fault {
			if n%2 == 0 {
				return sinktest.Fault{}
			}
			return faults[n/2%len(faults)]
		}}
		_, fw := r.open(t, faulty, "timeout: 1s\nbatch: {max_events: 250}", nil)
		var wg sync.WaitGroup
		var batches []*schemas.Batch
		for i := range 4 {
			b := testBatch(uint64(i), 2000)
			batches = append(batches, b)
			wg.Go(func() {
				if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		sameIDs(t, wantIDs(batches...), r.ids(t))
		if l := fw.Ledger(); l.Accepted != 8000 || l.Dead != 0 || l.Retries == 0 {
			t.Errorf("ledger: %+v", l)
		}
	})
}

// TestIntakesHoldOnAuth waits for a person when the receiver does not let us in,
// says so once, with what to do, and goes on when it does.
func TestIntakesHoldOnAuth(t *testing.T) {
	hints := map[string]string{
		"sentinel": `"Monitoring Metrics Publisher"`, "secops": "chronicle.logs.import", "datadog": "check api_key", "sumo": "url_file",
	}
	eachIntake(t, func(t *testing.T, rig func(rigOptions) *intakeRig) {
		r := rig(rigOptions{allow: func(n int) bool { return n >= 3 }})
		var said []string
		_, fw := r.open(t, nil, "in_flight: 1", func(_ context.Context, h schemas.Health) error {
			said = append(said, h.Kind+" "+h.Reason)
			return nil
		})
		b := testBatch(1, 10)
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		sameIDs(t, wantIDs(b), r.ids(t))
		if len(said) != 2 || !strings.HasPrefix(said[1], "sink.recovered ") || !strings.HasPrefix(said[0], "sink.auth ") || !strings.Contains(said[0], hints[r.kind]) {
			t.Errorf("said %q", said)
		}
		if strings.Contains(strings.Join(said, ""), sumoPath) || strings.Contains(strings.Join(said, ""), "k3y") {
			t.Errorf("the secret is in %q", said)
		}
	})
}

// TestIntakesRenewTokens goes on without a retry when the receiver knows a token
// no more in the middle of a stream.
func TestIntakesRenewTokens(t *testing.T) {
	eachIntake(t, func(t *testing.T, rig func(rigOptions) *intakeRig) {
		r := rig(rigOptions{})
		if r.tokens == nil {
			return
		}
		faulty := &sinktest.Faulty{Next: r.server, Script: func(n int, _ *http.Request) sinktest.Fault {
			if n%5 == 4 {
				r.tokens.Revoke()
			}
			return sinktest.Fault{}
		}}
		_, fw := r.open(t, faulty, "in_flight: 1\nbatch: {max_events: 100}", nil)
		b := testBatch(1, 2000)
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		got := r.ids(t)
		sameIDs(t, wantIDs(b), got)
		once(t, got)
		if l := fw.Ledger(); l.Retries != 0 || r.tokens.Asked() < 4 {
			t.Errorf("%d tokens, ledger %+v", r.tokens.Asked(), l)
		}
	})
}

// TestIntakesWrongSecret is told by the issuer of tokens, not by the receiver.
func TestIntakesWrongSecret(t *testing.T) {
	eachIntake(t, func(t *testing.T, rig func(rigOptions) *intakeRig) {
		r := rig(rigOptions{})
		if r.tokens == nil {
			return
		}
		r.tokens.Check = func(*http.Request) string { return "AADSTS7000215: Invalid client secret provided." }
		s, fw := r.open(t, nil, "", nil)
		_, err := s.Write(t.Context(), testBatch(1, 1).Events)
		if we := asWriteError(err); we.Kind != KindAuth || we.Code != "token_http_401" || !strings.Contains(we.Error(), "Invalid client secret") {
			t.Errorf("got %v", err)
		}
		r.tokens.Fail = func(int) (int, string) { return http.StatusServiceUnavailable, "9999999999999" }
		_, err = s.Write(t.Context(), testBatch(1, 1).Events)
		if we := asWriteError(err); we.Kind != KindRetry || we.Code != "token_http_503" || we.RetryAfter != maxRetryAfter {
			t.Errorf("got %v after %v", err, we.RetryAfter)
		}
		if fw.Probe(t.Context()) == nil {
			t.Error("a probe without a token is well")
		}
		if r.shelf.Requests() != 0 {
			t.Error("events were sent without a token")
		}
	})
}

// TestIntakesPoison parks one event in 10,000; what spoke of the data came from
// the receiver itself.
func TestIntakesPoison(t *testing.T) {
	eachIntake(t, func(t *testing.T, rig func(rigOptions) *intakeRig) {
		bad := testID(1, 7777).String()
		r := rig(rigOptions{poison: func(doc []byte) bool { return strings.Contains(string(doc), bad) }})
		if !r.blames {
			return
		}
		_, fw := r.open(t, nil, "", nil)
		b := testBatch(1, 10_000)
		want := wantIDs(b)
		delete(want, testID(1, 7777))
		err := fw.Consume(t.Context(), []*schemas.Batch{b})
		if got := rejectedIndexes(err); !cmp.Equal(got, []uint32{7777}) {
			t.Errorf("rejected %v, %v", got, err)
		}
		got := r.ids(t)
		sameIDs(t, want, got)
		once(t, got)
	})
}

// TestIntakesHostileEvents sends hostile text in every field, and an event of
// 1 MB: where the receiver would cut that without a word, it is a dead letter.
func TestIntakesHostileEvents(t *testing.T) {
	eachIntake(t, func(t *testing.T, rig func(rigOptions) *intakeRig) {
		r := rig(rigOptions{narrow: 4 << 20})
		_, fw := r.open(t, nil, "content: true\nbatch: {max_bytes: 4MiB}", nil)
		b := hostileBatch()
		naughty := len(b.Events)
		for i, size := range []int{1 << 20, r.largest - 1000, r.largest + 1} {
			b.Events = append(b.Events, schemas.Event{ID: testID(99, i), Class: schemas.ClassActivity, Target: strings.Repeat("x", max(0, size))})
		}
		want := wantIDs(b)
		var dead []uint32
		if r.largest > 0 {
			dead = []uint32{uint32(naughty), uint32(naughty + 2)}
			delete(want, testID(99, 0))
			delete(want, testID(99, 2))
		}
		err := fw.Consume(t.Context(), []*schemas.Batch{b})
		if got := rejectedIndexes(err); !cmp.Equal(got, dead) {
			t.Errorf("rejected %v, %v", got, err)
		}
		sameIDs(t, want, r.ids(t))
		for i := range b.Events[:naughty] {
			doc := r.shelf.Document(b.Events[i].ID.String())
			if got, want := actorOf(t, doc), strings.ToValidUTF8(b.Events[i].Actor, "\ufffd\ufffd"); got != want {
				t.Errorf("actor %q arrived as %q", want, got)
			}
			if strings.ContainsAny(string(doc), "\n\x00\u202e\u2028") {
				t.Errorf("the document of %v misleads: %q", b.Events[i].ID, doc)
			}
		}
	})
}

// actorOf reads the actor from any of the documents.
func actorOf(t *testing.T, doc []byte) string {
	t.Helper()
	var d struct {
		Actor     string `json:"actor"`
		Agentrail struct {
			Actor string `json:"actor"`
		} `json:"agentrail"`
		Principal struct {
			User struct {
				UserID string `json:"userid"`
			} `json:"user"`
		} `json:"principal"`
	}
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatalf("%v in %.200q", err, doc)
	}
	return d.Actor + d.Agentrail.Actor + d.Principal.User.UserID
}

// TestIntakesUnreachable waits for a receiver that is not known to DNS or shows
// a certificate that nobody trusts, and sends it nothing.
func TestIntakesUnreachable(t *testing.T) {
	eachIntake(t, func(t *testing.T, rig func(rigOptions) *intakeRig) {
		r := rig(rigOptions{})
		var reached atomic.Int32
		untrusted := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
		untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
		untrusted.StartTLS()
		defer untrusted.Close()
		for _, url := range []string{untrusted.URL, "https://intake.invalid"} {
			s, _ := openTest(t, r.kind, r.fields(url), nil)
			_, err := s.Write(t.Context(), testBatch(1, 1).Events)
			if we := asWriteError(err); we.Kind != KindRetry || we.Code != "network" && we.Code != "timeout" || strings.Contains(we.Error(), sumoPath) {
				t.Errorf("%s: got %s %v", url, we.Code, err)
			}
		}
		if reached.Load() != 0 {
			t.Error("the secret went to a stranger")
		}
	})
}

// TestIntakesAnswers: what a status means is the same for all, but for what the
// receivers document.
func TestIntakesAnswers(t *testing.T) {
	eachIntake(t, func(t *testing.T, rig func(rigOptions) *intakeRig) {
		r := rig(rigOptions{})
		var fault atomic.Pointer[sinktest.Fault]
		faulty := &sinktest.Faulty{Next: r.server, Script: func(int, *http.Request) sinktest.Fault { return *fault.Load() }}
		s, _ := r.open(t, faulty, "", nil)
		f := func(fl sinktest.Fault, want Kind, code string) *WriteError {
			t.Helper()
			fault.Store(&fl)
			receipt, err := s.Write(t.Context(), testBatch(1, 2).Events)
			we := asWriteError(err)
			if err == nil || we.Kind != want || we.Code != code || receipt.Events != 2 {
				t.Errorf("%d %s: got %v %s %v for %d events", fl.Status, fl.Body, we.Kind, we.Code, err, receipt.Events)
			}
			if err != nil && (strings.ContainsAny(err.Error(), "\n\u202e") || len(err.Error()) > 600) {
				t.Errorf("message is %q", err)
			}
			return we
		}
		f(sinktest.Fault{Status: 413}, KindTooLarge, "http_413")
		f(sinktest.Fault{Status: 400, Body: "<html>"}, KindAuth, "http_400")
		f(sinktest.Fault{Status: 401}, KindAuth, "http_401")
		f(sinktest.Fault{Status: 405}, KindAuth, "http_405")
		f(sinktest.Fault{Status: 302}, KindAuth, "http_302")
		f(sinktest.Fault{Status: 500, Body: `{"error":{"code":"a\n\u202e","message":"` + strings.Repeat("x", 10_000) + `","status":"S"},"errors":[{"title":"a\n\u202e"}]}`}, KindRetry, "http_500")
		f(sinktest.Fault{Status: 203, Body: "{}"}, KindRetry, "bad_answer")
		f(sinktest.Fault{Status: 200, Body: "<html>hello</html>"}, KindRetry, "bad_answer")
		if we := f(sinktest.Fault{Status: 429, Header: http.Header{"Retry-After": {"99999999999999999999"}}}, KindRetry, "http_429"); we.RetryAfter != maxRetryAfter {
			t.Errorf("waits %v", we.RetryAfter)
		}
		if we := f(sinktest.Fault{Status: 503, Header: http.Header{"Retry-After": {"7"}}}, KindRetry, "http_503"); we.RetryAfter != 7*time.Second {
			t.Errorf("waits %v", we.RetryAfter)
		}
		f(sinktest.Fault{Cut: true}, KindRetry, "network")
	})
}

// TestIntakesTimeOut gives up on a receiver that reads and never answers.
func TestIntakesTimeOut(t *testing.T) {
	eachIntake(t, func(t *testing.T, rig func(rigOptions) *intakeRig) {
		r := rig(rigOptions{})
		silent := &sinktest.Faulty{Next: r.server, Script: func(int, *http.Request) sinktest.Fault { return sinktest.Fault{Silence: true} }}
		s, _ := r.open(t, silent, "timeout: 500ms", nil)
		if _, err := s.Write(t.Context(), testBatch(1, 1).Events); asWriteError(err).Kind != KindRetry || asWriteError(err).Code != "timeout" {
			t.Errorf("got %s %v", asWriteError(err).Code, err)
		}
	})
}

// TestIntakesCancelled returns when the program stops, whoever hangs.
func TestIntakesCancelled(t *testing.T) {
	eachIntake(t, func(t *testing.T, rig func(rigOptions) *intakeRig) {
		r := rig(rigOptions{})
		silent := &sinktest.Faulty{Next: r.server, Script: func(int, *http.Request) sinktest.Fault { return sinktest.Fault{Silence: true} }}
		s, _ := r.open(t, silent, "", nil)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			await(t, func() bool { return silent.Requests() > 0 })
			cancel()
		}()
		if _, err := s.Write(ctx, testBatch(1, 1).Events); asWriteError(err).Code != "cancelled" {
			t.Errorf("got %v", err)
		}
	})
}

func TestWindows(t *testing.T) {
	eachIntake(t, func(t *testing.T, rig func(rigOptions) *intakeRig) {
		r := rig(rigOptions{})
		s, _ := r.open(t, nil, "", nil)
		want := map[string]time.Duration{"sentinel": 48 * time.Hour, "datadog": 18 * time.Hour, "sumo": 24 * time.Hour}[r.kind]
		w, ok := s.(Windowed)
		if ok != (want > 0) {
			t.Fatalf("%s: has a window: %v", r.kind, ok)
		}
		if ok {
			if past, what := w.Window(); past != want || what == "" {
				t.Errorf("%s: %v, %q", r.kind, past, what)
			}
			s, _ = r.open(t, nil, "past_window: 90h", nil)
			if past, _ := s.(Windowed).Window(); past != 90*time.Hour {
				t.Errorf("%s: %v, not what the config says", r.kind, past)
			}
		}
	})
}
