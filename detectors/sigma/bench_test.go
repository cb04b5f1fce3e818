package sigma_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall"
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
			matches, i, cpu := 0, 0, cpuTime()
			for b.Loop() {
				e.Record(recs[i%len(recs)], int64(i), func(*sigma.Match) { matches++ })
				i++
			}
			report(b, cpu, matches)
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
	matches, i, cpu := 0, 0, cpuTime()
	for b.Loop() {
		e.Event(&evs[i%len(evs)], int64(i)*1e6, func(*sigma.Match) { matches++ })
		i++
	}
	report(b, cpu, matches)
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
			matches, i, cpu := 0, 0, cpuTime()
			for b.Loop() {
				e.Record(recs[i%len(recs)], int64(i)*1e6, func(*sigma.Match) { matches++ })
				i++
			}
			report(b, cpu, matches)
		})
	}
	f("event_count", "type: event_count; rules: [a, b]; group-by: [u]; timespan: 10s; condition: {gte: 900}", 20)
	f("value_count/10", "type: value_count; rules: [a, b]; timespan: 20s; condition: {field: f, gte: 30000}", 10)
	f("value_count/10000", "type: value_count; rules: [a, b]; timespan: 20s; condition: {field: f, gte: 30000}", 10_000)
	f("temporal", "type: temporal; rules: [a, b]; group-by: [u]; timespan: 10s", 20)
}

// BenchmarkKeys keeps a window for each of 100,000 keys and reports what they
// take.
func BenchmarkKeys(b *testing.B) {
	const keys = 100_000
	for b.Loop() {
		set := load(b, bases+"  type: event_count\n  rules: [a]\n  group-by: [u]\n  timespan: 1h\n  condition: {gte: 5}\n", nil)
		before := heap()
		e := sigma.NewEvaluator(set, sigma.EvalOptions{})
		matches := 0
		for i := range keys {
			e.Record(record(b, fmt.Sprintf(`{"k":"a","u":"user%d@example.com"}`, i)), int64(i)*1e6, func(*sigma.Match) { matches++ })
		}
		if e.Groups() != keys {
			b.Fatalf("%d groups are kept", e.Groups())
		}
		b.ReportMetric(float64(heap()-before)/1e6, "MB")
		b.ReportMetric(float64(matches), "matches")
		runtime.KeepAlive(e)
	}
}

// heap is what is in use after garbage is gone.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// report prints the rate on a core that nobody else uses, which is by
// processor time, and how much matched.
func report(b *testing.B, cpu int64, matches int) {
	used := max(cpuTime()-cpu, 1)
	b.ReportMetric(float64(b.N)*1e9/float64(used), "events/cpu-s")
	b.ReportMetric(float64(matches)/float64(b.N), "matches/event")
}

// cpuTime is the processor time of this process in nanoseconds.
func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
