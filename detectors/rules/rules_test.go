package rules_test

import (
	"bytes"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"go.yaml.in/yaml/v4"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/detectors/rules"
	"github.com/agentrail/agentrail/detectors/sigma"
)

// alertRules loads the pack and returns the rules that raise alerts, by name.
func alertRules(t *testing.T) map[string]*sigma.Rule {
	t.Helper()
	m, err := sigma.ShippedMap()
	if err != nil {
		t.Fatal(err)
	}
	set, err := sigma.Load(rules.Files, "", sigma.Options{Map: m})
	if err != nil || len(set.Refused) > 0 || len(set.Unserved()) > 0 {
		t.Fatalf("error %v, refused %v, unserved %v", err, set.Refused, set.Unserved())
	}
	out := map[string]*sigma.Rule{}
	for _, r := range set.Rules {
		if !r.Silent() {
			out[r.Name] = r
		}
	}
	return out
}

func table(t *testing.T) *rules.Table {
	t.Helper()
	tab, err := rules.ReadTable(rules.Files)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// tagsOf returns the ids of a row as rules spell them in tags.
func tagsOf(r rules.Row) (out []string) {
	for _, id := range r.Techniques {
		out = append(out, "attack.atlas."+strings.ToLower(id))
	}
	for _, id := range r.OWASP {
		out = append(out, "owasp."+strings.ToLower(id))
	}
	return out
}

// TestRowsAreTrue: what a row names exists, and each rule of a row carries one
// of its tags.
func TestRowsAreTrue(t *testing.T) {
	named, tab := alertRules(t), table(t)
	for _, row := range tab.Rows {
		for _, name := range row.Rules {
			r := named[name]
			if r == nil {
				t.Errorf("%s: there is no rule %q that raises alerts", row.Name, name)
			} else if !slices.ContainsFunc(tagsOf(row), func(tag string) bool { return slices.Contains(r.Tags, tag) }) {
				t.Errorf("%s: rule %s has none of the tags %v", row.Name, name, tagsOf(row))
			}
		}
		for _, kind := range row.Detectors {
			if !slices.Contains(detectors.Kinds(), kind) {
				t.Errorf("%s: there is no detector of kind %q", row.Name, kind)
			}
		}
		if row.Seen == "" || len(row.OWASP) == 0 {
			t.Errorf("%s: the row does not say where the abuse shows, or what OWASP calls it", row.Name)
		}
		for _, id := range row.Techniques {
			if tab.Techniques[id] == "" {
				t.Errorf("%s: technique %s has no name", row.Name, id)
			}
		}
	}
}

// known are the techniques of the abuse of agents that audits can see.
const known = `AML.T0034.002 AML.T0051.002 AML.T0053 AML.T0080 AML.T0080.001 AML.T0081 AML.T0082 AML.T0083 AML.T0084 AML.T0084.001
AML.T0084.002 AML.T0084.003 AML.T0085.001 AML.T0086 AML.T0094 AML.T0098 AML.T0099 AML.T0100 AML.T0101 AML.T0103 AML.T0104 AML.T0105
AML.T0108 AML.T0109 AML.T0110 AML.T0112 ASI01 ASI02 ASI03 ASI04 ASI05 ASI06 ASI07 ASI08 ASI09 ASI10`

// TestRowsAreComplete: every known technique is in a row, a rule carries its
// tag, every row has a rule, and every rule is in a row.
func TestRowsAreComplete(t *testing.T) {
	named, tab := alertRules(t), table(t)
	var tags, used []string
	for _, r := range named {
		tags = append(tags, r.Tags...)
	}
	seen := map[string]bool{}
	for _, row := range tab.Rows {
		if len(row.Rules) == 0 {
			t.Errorf("%s: no rule tells it", row.Name)
		}
		used = append(used, row.Rules...)
		for _, id := range slices.Concat(row.Techniques, row.OWASP) {
			seen[id] = true
		}
		for _, tag := range tagsOf(row) {
			if !slices.Contains(tags, tag) {
				t.Errorf("%s: no rule has the tag %s", row.Name, tag)
			}
		}
	}
	for id := range strings.FieldsSeq(known) {
		if !seen[id] {
			t.Errorf("%s is in no row", id)
		}
	}
	for name := range named {
		if !slices.Contains(used, name) {
			t.Errorf("rule %s is in no row", name)
		}
	}
}

var (
	uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	tag  = regexp.MustCompile(`^(attack\.atlas\.aml\.t\d{4}(\.\d{3})?|attack\.t\d{4}(\.\d{3})?|owasp\.(asi|llm)(0\d|10))$`)
)

// TestRulesSayWhatToDo: every rule that raises alerts has an id, a description,
// tags, false positives and a runbook, and a file of tests of its own that has
// both what must fire and what must not.
func TestRulesSayWhatToDo(t *testing.T) {
	for name, r := range alertRules(t) {
		if !uuid.MatchString(r.ID) || r.Description == "" || r.Status == "" || len(r.False) == 0 || len(r.Runbook) < 1 {
			t.Errorf("%s: id %q, description %q, status %q, false positives %q, runbook %q", name, r.ID, r.Description, r.Status, r.False, r.Runbook)
		}
		if strings.TrimSuffix(r.File, ".yml") != name {
			t.Errorf("%s lies in %s", name, r.File)
		}
		for _, s := range r.Tags {
			if !tag.MatchString(s) {
				t.Errorf("%s: tag %q", name, s)
			}
		}
		if !slices.ContainsFunc(r.Tags, func(s string) bool { return strings.HasPrefix(s, "owasp.") }) {
			t.Errorf("%s has no tag of OWASP", name)
		}
		data, err := fs.ReadFile(rules.Files, name+".test.yaml")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var f struct {
			Rule  string `yaml:"rule"`
			Tests []struct {
				Fires bool `yaml:"fires"`
			} `yaml:"tests"`
		}
		if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		fire, not := 0, 0
		for _, c := range f.Tests {
			if c.Fires {
				fire++
			} else {
				not++
			}
		}
		if f.Rule != name || fire == 0 || not == 0 {
			t.Errorf("%s: tests of %q, %d must fire and %d must not", name, f.Rule, fire, not)
		}
	}
}

func TestReadTable(t *testing.T) {
	f := func(doc, want string) {
		t.Helper()
		_, err := rules.ReadTable(fstest.MapFS{rules.RowsFile: {Data: []byte(doc)}})
		if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: error %v, want %q", doc, err, want)
		}
	}
	f("version: 1\nrows: [{row: a, rules: [b]}]\n", "")
	f("version: 2\n", "version is 2")
	f("version: 1\nrow: []\n", "row")
	f("version: 1\nrows: 7\n", "rows.yaml")
	if tab, err := rules.ReadTable(fstest.MapFS{}); err != nil || len(tab.Rows) > 0 {
		t.Errorf("a folder without a table: %v, %v", tab, err)
	}
}
