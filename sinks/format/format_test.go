package format_test

import (
	"bytes"
	"encoding/json"
	"strings"
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
		if !json.Valid(out) {
			t.Fatalf("%s: not JSON: %q", name, out)
		}
		if !utf8.Valid(out) {
			t.Fatalf("%s: not UTF-8: %q", name, out)
		}
		for _, r := range string(out) {
			if r < ' ' || r == 0x7f || r == 0x85 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200f {
				t.Fatalf("%s: holds %U: %q", name, r, out)
			}
		}
	}
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
			Reason: text, OutcomeText: text, IP: text, UserAgent: text, SourceID: text, Owner: text, Name: text,
		}
		check(t, &ev)
		ev.Class = schemas.ClassAlert
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

func BenchmarkNative(b *testing.B) {
	ev := schemas.Event{
		Class: schemas.ClassActivity, Time: 1764000000123456789, Tenant: "default", Source: "audit", Kind: "api_call", Actor: "u-123", ActorEmail: "ann@example.com",
		Agent: "wf-77", Action: "tool.execute", Access: schemas.AccessWrite, Tool: "jira", Target: "PROJ-1", Endpoint: "/rest/api/v1/executeactiontool", Run: "r-1", Session: "s-1",
	}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = format.Native(buf[:0], &ev)
	}
	b.SetBytes(int64(len(buf)))
}
