package schemas_test

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/agentrail/agentrail/schemas"
	"github.com/google/go-cmp/cmp"
)

// full is an event with every field set.
func full() schemas.Event {
	ev := schemas.Event{
		Time: 1787303702004000000, Received: 1787303702390000001, Duration: 114000000, Offset: 42, Index: 7, Shard: 1, Status: 403,
		Flags: schemas.FlagDuplicateKey | schemas.FlagScrubbed, Class: schemas.ClassActivity,
		Initiator: schemas.InitiatorSchedule, Access: schemas.AccessWrite, Outcome: schemas.OutcomeDenied,
		Denial: schemas.DenialPolicy, Autonomous: schemas.TriYes, Raw: []byte(`{"secret":1}`),
	}
	v := reflect.ValueOf(&ev).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.String {
			f.SetString("value of " + v.Type().Field(i).Name)
		}
	}
	for i := range ev.ID {
		ev.ID[i] = byte(i)
	}
	return ev
}

func TestAppendJSON(t *testing.T) {
	ev := full()
	out := schemas.AppendJSON(nil, &ev)
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := map[string]any{
		"event_id": "000102030405060708090a0b0c0d0e0f", "class": "activity", "time": "2026-08-21T09:15:02.004000000Z",
		"received": "2026-08-21T09:15:02.390000001Z", "initiator": "schedule", "access": "write", "outcome": "denied",
		"denial": "policy", "autonomous": "yes", "status": 403.0, "duration_ns": 114000000.0,
		"flags": []any{"duplicate_key", "scrubbed"}, "shard": 1.0, "offset": 42.0, "index": 7.0, "raw_sha256": strings.Repeat("0", 64),
	}
	for name, field := range map[string]string{
		"tenant": "Tenant", "source": "Source", "kind": "Kind", "action": "Action", "source_action": "SourceAction",
		"outcome_text": "OutcomeText", "reason": "Reason", "actor": "Actor", "actor_email": "ActorEmail", "actor_type": "ActorType",
		"department": "Department", "agent": "Agent", "name": "Name", "owner": "Owner", "subscription": "Subscription", "run": "Run",
		"session": "Session", "trace": "Trace", "span": "Span", "endpoint": "Endpoint", "method": "Method", "tool": "Tool",
		"target": "Target", "ip": "IP", "user_agent": "UserAgent", "source_id": "SourceID",
	} {
		want[name] = "value of " + field
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if bytes.Contains(out, []byte("secret")) {
		t.Error("the raw record is in the output")
	}
	// Every typed field is found under the name that it has in JSON.
	for name, v := range got {
		if name == "flags" {
			continue
		}
		if have, ok := ev.Lookup(name); !ok {
			t.Errorf("Lookup(%q) finds nothing", name)
		} else if s, isText := v.(string); isText && have.Kind == schemas.ValueString && have.Str != s {
			t.Errorf("Lookup(%q) = %q, JSON has %q", name, have.Str, s)
		}
	}
}

func TestAppendJSONOfAnEmptyEvent(t *testing.T) {
	out := schemas.AppendJSON(nil, &schemas.Event{Class: schemas.ClassHealth})
	want := `{"event_id":"00000000000000000000000000000000","class":"health","time":"1970-01-01T00:00:00.000000000Z","received":"1970-01-01T00:00:00.000000000Z","shard":0,"offset":0,"index":0,"raw_sha256":"` + strings.Repeat("0", 64) + `"}`
	if string(out) != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
}

func TestAppendTime(t *testing.T) {
	f := func(ns int64) {
		t.Helper()
		want := time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000000Z")
		if got := string(schemas.AppendTime(nil, ns)); got != want {
			t.Errorf("AppendTime(%d) = %s, want %s", ns, got, want)
		}
	}
	for _, ns := range []int64{0, -1, 1, math.MinInt64, math.MaxInt64, 951782399999999999, 951782400000000000, -2203891200000000000} {
		f(ns)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		f(int64(r.Uint64()))
	}
}

func FuzzAppendEscaped(f *testing.F) {
	for _, s := range []string{"", "plain", "quote \" back \\ slash", "line\nfeed\ttab\x00nul", "\xff\xfe bad", "caf\u00e9 \u2028\u2029 \U0001f600", "12345678\"", "1234567\xc3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := append(schemas.AppendEscaped([]byte{'"'}, s), '"')
		var got string
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if want := strings.ToValidUTF8(string([]rune(s)), "\ufffd"); got != want {
			t.Fatalf("%q reads back as %q, want %q", s, got, want)
		}
		if !utf8.Valid(out) || bytes.ContainsAny(out, "\n\r\u2028\u2029") {
			t.Fatalf("%q is not one clean line", out)
		}
	})
}

func BenchmarkAppendJSON(b *testing.B) {
	ev := full()
	ev.Department, ev.Owner, ev.Name, ev.Subscription, ev.Reason = "", "", "", "", ""
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = schemas.AppendJSON(buf[:0], &ev)
	}
	b.ReportMetric(float64(len(buf)), "B/event")
}
