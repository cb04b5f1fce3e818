package sigma_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/detectors/sigma"
)

const bases = `
title: a
name: a
logsource: {product: p}
detection: {s: {k: a}, condition: s}
---
title: b
name: b
logsource: {product: p}
detection: {s: {k: b}, condition: s}
---
title: c
name: c
logsource: {product: p}
detection: {s: {k: c}, condition: s}
---
title: test
id: test
correlation:
`

// play runs a story through a correlation. A story is words such as "a@30 b@40/u=x,n=5":
// the record's k, its second, and more fields. It returns the seconds at which
// the correlation matched, with a + where it matched again.
func play(t testing.TB, set *sigma.Set, story string) string {
	t.Helper()
	if len(set.Refused) > 0 {
		t.Fatal(set.Refused)
	}
	var got []string
	e := sigma.NewEvaluator(set, sigma.EvalOptions{Lateness: time.Minute})
	for w := range strings.FieldsSeq(story) {
		head, more, _ := strings.Cut(w, "/")
		k, at, _ := strings.Cut(head, "@")
		sec, err := strconv.Atoi(at)
		if err != nil {
			t.Fatal(err)
		}
		doc := fmt.Sprintf(`{"k":%q`, k)
		for f := range strings.SplitSeq(more, ",") {
			if n, v, ok := strings.Cut(f, "="); ok {
				doc += fmt.Sprintf(`,%q:%q`, n, v)
			}
		}
		e.Record(record(t, doc+"}"), int64(sec)*int64(time.Second), func(m *sigma.Match) {
			if m.Rule.ID == "test" {
				s := strconv.Itoa(int(m.Time / int64(time.Second)))
				if m.Again {
					s += "+"
				}
				got = append(got, s)
			}
		})
	}
	return strings.Join(got, " ")
}

func TestCorrelations(t *testing.T) {
	f := func(corr, story, want string) {
		t.Helper()
		set := load(t, bases+"  "+strings.ReplaceAll(corr, "; ", "\n  ")+"\n", nil)
		if got := play(t, set, story); got != want {
			t.Errorf("%s\n on %s\n matched at %q, want %q", corr, story, got, want)
		}
	}
	count := "type: event_count; rules: [a]; timespan: 10s; condition: {gte: 3}"
	f(count, "a@0 a@5 a@10", "10")                                     // the ends of a window belong to it
	f(count, "a@0 a@5 a@11", "")                                       // sliding: no three within ten seconds
	f(count, "a@8 a@11 a@13", "13")                                    // nor is a window bound to full tens
	f(count, "a@0 a@1 a@2 a@3 a@4", "2 3+ 4+")                         // once while it lasts
	f(count, "a@0 a@1 a@2 a@20 a@21 a@22", "2 22")                     // false in between
	f(count, "a@0 a@4 a@8 a@12 a@16 a@20", "8 12+ 16+ 20")             // and once more for each span
	f(count, "b@0 b@1 b@2", "")                                        // only the rule that is named
	f(count, "a@0 a@10 a@5", "10")                                     // out of order, within a window
	f(count, "a@0 a@30 a@5 a@6", "6")                                  // in a window that has passed
	f(count, "a@0 a@1 a@100 a@2", "")                                  // more than a minute late: left out
	f(count+"; group-by: [u]", "a@0/u=x a@1/u=y a@2/u=X a@3/u=x", "3") // by user, whatever the case
	f(count+"; group-by: [u]", "a@0 a@1 a@2", "")                      // without the field: in no group
	f(count+"; group-by: [u, v]", "a@0/u=x,v=1 a@1/u=x,v=2 a@2/u=x,v=1 a@3/u=x,v=1", "3")
	f("type: event_count; rules: [a, b]; timespan: 10s; condition: {gte: 2, lte: 3}", "a@0 b@1 a@2 b@3 b@20 a@21", "1 2+ 21")
	f("type: event_count; rules: [a]; timespan: 1m; condition: {eq: 2}", "a@0 a@1 a@2", "1")
	f("type: event_count; rules: [a]; timespan: 1m; condition: {neq: 1}", "a@0 a@1", "1")
	f("type: event_count; rules: [a]; timespan: 1m; condition: {gt: 1.5}", "a@0 a@1", "1")

	value := "type: value_count; rules: [a]; group-by: [u]; timespan: 10s; condition: {field: f, gte: 2}"
	f(value, "a@0/u=x,f=1 a@1/u=x,f=1 a@2/u=x,f=2", "2")
	f(value, "a@0/u=x,f=1 a@11/u=x,f=2 a@12/u=x,f=2", "")
	f(value, "a@0/u=x,f=1 a@20/u=x,f=2 a@5/u=x,f=3", "5")
	f(value, "a@0/u=x a@1/u=x", "")
	f("type: value_count; rules: [a]; timespan: 10s; condition: {field: [f, g], gte: 2}", "a@0/f=1,g=1 a@1/f=1,g=1 a@2/f=1,g=2", "2")

	f("type: value_sum; rules: [a]; timespan: 10s; condition: {field: n, gt: 100}", "a@0/n=60 a@1/n=40 a@2/n=1 a@20/n=60", "2")
	f("type: value_avg; rules: [a]; timespan: 10s; condition: {field: n, gte: 10}", "a@0/n=1 a@1/n=18 a@2/n=11", "2")
	f("type: value_median; rules: [a]; timespan: 10s; condition: {field: n, gte: 10}", "a@0/n=1 a@1/n=50 a@2/n=9 a@3/n=11", "1 3")
	f("type: value_percentile; rules: [a]; timespan: 10s; condition: {field: n, percentile: 50, gte: 10}", "a@0/n=1 a@1/n=50 a@2/n=20", "2")
	f("type: value_percentile; rules: [a]; timespan: 1m; condition: {field: f, lte: 25}", "a@0/f=x a@1/f=x a@2/f=x a@3/f=rare a@4/f=x", "3")
	f("type: value_sum; rules: [a]; timespan: 10s; condition: {field: n, gt: 1}", "a@0/n=many a@1/n=2", "1")

	f("type: temporal; rules: [a, b]; timespan: 10s", "b@0 a@5", "5")
	f("type: temporal; rules: [a, b]; timespan: 10s", "b@0 a@11 b@12", "12")
	f("type: temporal; rules: [a, b, c]; timespan: 10s; condition: {gte: 2}", "c@0 a@5", "5")
	f("type: temporal_ordered; rules: [a, b]; timespan: 10s", "b@0 a@5 b@6", "6")
	f("type: temporal_ordered; rules: [a, b]; timespan: 10s", "b@0 a@5", "")
	f("type: temporal_ordered; rules: [a, b]; timespan: 10s", "b@6 a@5", "6") // by event time, not by arrival
	f("type: temporal; rules: [a, b]; timespan: 10s; condition: a and not b", "b@0 a@5 a@11", "11")
	f("type: temporal; timespan: 10s; condition: (a or b) and c", "b@0 c@5", "5")
	f("type: temporal; rules: [a, b, c]; timespan: 10s; condition: 2 of them", "a@0 c@5", "5")
	f("type: temporal; rules: [a, b]; group-by: [who]; aliases: {who: {a: u, b: v}}; timespan: 10s", "a@0/u=x b@1/v=y b@2/v=x", "2")
}

