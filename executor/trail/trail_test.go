package trail_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/trail"
)

var (
	noon = time.Date(2026, 8, 21, 12, 0, 0, 0, time.UTC)
	who  = trail.Who{
		Program: "agentrail-executor/1", Log: "agentrail/logs/executor", User: "dana@example.com", Agent: "digest", Version: "3",
		Subscription: "sub_1", Run: "run_1", Initiator: trail.InitiatorSchedule, Trace: trail.TraceID("run_1"),
	}
)

func call(id string) trail.Call {
	return trail.Call{
		ID: id, Step: "write", Tool: "mail.send", Server: "mail", Arguments: json.RawMessage(`{"to":"a@example.com","body":"secret-content"}`),
		Destinations: []gate.Place{{Argument: "to", Value: "a@example.com"}}, Access: gate.Write, Verdict: gate.Verdict{Allow: true},
		Began: noon, Ended: noon.Add(time.Second), Status: trail.StatusOK,
	}
}

// TestNoContent: no record holds the content of a call's arguments.
func TestNoContent(t *testing.T) {
	run := trail.Run{Began: noon, Ended: noon, Status: trail.RunSuccess}
	run.Note(call("ar_1"))
	for _, r := range append(who.Spans(run, []trail.Call{call("ar_1")}), who.Call(call("ar_1")), who.Verdict(call("ar_1")), who.Ended(run)) {
		if strings.Contains(string(r.Body), "secret-content") {
			t.Errorf("record for %s holds content: %q", r.Source, r.Body)
		}
		if r.Source != trail.SourceTraces && (strings.ContainsAny(string(r.Body), "\n\r") || !json.Valid(r.Body)) {
			t.Errorf("record for %s is not one line of JSON: %q", r.Source, r.Body)
		}
	}
}

// TestForeignText: names and values from outside are bounded, and their bytes
// never break a record.
func TestForeignText(t *testing.T) {
	c := call("ar_1")
	c.Tool, c.Server = strings.Repeat("ü", 1000), "\xff\x00\n\u202e"
	c.Destinations = slices.Repeat([]gate.Place{{Argument: "to", Value: strings.Repeat("x", 10000)}}, 1000)
	if body := who.Call(c).Body; len(body) > 20000 || !json.Valid(body) {
		t.Errorf("%d bytes: %.200q", len(body), body)
	}
	if body := who.Act(trail.Act{Verb: trail.PauseActor, Target: strings.Repeat("x", 10000), Reason: strings.Repeat("y", 1<<20), At: noon}).Body; len(body) > 5000 || !json.Valid(body) {
		t.Errorf("%d bytes: %.200q", len(body), body)
	}
}

// TestSameRecord: what is recorded again after a crash has the ids that it had.
func TestSameRecord(t *testing.T) {
	a := trail.Act{Verb: trail.PauseSubscription, ID: "ctl_1", At: noon, Control: "1"}
	run := trail.Run{Began: noon, Ended: noon.Add(time.Second), Status: trail.RunSuccess}
	for _, f := range []func() trail.Record{
		func() trail.Record { return who.Act(a) },
		func() trail.Record { return who.Call(call("ar_1")) },
		func() trail.Record { return who.Ended(run) },
		func() trail.Record { return who.Spans(run, []trail.Call{call("ar_1")})[0] },
	} {
		if one, two := f(), f(); one.ID != two.ID || string(one.Body) != string(two.Body) {
			t.Errorf("made twice it differs: %s and %s", one.Body, two.Body)
		}
	}
}

// TestChangesAreWritten: who may see an agent stands in the record as detectors
// look for it.
func TestChangesAreWritten(t *testing.T) {
	r := who.Act(trail.Act{Verb: trail.LimitSubscribers, At: noon, Changes: map[string]trail.Change{"audience": {From: "moderators", To: "all"}}, Control: "c1", Response: "r1", Until: noon.Add(time.Hour)})
	for _, want := range []string{`"changes":{"audience":{"from":"moderators","to":"all"}}`, `"controlId":"c1"`, `"responseId":"r1"`, `"until":"2026-08-21T13:00:00Z"`} {
		if !strings.Contains(string(r.Body), want) {
			t.Errorf("%s is not in %s", want, r.Body)
		}
	}
}
