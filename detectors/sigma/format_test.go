package sigma_test

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/detectors/rules"
	"github.com/agentrail/agentrail/detectors/sigma"
)

const untidy = `# of the team
level: high
title:   'A: b'   # short
detection:
    condition: sel and not ok
    # what it looks for
    sel:
        f|contains:
        - 'a # b'   # the first
        - "c"
    ok: {x: 1,   y: [1, 2]}
logsource: {service: s,   product: p}
own: kept
--- # the second
condition: x
title: filter
`

const tidy = `title: 'A: b' # short
# of the team
logsource: {product: p, service: s}
detection:
  # what it looks for
  sel:
    f|contains:
      - 'a # b' # the first
      - "c"
  ok: {x: 1, y: [1, 2]}
  condition: sel and not ok
level: high
own: kept
---
# the second
title: filter
condition: x
`

func TestFormat(t *testing.T) {
	got, err := sigma.Format("x.yml", []byte(untidy))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"# of the team", "# short", "# what it looks for", "# the first", "# the second"} {
		if strings.Count(string(got), word) != 1 {
			t.Errorf("%q is there %d times", word, strings.Count(string(got), word))
		}
	}
	if diff := cmp.Diff(withoutRemarks(tidy), withoutRemarks(string(got))); diff != "" {
		t.Errorf("formatted (-want +got):\n%s", diff)
	}
	again, err := sigma.Format("x.yml", got)
	if err != nil || !bytes.Equal(again, got) {
		t.Errorf("formatted again: %v\n%s", err, again)
	}
	f := func(doc, want string) {
		t.Helper()
		if _, err := sigma.Format("x.yml", []byte(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", doc, err, want)
		}
	}
	f("title: a\n---\n[1, 2]\n", "x.yml:2: a rule is a map")
	f("a: [\n", "x.yml:1: not YAML")
	f("a: 1\n"+strings.Repeat("#", 5<<20), "bytes")
}

// withoutRemarks leaves out lines that are a comment: where they stand among
// keys that changed their order is not promised.
func withoutRemarks(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// TestFormatKeepsTheShippedRules: the pack is in the form that fmt writes, and
// each rule of it, turned inside out and formatted, loads as the same rule.
func TestFormatKeepsTheShippedRules(t *testing.T) {
	names, err := fs.Glob(rules.Files, "*.yml")
	if err != nil || len(names) == 0 {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(rules.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := sigma.Format(name, data)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %v: agentrail rules fmt detectors/rules changes it", name, err)
		}
		mixed := reversed(string(data))
		again, err := sigma.Format(name, []byte(mixed))
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%s with its keys in reverse order: %v\n%s", name, err, cmp.Diff(string(data), string(again)))
		}
	}
}

// reversed puts the keys of each document at the top in reverse order.
func reversed(text string) string {
	var docs []string
	for doc := range strings.SplitSeq(text, "---\n") {
		var keys []string
		for line := range strings.Lines(doc) {
			if len(keys) > 0 && (line[0] == ' ' || line[0] == '-') {
				keys[len(keys)-1] += line
			} else {
				keys = append(keys, line)
			}
		}
		for i, j := 0, len(keys)-1; i < j; i, j = i+1, j-1 {
			keys[i], keys[j] = keys[j], keys[i]
		}
		docs = append(docs, strings.Join(keys, ""))
	}
	return strings.Join(docs, "---\n")
}

// FuzzFormat: what is formatted stays as it is when it is formatted again, and
// loads as many rules as before.
func FuzzFormat(f *testing.F) {
	f.Add(untidy)
	f.Add(tidy)
	f.Add("a: &x {b: 1}\nc: *x\n")
	f.Add("a: |\n  text\n# c\n---\n# only\n")
	f.Add("? a\n: b # c\n")
	f.Add("? 0\n#")
	f.Fuzz(func(t *testing.T, doc string) {
		got, err := sigma.Format("x.yml", []byte(doc))
		if err != nil {
			return
		}
		again, err := sigma.Format("x.yml", got)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%q became %q, then %q (%v)", doc, got, again, err)
		}
		before, after := load(t, doc, nil), load(t, string(got), nil)
		if len(before.Rules) != len(after.Rules) {
			t.Errorf("%q has %d rules, formatted %q %d", doc, len(before.Rules), got, len(after.Rules))
		}
	})
}
