package sigma

import (
	"fmt"
	"testing"
	"testing/fstest"
	"time"
)

// TestWhatWaitsInVainIsSmall: an ordered correlation keeps few of the many
// second events that no first one precedes, and a first one that comes late
// still finds one of them.
func TestWhatWaitsInVainIsSmall(t *testing.T) {
	set, err := Load(fstest.MapFS{"r.yml": {Data: []byte(`
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
correlation: {type: temporal_ordered, rules: [a, b], timespan: 1h}
`)}}, "", Options{AnyLogsource: true})
	if err != nil || len(set.Refused) > 0 {
		t.Fatal(err, set.Refused)
	}
	records := map[string]*Record{}
	for _, k := range []string{"a", "b"} {
		if records[k], err = ParseRecord(fmt.Appendf(nil, `{"k":%q}`, k)); err != nil {
			t.Fatal(err)
		}
	}
	f := func(late time.Duration, want int) {
		t.Helper()
		e := NewEvaluator(set, EvalOptions{Lateness: 10 * time.Minute})
		matches := 0
		give := func(k string, at time.Duration) {
			e.Record(records[k], int64(at), func(*Match) { matches++ })
		}
		for s := range 7200 {
			give("b", time.Duration(s)*time.Second)
		}
		if e.entries > 40 {
			t.Errorf("%d entries are kept of 7200 that wait in vain", e.entries)
		}
		give("a", 7200*time.Second-late)
		if matches != want {
			t.Errorf("a first one that comes %s late: %d matches, want %d", late, matches, want)
		}
		if give("b", 7201*time.Second); matches == 0 && late < 10*time.Minute {
			t.Errorf("a first one that comes %s late, then a second: no match", late)
		}
	}
	f(0, 0)
	f(2*time.Second, 1)
	f(5*time.Minute, 1)
	f(11*time.Minute, 0)
}