// TestChain feeds a correlation with another one.
func TestChain(t *testing.T) {
	rules := strings.TrimSuffix(bases, "title: test\nid: test\ncorrelation:\n") + `
title: many a
name: many
correlation: {type: event_count, rules: [a], group-by: [u], timespan: 10s, condition: {gte: 2}}
---
title: test
id: test
correlation: {type: temporal_ordered, rules: [many, b], group-by: [u], timespan: 30s}
`
	set := load(t, rules, nil)
	if got, want := play(t, set, "a@0/u=x b@1/u=x a@2/u=x b@3/u=y b@4/u=x"), "4"; got != want {
		t.Errorf("matched at %q, want %q", got, want)
	}
}

// TestGenerate tells which rules speak for themselves.
func TestGenerate(t *testing.T) {
	f := func(generate string, want bool) {
		t.Helper()
		set := load(t, bases+"  type: event_count\n  rules: [a]\n  timespan: 1m\n  condition: {gte: 2}\n"+generate, nil)
		if got := fires(t, set, `{"k":"a"}`); got != want {
			t.Errorf("%q: a alone: %v", generate, got)
		}
	}
	f("", false)
	f("  generate: true\n", true)
	f("  generate: false\n", false)
	if set := load(t, bases+"  type: event_count\n  rules: [gone]\n  timespan: 1m\n  condition: {gte: 2}\n", nil); len(set.Refused) != 1 || !fires(t, set, `{"k":"a"}`) {
		t.Errorf("a refused correlation silences its rules: %v", set.Refused)
	}
}

// TestCycles refuses correlations that lead back to themselves, and those that
// stand on them, and none besides.
func TestCycles(t *testing.T) {
	corr := func(name, rules string) string {
		return fmt.Sprintf("---\ntitle: %s\nname: %s\ncorrelation: {type: temporal, rules: [%s], timespan: 1m}\n", name, name, rules)
	}
	head := strings.TrimSuffix(bases, "---\ntitle: test\nid: test\ncorrelation:\n")
	set := load(t, head+corr("x", "a, y")+corr("y", "b, z")+corr("z", "x, c")+corr("on", "x, a")+corr("fine", "a, b"), nil)
	if len(set.Rules) != 4 || set.Rules[3].Name != "fine" || len(set.Refused) != 4 {
		t.Errorf("%d rules, refused %v", len(set.Rules), set.Refused)
	}
	deep := head + corr("d0", "a, b")
	for i := range 12 {
		deep += corr(fmt.Sprint("d", i+1), fmt.Sprintf("d%d, a", i))
	}
	set = load(t, deep, nil)
	if len(set.Rules) != 3+8 || !strings.Contains(fmt.Sprint(set.Refused), "chained deeper than 8") {
		t.Errorf("%d rules, refused %v", len(set.Rules), set.Refused)
	}
}

// TestBounds forgets the group that rests longest and counts it, and bounds a
// group that a rule floods.
func TestBounds(t *testing.T) {
	set := load(t, bases+"  type: event_count\n  rules: [a]\n  group-by: [u]\n  timespan: 1d\n  condition: {gte: 2}\n", nil)
	e := sigma.NewEvaluator(set, sigma.EvalOptions{MaxGroups: 10})
	n := 0
	send := func(u string, at int) {
		e.Record(record(t, fmt.Sprintf(`{"k":"a","u":%q}`, u)), int64(at), func(m *sigma.Match) { n++ })
	}
	for i := range 100 {
		send(fmt.Sprint(i), i)
	}
	if e.Groups() != 10 || e.Stats.Evicted != 90 || n != 0 {
		t.Errorf("%d groups, %d evicted, %d matches", e.Groups(), e.Stats.Evicted, n)
	}
	send("99", 100)
	if n != 1 {
		t.Errorf("the newest group was forgotten")
	}
	for i := range 70_000 {
		send("99", 101+i)
	}
	if e.Stats.Dropped == 0 {
		t.Error("a flooded group keeps everything")
	}
	send("later", int(3*24*time.Hour))
	if e.Groups() != 1 {
		t.Errorf("%d groups outlive their window", e.Groups())
	}
}
