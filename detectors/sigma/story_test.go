package sigma_test

import (
	"encoding/json"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/agentrail/agentrail/detectors/sigma"
	"github.com/agentrail/agentrail/schemas"
)

func TestStoryRecords(t *testing.T) {
	f := func(entry string, want int, fault string) {
		t.Helper()
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(entry), &n); err != nil {
			t.Fatal(err)
		}
		recs, err := sigma.StoryRecords(n.Content[0])
		if err == nil && (fault != "" || len(recs) != want) || err != nil && (fault == "" || !strings.Contains(err.Error(), fault)) {
			t.Errorf("%s: %d records, error %v, want %d, %q", entry, len(recs), err, want, fault)
		}
	}
	f("{a: 1}", 1, "")
	f("{repeat: 3, a: 1}", 1, "")
	f("{repeat: 3, every: 2s, event: {a: 'x{n}', t: 2026-11-25T10:00:00Z, l: ['{n}']}}", 3, "")
	f("{repeat: 0, event: {a: 1}}", 0, "0 is not from 1 to 10000")
	f("{repeat: 1000000, event: {a: 1}}", 0, "not from 1 to 10000")
	f("{repeat: 2, every: soon, event: {a: 1}}", 0, `every "soon"`)
	f("{repeat: many, event: {a: 1}}", 0, "read repeat")
}

// TestEveryValueBelowAPath: a path of the map that ends in .* is every scalar
// below it, in our own events as in foreign records.
func TestEveryValueBelowAPath(t *testing.T) {
	m, err := sigma.ParseMap("m", []byte("version: 1\nfields: {args: [request.parameters.*, params.*]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	set := load(t, ruleOf("  s: {args|contains: secret}\n  n: {args: ['7', 'true', 'a\"b secret']}\n  condition: s and n\n"), m)
	if len(set.Refused) > 0 {
		t.Fatal(set.Refused)
	}
	f := func(doc string, want bool) {
		t.Helper()
		if got := fires(t, set, doc); got != want {
			t.Errorf("record %s: %v, want %v", doc, got, want)
		}
		got := false
		ev := schemas.Event{Raw: []byte(doc)}
		sigma.NewEvaluator(set, sigma.EvalOptions{}).Event(&ev, 0, func(*sigma.Match) { got = true })
		if got != want {
			t.Errorf("event %s: %v, want %v", doc, got, want)
		}
	}
	f(`{"request":{"parameters":{"q":{"value":"my secret"},"n":7}}}`, true)
	f(`{"request":{"parameters":{"list":["my secret",{"deep":true}]}}}`, true)
	f(`{"request":{"parameters":{"q":"a\"b secret"}}}`, true)
	f(`{"params":{"q":"my secret","n":7.0}}`, true)
	f(`{"request":{"parameters":{"secret":7}}}`, false) // a key is no value
	f(`{"request":{"parameters":{"q":"public","n":7}}}`, false)
	f(`{"request":{"parameters":"my secret"}}`, false)
	f(`{"other":{"q":"my secret","n":7}}`, false)
}

// FuzzEveryValueBelowAPath: an event and the same record tell the same.
func FuzzEveryValueBelowAPath(f *testing.F) {
	m, err := sigma.ParseMap("m", []byte("version: 1\nfields: {args: [a.*]}\n"))
	if err != nil {
		f.Fatal(err)
	}
	set := load(f, ruleOf("  s: {args: ['x', '1', 'true']}\n  condition: s\n"), m)
	f.Add(`{"a":{"b":"x"}}`)
	f.Add(`{"a":[1,{"c":true}, null, "\u0078"]}`)
	f.Fuzz(func(t *testing.T, doc string) {
		ev := schemas.Event{Raw: []byte(doc)}
		got := false
		sigma.NewEvaluator(set, sigma.EvalOptions{}).Event(&ev, 0, func(*sigma.Match) { got = true })
		var top map[string]json.RawMessage
		if json.Unmarshal([]byte(doc), &top) != nil || len(top) != 1 || top["a"] == nil || strings.Count(doc, `"a"`) != 1 || top["a"][0] != '{' {
			return
		}
		rec, err := sigma.ParseRecord([]byte(doc))
		if err != nil {
			return
		}
		want := false
		sigma.NewEvaluator(set, sigma.EvalOptions{}).Record(rec, 0, func(*sigma.Match) { want = true })
		if want && !got {
			t.Errorf("%s: the record matches, the event does not", doc)
		}
	})
}
