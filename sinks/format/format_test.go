package format_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// check holds every format to what package format promises.
func check(t *testing.T, ev *schemas.Event) {
	t.Helper()
	for _, name := range format.Names() {
		f, _ := format.Lookup(name)
		out := f([]byte("before"), ev)
		out, ok := bytes.CutPrefix(out, []byte("before"))
		if !ok {
			t.Fatalf("%s: what stood before is gone", name)
		}
		if !utf8.Valid(out) {
			t.Fatalf("%s: not UTF-8: %q", name, out)
		}
		for _, r := range string(out) {
			if misleads(r) && (r != '\t' || name != "leef") {
				t.Fatalf("%s: holds %U: %q", name, r, out)
			}
		}
		if format.Object(name) {
			if !json.Valid(out) {
				t.Fatalf("%s: not JSON: %q", name, out)
			}
		} else if err := checkLine(name, out, ev); err != nil {
			t.Fatalf("%s: %v: %q", name, err, out)
		}
	}
}

// misleads reports what no format may hold.
func misleads(r rune) bool {
	return r < ' ' || r >= 0x7f && r <= 0x9f || r == 0x061c || r == 0xfeff || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x2069
}

func FuzzFormats(f *testing.F) {
	for _, s := range naughty {
		f.Add(s, []byte(s), int64(0), uint32(0))
		f.Add(s, []byte("{\"k\":\n\""+s+"\"}"), int64(-1<<63), uint32(1<<31))
	}
	f.Fuzz(func(t *testing.T, text string, raw []byte, at int64, flags uint32) {
		ev := schemas.Event{
			Class: schemas.ClassActivity, Time: at, Received: at, Duration: at, Flags: schemas.Flags(flags), Raw: raw,
			Tenant: text, Source: text, Kind: text, Actor: text, ActorEmail: text, Agent: text, Action: text, Endpoint: text, Tool: text, Target: text,
			Reason: text, OutcomeText: text, IP: text, UserAgent: text, SourceID: text, Owner: text, Name: text, Method: text, Subscription: text, Session: text, Run: text,
		}
		check(t, &ev)
		ev.Action = "subscription.edit"
		check(t, &ev)
		ev.Class = schemas.ClassAlert
		check(t, &ev)
		ev.Class = schemas.ClassHealth
		check(t, &ev)
	})
}

var naughty = []string{
	"", "plain", "line\nbreak\r\n", "nul\x00byte", "\"},{\"event\":\"forged\"}", `\`, `\\"`, "tab\t", "\x7f\x1b[31m", "\xff\xfe\xc0\xaf",
	"\u202egnirts", "\u2028\u2029\u0085", "\ufeff", "😍", "Ω≈ç√∫", "<script>alert(1)</script>", "%s%n", "${jndi:ldap://x}", "=1+1", "{{7*7}}", "\ud7ff\U0010ffff",
}

func TestNativeKeepsRecords(t *testing.T) {
	f := func(ev schemas.Event, key, want string) {
		t.Helper()
		var got map[string]json.RawMessage
		if err := json.Unmarshal(format.Native(nil, &ev), &got); err != nil {
			t.Fatal(err)
		}
		if string(got[key]) != want {
			t.Errorf("%s is %s, want %s", key, got[key], want)
		}
	}
	f(schemas.Event{Class: schemas.ClassActivity, Raw: []byte(`{"b":1,"a":"ü"}`)}, "raw", `{"b":1,"a":"ü"}`)
	f(schemas.Event{Class: schemas.ClassActivity, Raw: []byte("{\"b\":\n1}")}, "raw", `{"b": 1}`)
	f(schemas.Event{Class: schemas.ClassActivity, Raw: []byte("{\"b\":\t1}")}, "raw", `{"b": 1}`)
	f(schemas.Event{Class: schemas.ClassActivity, Raw: []byte("{\"b\":\"\u202e\"}")}, "raw", `{"b":"\u202e"}`)
	f(schemas.Event{Class: schemas.ClassActivity, Raw: []byte("not\njson")}, "raw", `"not\njson"`)
	f(schemas.Event{Class: schemas.ClassActivity}, "raw", ``)
	f(schemas.Event{Class: schemas.ClassActivity, Flags: schemas.FlagSealed, Raw: []byte(`{}`)}, "raw", ``)
	f(schemas.Event{Class: schemas.ClassAlert, Raw: []byte(`{"id":"a1"}`)}, "alert", `{"id":"a1"}`)
	f(schemas.Event{Class: schemas.ClassActivity, Actor: "x\ny"}, "actor", `"x\ny"`)
}

func TestPlain(t *testing.T) {
	if got := format.Plain("a\nb\x00c\u202ed", 100); got != "a b c d" {
		t.Errorf("got %q", got)
	}
	if got := format.Plain(strings.Repeat("ü", 10), 5); got != "üü" {
		t.Errorf("got %q", got)
	}
}

// BenchmarkFormats is what one event costs in each format.
func BenchmarkFormats(b *testing.B) {
	ev := schemas.Event{
		Class: schemas.ClassActivity, Time: 1764000000123456789, Received: 1764000001123456789, Tenant: "default", Source: "audit", Kind: "api_call", Actor: "u-123",
		ActorEmail: "ann@example.com", ActorType: "USER", Agent: "wf-77", Action: "tool.execute", Access: schemas.AccessWrite, Tool: "jira", Target: "PROJ-1", Status: 200,
		Endpoint: "/rest/api/v1/executeactiontool", Method: "POST", IP: "10.1.2.3", UserAgent: "agent/1.0 (+https://example.com)", Run: "r-1", Session: "s-1",
		Outcome: schemas.OutcomeOK, SourceID: "9z8y7x6w5v", Trace: "5b8efff798038103d269b633813fc60c",
	}
	for _, name := range format.Names() {
		write, _ := format.Lookup(name)
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 0, 8192)
			b.ReportAllocs()
			cpu := cpuTime()
			for b.Loop() {
				buf = write(buf[:0], &ev)
			}
			b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(len(buf)), "bytes/event")
		})
	}
}

// cpuTime is what the process has used, so that a busy machine does not blur
// the figure.
func cpuTime() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
