package sigma_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/detectors/rules"
	"github.com/agentrail/agentrail/detectors/sigma"
	"github.com/agentrail/agentrail/schemas"
)

// foreignRules writes rules in the manner of public ones: a program, parts of
// its command line, an exception.
func foreignRules(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abcdefghijklmnopqrstuvwxyz"[r.IntN(26)]
		}
		return string(b)
	}
	programs := make([]string, 150)
	for i := range programs {
		programs[i] = word(4 + r.IntN(8))
	}
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "title: r%d\nlogsource: {product: windows}\ndetection:\n", i)
		fmt.Fprintf(&b, "  sel_img:\n    - Image|endswith: '\\%s.exe'\n    - OriginalFileName: %s.exe\n", programs[r.IntN(len(programs))], word(8))
		fmt.Fprintf(&b, "  sel_cli:\n    CommandLine|contains:\n      - ' -%s '\n      - '%s'\n", word(3+r.IntN(6)), word(6+r.IntN(10)))
		fmt.Fprintf(&b, "  filter_main:\n    ParentImage|startswith: 'C:\\%s\\'\n  condition: all of sel_* and not 1 of filter_*\n---\n", word(7))
	}
	return b.String()
}

// BenchmarkForeign runs records through a thousand and three thousand rules;
// JSON is taken apart before.
func BenchmarkForeign(b *testing.B) {
	for _, n := range []int{1000, 3000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rules := foreignRules(n)
			set := load(b, rules, nil)
			programs, words := strings.Split(rules, "endswith: '\\")[1:], strings.Split(rules, "      - '")[1:]
			var recs []*sigma.Record
			r := rand.New(rand.NewPCG(3, 4))
			for i := range 1000 {
				which := r.IntN(n)
				program, _, _ := strings.Cut(programs[which], "'")
				word, _, _ := strings.Cut(words[2*which+1], "'")
				if i%10 > 0 {
					word = "plain"
				}
				recs = append(recs, record(b, fmt.Sprintf(`{"EventID":1,"Channel":"Sysmon","Image":"C:\\Windows\\System32\\%s","CommandLine":"\"%s\" -noprofile -command get-item %d %s %s","ParentImage":"C:\\Windows\\explorer.exe","User":"u%d","ProcessId":%d}`,
					program, program, i, word, strings.Repeat("some argument ", r.IntN(10)), i%50, i)))
			}
			e := sigma.NewEvaluator(set, sigma.EvalOptions{})
			matches, i := 0, 0
			for b.Loop() {
				e.Record(recs[i%len(recs)], int64(i), func(*sigma.Match) { matches++ })
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(matches)/float64(b.N), "matches/event")
		})
	}
}

// BenchmarkShipped runs our events through the shipped pack, as the detector
// does: as they are, and without raw records, so that no JSON is read for the
// arguments of tool calls. More than half are tool calls.
func BenchmarkShipped(b *testing.B) {
	b.Run("records", func(b *testing.B) { benchmarkShipped(b, true) })
	b.Run("without_json", func(b *testing.B) { benchmarkShipped(b, false) })
}

func benchmarkShipped(b *testing.B, raw bool) {
	m, err := sigma.ShippedMap()
	if err != nil {
		b.Fatal(err)
	}
	set, err := sigma.Load(rules.Files, "", sigma.Options{Map: m})
	if err != nil {
		b.Fatal(err)
	}
	evs := make([]schemas.Event, 5000)
	for i := range evs {
		ev := schemas.Event{Kind: "api_call", Action: "tool.execute", Tool: "gmail.send", Access: schemas.AccessWrite, Outcome: schemas.OutcomeOK, Tenant: "acme", Source: "audit"}
		ev.Actor, ev.Agent, ev.Run, ev.Raw = fmt.Sprint("u", i%50), fmt.Sprint("a", i%300), fmt.Sprint("r", i%1000), []byte("{}")
		if raw {
			ev.Raw = fmt.Appendf(nil, `{"insertId":"i%d","timestamp":"2026-11-25T10:00:00.000Z","jsonPayload":{"endpoint":"/api/v1/executeactiontool","actor":{"userId":"u%d"},`+
				`"request":{"name":"gmail.send","parameters":{"to":{"type":"STRING","value":"dana%d@example.com"},"subject":{"type":"STRING","value":"Weekly summary"}}}}}`, i, i%50, i%50)
		}
		ev.Outcome, ev.Target = schemas.OutcomeOK, "ai_gmail"
		switch i % 20 {
		case 0:
			ev.Tool = "jira.delete_issue"
		case 1:
			ev.Action = "trace.read"
		case 2, 3, 4, 5, 6, 7, 8:
			ev.Action, ev.Tool = "search", ""
		}
		evs[i] = ev
	}
	e := sigma.NewEvaluator(set, sigma.EvalOptions{})
	matches, i := 0, 0
	for b.Loop() {
		e.Event(&evs[i%len(evs)], int64(i)*1e6, func(*sigma.Match) { matches++ })
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(matches)/float64(b.N), "matches/event")
}

// BenchmarkCorrelation feeds one correlation with events that all match. The
// figure of value_count must not depend on how many values a window holds.
func BenchmarkCorrelation(b *testing.B) {
	f := func(name, corr string, values int) {
		b.Run(name, func(b *testing.B) {
			set := load(b, bases+"  "+strings.ReplaceAll(corr, "; ", "\n  ")+"\n", nil)
			if len(set.Refused) > 0 {
				b.Fatal(set.Refused)
			}
			recs := make([]*sigma.Record, values)
			for i := range recs {
				recs[i] = record(b, fmt.Sprintf(`{"k":%q,"u":"u%d","f":"v%d"}`, []string{"a", "b"}[i%2], i/2%10, i))
			}
			e := sigma.NewEvaluator(set, sigma.EvalOptions{Lateness: 1})
			matches, i := 0, 0
			for b.Loop() {
				e.Record(recs[i%len(recs)], int64(i)*1e6, func(*sigma.Match) { matches++ })
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(matches)/float64(b.N), "matches/event")
		})
	}
	f("event_count", "type: event_count; rules: [a, b]; group-by: [u]; timespan: 10s; condition: {gte: 900}", 20)
	f("value_count/10", "type: value_count; rules: [a, b]; timespan: 10s; condition: {field: f, gte: 30000}", 10)
	f("value_count/9000", "type: value_count; rules: [a, b]; timespan: 10s; condition: {field: f, gte: 30000}", 9000)
	f("temporal", "type: temporal; rules: [a, b]; group-by: [u]; timespan: 10s", 20)
}
