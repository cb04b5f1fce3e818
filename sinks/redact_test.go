package sinks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// digestOf and digestPaths hash without a key.
func digestOf(b []byte) string { return new(redactor).digest(b) }

func digestPaths(raw []byte, paths [][]string) []byte {
	var rules []pathRule
	for _, p := range paths {
		rules = append(rules, pathRule{p, hash})
	}
	return new(redactor).rewrite(raw, rules)
}

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

// hashed are the fields in the short form.
func hashed(fields ...string) (out []Redaction) {
	for _, f := range fields {
		out = append(out, Redaction{f, "hash"})
	}
	return out
}

func TestRedactor(t *testing.T) {
	record := []byte(`{"prompt":"buy low","n":1}`)
	f := func(content bool, list []string, ev schemas.Event, want string) {
		t.Helper()
		r, err := newRedactor(Common{Content: content, Redact: hashed(list...)})
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
	f(false, []string{"reason", "bytes.x"}, letter, ` {"bytes":"`+digestOf([]byte(`"c2VjcmV0"`))+`"}`)
	f(false, nil, letter, ` {"bytes":"`+digestOf([]byte(`"c2VjcmV0"`))+`"}`)
	for _, bad := range []string{"tenant", "status", "a..b", ""} {
		if _, err := newRedactor(Common{Content: true, Redact: hashed(bad)}); err == nil {
			t.Errorf("redact %q is allowed", bad)
		}
	}
}

// parseRedact reads the settings as a config file has them.
func parseRedact(t *testing.T, fields string) (*redactor, error) {
	t.Helper()
	c, err := plug.NewConfig("file", "x", fields)
	if err != nil {
		t.Fatal(err)
	}
	conf := fileConfig{Common: DefaultCommon()}
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	return newRedactor(conf.Common)
}

func TestRedactActions(t *testing.T) {
	const record = `{"who":{"email":"dana@example.com","name":"Dana","id":7},"text":["a",{"email":"x"},["b"]],"n":1}`
	const d = `"` + "sha256:0" + `"`
	f := func(list, want string) {
		t.Helper()
		r, err := parseRedact(t, "content: true\nredact: "+list)
		if err != nil {
			t.Errorf("%s: %v", list, err)
			return
		}
		ev := schemas.Event{Class: schemas.ClassActivity, Raw: []byte(record)}
		r.apply(&ev)
		got := sums.ReplaceAllString(string(ev.Raw), "sha256:0")
		if want = strings.ReplaceAll(want, "#", d); got != want || !json.Valid(ev.Raw) {
			t.Errorf("%s:\n got %s\nwant %s", list, got, want)
		}
	}
	f(`[who.email]`, `{"who":{"email":#,"name":"Dana","id":7},"text":["a",{"email":"x"},["b"]],"n":1}`)
	f(`[{field: who.email, action: mask}]`, `{"who":{"email":"***","name":"Dana","id":7},"text":["a",{"email":"x"},["b"]],"n":1}`)
	f(`[{field: who.email, action: drop}]`, `{"who":{"name":"Dana","id":7},"text":["a",{"email":"x"},["b"]],"n":1}`)
	f(`[{field: who, action: drop}, {field: n, action: drop}]`, `{"text":["a",{"email":"x"},["b"]]}`)
	f(`[{field: who}, {field: who.ID, action: keep}]`, `{"who":{"email":#,"name":#,"id":7},"text":["a",{"email":"x"},["b"]],"n":1}`)
	f(`[{field: who, action: drop}, {field: who.id, action: keep}]`, `{"who":{"id":7},"text":["a",{"email":"x"},["b"]],"n":1}`)
	f(`[{field: "*", action: mask}, {field: n, action: keep}]`, `{"who":"***","text":"***","n":1}`)
	f(`[{field: text, action: mask}, {field: text.email, action: keep}]`, `{"who":{"email":"dana@example.com","name":"Dana","id":7},"text":["***",{"email":"x"},["***"]],"n":1}`)
	f(`[{field: text, action: drop}, {field: text.email, action: keep}]`, `{"who":{"email":"dana@example.com","name":"Dana","id":7},"text":[{"email":"x"},[]],"n":1}`)
	f(`[{field: "*.email", action: mask}, {field: who.email, action: hash}]`, `{"who":{"email":#,"name":"Dana","id":7},"text":["a",{"email":"***"},["b"]],"n":1}`)
	f(`[{field: "*", action: drop}]`, `{}`)
	f(`[{field: who.email, action: keep}]`, record)
}

var sums = regexp.MustCompile("sha256:[0-9a-f]{64}")

func TestRedactTypedFields(t *testing.T) {
	key := secretFile(t, "0123456789abcdef0123")
	r, err := parseRedact(t, "redact_key_file: "+key+"\nredact: [actor_email, {field: tool, action: mask}, {field: agent, action: drop}, {field: name, action: keep}]")
	if err != nil {
		t.Fatal(err)
	}
	ev := schemas.Event{Class: schemas.ClassActivity, ActorEmail: "dana@example.com", Tool: "mail", Agent: "a1", Name: "Digest", Raw: []byte(`{"prompt":"x"}`)}
	r.apply(&ev)
	h := hmac.New(sha256.New, []byte("0123456789abcdef0123"))
	h.Write([]byte("dana@example.com"))
	if want := "hmac-sha256:" + hex.EncodeToString(h.Sum(nil)); ev.ActorEmail != want || ev.Tool != "***" || ev.Agent != "" || ev.Name != "Digest" || ev.Raw != nil {
		t.Errorf("%+v", ev)
	}
}

func TestRedactFaults(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		if _, err := parseRedact(t, fields); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", fields, err)
		}
	}
	f("redact: [{field: agent, action: burn}]", `action "burn" of agent is unknown`)
	f("redact: [{feild: agent}]", `unknown key "feild"`)
	f("redact: [tenant]", "tenant cannot be redacted")
	f("redact: [status]", "status is not text")
	f("redact: [a..b]", "empty part")
	f("redact: [agent, {field: Agent, action: drop}]", "stands in the list twice")
	f("redact: [agent]\nredact_key_file: "+secretFile(t, "short"), "has 5 bytes")
	f("redact_key_file: "+secretFile(t, "0123456789abcdef"), "nothing is hashed")
}

// FuzzRewrite: whatever the record and the rules, what comes out is JSON or
// nothing, and a value that is masked by its name is not in it.
func FuzzRewrite(f *testing.F) {
	f.Add(`{"a":{"b":["zebra-crossing",{"c":null}]},"secret":"zebra-crossing"}`, "a.b", uint8(drop), "a", uint8(keep))
	f.Add(`[{"secret" : "zebra-crossing"} , 2]`, "*", uint8(hash), "x.secret", uint8(keep))
	f.Fuzz(func(t *testing.T, raw, path1 string, do1 uint8, path2 string, do2 uint8) {
		rules := []pathRule{
			{strings.Split(strings.ToLower(path1), "."), treatment(do1%4) + keep},
			{strings.Split(strings.ToLower(path2), "."), treatment(do2%4) + keep},
			{[]string{"secret"}, mask},
		}
		out := new(redactor).rewrite([]byte(raw), rules)
		if out != nil && !json.Valid(out) {
			t.Fatalf("%q became %q", raw, out)
		}
		var doc struct{ Secret string }
		if len(rules[0].path) > 1 && len(rules[1].path) > 1 && out != nil && json.Unmarshal(out, &doc) == nil && doc.Secret != "" && doc.Secret != masked {
			t.Fatalf("%q became %q", raw, out)
		}
	})
}
