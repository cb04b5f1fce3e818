package sample_test

import (
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/schemas"
)

func TestJudge(t *testing.T) {
	start := thursday.Add(-time.Hour)
	entity := schemas.Entity{Kind: "agent", ID: "a1"}
	calm := schemas.Entity{Kind: "agent", ID: "a2"}
	d := &sample.Day{Records: 10_003, Labels: []sample.Label{
		{
			Incident: "spree", What: "bad", Rules: []string{"burst"}, Entities: []schemas.Entity{entity}, Start: start, End: start.Add(time.Minute),
			Records: []sample.Ref{{ID: "r1", Time: start}, {ID: "r2", Time: start.Add(30 * time.Second)}, {ID: "r3", Time: start.Add(time.Minute)}},
		},
		{
			Incident: "spree", Twin: true, What: "good", Rules: []string{"burst"}, Entities: []schemas.Entity{calm}, Start: start, End: start.Add(time.Minute),
			Records: []sample.Ref{{ID: "t1", Time: start}},
		},
	}}
	name := func(id string) string { return strings.TrimPrefix(id, "event-") }
	alert := func(id, rule string, sev schemas.Severity, e schemas.Entity, evidence ...string) schemas.Alert {
		a := schemas.Alert{ID: id, Rule: rule, Severity: sev, Entity: e, FirstSeen: start, LastSeen: start.Add(30 * time.Second)}
		for _, ev := range evidence {
			a.Evidence = append(a.Evidence, schemas.Evidence{ID: "event-" + ev})
		}
		return a
	}
	f := func(what string, name func(string) string, found, quiet bool, wrong int, alerts ...schemas.Alert) {
		t.Helper()
		s := sample.Judge(d, alerts, name)
		if r := s.Results[0]; r.Found != found || r.TwinQuiet != quiet || len(s.False) != wrong {
			t.Errorf("%s: found %v, twin quiet %v, %d false, want %v, %v, %d", what, r.Found, r.TwinQuiet, len(s.False), found, quiet, wrong)
		}
	}
	high, low := schemas.SeverityHigh, schemas.SeverityLow
	f("no alerts", name, false, true, 0)
	f("by evidence", name, true, true, 0, alert("1", "burst.agent", high, schemas.Entity{Kind: "tool", ID: "x"}, "r1", "r2"))
	f("by entity", nil, true, true, 0, alert("1", "burst", high, entity, "r1"))
	f("too low", name, false, true, 0, alert("1", "burst", low, entity, "r1"))
	f("another kind of rule is neither found nor false", name, false, true, 0, alert("1", "denial", high, entity, "r1"))
	f("about the twin", name, false, false, 1, alert("1", "burst", high, calm, "t1"))
	f("mostly about the incident", name, true, true, 0, alert("1", "burst", high, calm, "t1", "r1", "r2"))
	f("about neither", name, false, true, 1, alert("1", "burst", high, schemas.Entity{Kind: "agent", ID: "a3"}, "other"))
	f("the entity's ordinary call was the last straw", name, true, true, 0, alert("1", "burst", high, entity, "other"))
	f("two of one", name, true, true, 0, alert("1", "burst", high, entity, "r1"), alert("2", "burst", high, entity, "r2"))
	history := alert("1", "burst", high, calm, "t1")
	history.Backfill = true
	f("history", name, false, true, 0, history)
	risen := alert("1", "burst", low, entity, "r1")
	f("low at first", name, true, true, 0, risen, alert("1", "burst", high, entity, "r1", "r2"))

	s := sample.Judge(d, []schemas.Alert{alert("1", "burst", high, entity, "r1"), alert("2", "burst", high, calm, "t1")}, name)
	if r := s.Results[0]; r.After != 30*time.Second || r.Rule != "burst" || r.Alert != "1" {
		t.Errorf("the result is %+v, want 30 s by alert 1", r)
	}
	if got := s.FalsePer10k(); got != 1 {
		t.Errorf("%v false alerts per 10,000 records, want 1", got)
	}
	if s.Perfect() || !strings.Contains(s.String(), "1 of 1 incidents found, 0 of 1 twins quiet") || !strings.Contains(s.String(), "ALERT burst") {
		t.Errorf("the table does not say what happened:\n%s", s)
	}
}
