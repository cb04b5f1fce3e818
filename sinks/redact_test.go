package sinks

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
)

func TestDigestPaths(t *testing.T) {
	d := func(s string) string { return `"` + digestOf([]byte(s)) + `"` }
	f := func(raw, paths, want string) {
		t.Helper()
		var split [][]string
		for p := range strings.FieldsSeq(paths) {
			split = append(split, strings.Split(p, "."))
		}
		if got := string(digestPaths([]byte(raw), split)); got != want {
			t.Errorf("%s without %s:\n got %s\nwant %s", raw, paths, got, want)
		}
	}
	f(`{"a":1}`, "b", `{"a":1}`)
	f(`{"a":1,"b":"x"}`, "b", `{"a":1,"b":`+d(`"x"`)+`}`)
	f(" { \"a\" : { \"B\" : [1, {\"c\":2}] , \"d\": null } } ", "a.b", `{"a":{"B":`+d(`[1, {"c":2}]`)+`,"d":null}}`)
	f(`{"m":[{"text":"one"},{"text":"two","n":1e3}]}`, "m.text", `{"m":[{"text":`+d(`"one"`)+`},{"text":`+d(`"two"`)+`,"n":1e3}]}`)
	f(`{"x":{"p":"a\"}"},"y":{"p":true}}`, "*.p", `{"x":{"p":`+d(`"a\"}"`)+`},"y":{"p":`+d(`true`)+`}}`)
	f(`{"a":1,"\u0061":2}`, "a", `{"a":`+d("1")+`,"\u0061":`+d("2")+`}`)
	f(`[]`, "a", `[]`)
	f(`{}`, "a", `{}`)
	f(`"text"`, "a", `"text"`)
	f(`12`, "a", `12`)
	f(`{"a":`, "a", ``)
	f("{\"a\":\"\xff\"}", "a", ``)
	f(strings.Repeat(`[`, 200)+strings.Repeat(`]`, 200), "a", ``)
}

func FuzzDigestPaths(f *testing.F) {
	f.Add(`{"a":{"b":[1,"x\\",{"c":null}]},"d":-1.5e9}`, "a.b")
	f.Add("[\n1 , {\"a\":\t2}]", "a")
	f.Add(`{"prompt":"secret","prompt":"secret2"}`, "prompt")
	f.Fuzz(func(t *testing.T, raw, path string) {
		out := digestPaths([]byte(raw), [][]string{strings.Split(path, "."), {"prompt"}})
		if out == nil {
			return
		}
		if !json.Valid(out) {
			t.Fatalf("%q became %q", raw, out)
		}
		same := digestPaths([]byte(raw), [][]string{{"no such key, ever"}})
		var a, b any
		if json.Unmarshal([]byte(raw), &a) == nil && json.Unmarshal(same, &b) == nil && !strings.Contains(raw, "no such") {
			if diff := cmp.Diff(a, b); diff != "" {
				t.Fatalf("what is not redacted changed: %s", diff)
			}
		}
	})
}

func TestRedactor(t *testing.T) {
	record := []byte(`{"prompt":"buy low","n":1}`)
	f := func(content bool, list []string, ev schemas.Event, want string) {
		t.Helper()
		r, err := newRedactor(content, list)
		if err != nil {
			t.Fatal(err)
		}
		r.apply(&ev)
		if got := ev.ActorEmail + " " + string(ev.Raw); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	mail := digestOf([]byte("a@b.c"))
	activity := schemas.Event{Class: schemas.ClassActivity, ActorEmail: "a@b.c", Raw: record}
	sealed := activity
	sealed.Flags = schemas.FlagSealed
	alert := schemas.Event{Class: schemas.ClassAlert, Kind: "alert", Raw: []byte(`{"id":"a1"}`)}
	letter := schemas.Event{Class: schemas.ClassHealth, Kind: "dead_letter", Raw: []byte(`{"bytes":"c2VjcmV0"}`)}
	f(false, nil, activity, "a@b.c ")
	f(true, nil, activity, `a@b.c {"prompt":"buy low","n":1}`)
	f(true, []string{"prompt", "actor_email"}, activity, mail+` {"prompt":"`+digestOf([]byte(`"buy low"`))+`","n":1}`)
	f(true, nil, sealed, "a@b.c ")
	f(false, nil, alert, ` {"id":"a1"}`)
	f(false, nil, letter, ` {"bytes":"`+digestOf([]byte(`"c2VjcmV0"`))+`"}`)
	for _, bad := range []string{"tenant", "status", "a..b", ""} {
		if _, err := newRedactor(true, []string{bad}); err == nil {
			t.Errorf("redact %q is allowed", bad)
		}
	}
}
