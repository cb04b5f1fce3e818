package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/schemas"
)

// TestTrailIsRead, S17, S18: every kind of record that the executor writes is
// read by the shipped mappings as what it is.
func TestTrailIsRead(t *testing.T) {
	at := time.Date(2026, 8, 21, 9, 0, 0, 0, time.UTC)
	who := trail.Who{
		Program: "agentrail-executor/1", Log: "agentrail/logs/executor", User: "dana@example.com", Agent: "digest", Version: "3",
		Subscription: "sub_1", Owner: "dana@example.com", Run: "run_1", Initiator: trail.InitiatorSchedule, Trace: trail.TraceID("run_1"),
	}
	person := who
	person.User, person.Run, person.Trace, person.Initiator = "mo@example.com", "", "", trail.InitiatorUser
	made := trail.Call{ID: "ar_1", Tool: "jira.create_issue", Server: "jira", Arguments: []byte(`{"project":"OPS"}`), Access: gate.Write, Verdict: gate.Verdict{Allow: true}, Began: at, Ended: at.Add(time.Second), Status: trail.StatusOK}
	denied := made
	denied.ID, denied.Status, denied.Problem = "ar_2", trail.StatusForbidden, "insufficient_permissions"
	denied.Verdict = gate.Verdict{Gate: "destination", Policy: "destination.exact", Code: "insufficient_permissions"}
	failed := made
	failed.ID, failed.Tool, failed.Problem, failed.Access = "ar_3", "docs.get_page", "tool_failed", gate.Read
	dry := made
	dry.ID, dry.DryRun = "ar_4", true
	run := trail.Run{Began: at, Ended: at.Add(2 * time.Second), Status: trail.RunDenied}
	calls := []trail.Call{made, denied, failed}
	for _, c := range calls {
		run.Note(c)
	}

	const of = "digest sub_1 run_1"
	check := reader(t)
	check(who.Call(made), "tool.execute dana@example.com "+of+" write ok schedule tool jira.create_issue span")
	check(who.Verdict(made), "tool.verdict dana@example.com "+of+" read ok schedule tool jira.create_issue span")
	check(who.Call(denied), "tool.execute dana@example.com "+of+" write denied schedule reason insufficient_permissions tool jira.create_issue span")
	check(who.Call(failed), "tool.execute dana@example.com "+of+" read error schedule reason tool_failed tool docs.get_page span")
	check(who.Call(dry), "tool.execute dana@example.com "+of+" read ok schedule tool jira.create_issue span")
	definition := trail.Definition{Tool: "docs.get_page", Known: "a", Digest: "b", At: at}
	check(who.Changed(definition), "tool.changed dana@example.com "+of+" admin ok schedule tool docs.get_page")
	check(person.ApprovedDefinition(definition), "tool.approve mo@example.com digest sub_1 - admin ok human tool docs.get_page")
	act := func(verb trail.Verb, want string) {
		t.Helper()
		a := trail.Act{Verb: verb, At: at, Reason: "why it was asked for", Verdict: &gate.Verdict{Code: "insufficient_permissions", Reason: "no"}, Tool: "jira.create_issue"}
		check(person.Act(a), want+" human reason why it was asked for")
		a.Status, a.Problem = trail.StatusForbidden, "insufficient_permissions"
		check(person.Act(a), strings.Replace(want, " ok", " denied", 1)+" human reason insufficient_permissions")
	}
	const by = " mo@example.com digest sub_1 - "
	act(trail.CreateSubscription, "subscription.create"+by+"admin ok")
	act(trail.EditSubscription, "subscription.edit"+by+"admin ok")
	act(trail.DeleteSubscription, "subscription.delete"+by+"admin ok")
	act(trail.ListSubscriptions, "subscription.list"+by+"read ok")
	act(trail.RunSubscription, "subscription.run"+by+"write ok")
	act(trail.RunAgent, "agent.run"+by+"write ok")
	act(trail.ReadTrace, "trace.read"+by+"read ok")
	act(trail.CreateAgent, "agent.create"+by+"admin ok")
	act(trail.EditAgent, "agent.edit"+by+"admin ok")
	act(trail.PublishAgent, "agent.publish"+by+"admin ok")
	act(trail.UnpublishAgent, "agent.unpublish"+by+"admin ok")
	act(trail.RequestChanges, "agent.request_changes"+by+"admin ok")
	act(trail.LimitSubscribers, "agent.limit_subscribers"+by+"admin ok")
	act(trail.PauseSubscription, "subscription.pause"+by+"admin ok")
	act(trail.ResumeSubscription, "subscription.resume"+by+"admin ok")
	act(trail.PauseAgent, "agent.pause"+by+"admin ok")
	act(trail.ResumeAgent, "agent.resume"+by+"admin ok")
	act(trail.PauseActor, "actor.pause"+by+"admin ok")
	act(trail.ResumeActor, "actor.resume"+by+"admin ok")
	act(trail.PauseTenant, "tenant.panic"+by+"admin ok")
	act(trail.ResumeTenant, "tenant.resume"+by+"admin ok")
	question := trail.Act{At: at, Confirmation: "conf_1", Call: "ar_1", Tool: "jira.create_issue", Until: at.Add(time.Hour)}
	for verb, want := range map[trail.Verb]string{
		trail.AskConfirmation: "confirmation.ask", trail.AnswerConfirmation: "confirmation.answer", trail.ExpireConfirmation: "confirmation.expire",
	} {
		question.Verb = verb
		check(who.Act(question), want+" dana@example.com "+of+" read ok schedule tool jira.create_issue")
	}
	for status, want := range map[string]string{
		trail.RunSuccess: "ok", trail.RunDenied: "denied", trail.RunError: "error", trail.RunCancelled: "cancelled",
		trail.RunTimeout: "error", trail.RunMissed: "unknown", trail.RunInterrupted: "cancelled",
	} {
		run := run
		run.Status = status
		if want == "denied" {
			want += " schedule reason insufficient_permissions"
		} else {
			want += " schedule"
		}
		check(who.Ended(run), "run.end dana@example.com "+of+" read "+want)
	}
	check(who.Spans(run, calls)[0],
		"agent.run dana@example.com "+of+" unknown error unknown reason insufficient_permissions span",
		"agent.run dana@example.com "+of+" unknown error unknown reason insufficient_permissions span",
		"tool.execute dana@example.com "+of+" write ok unknown tool jira.create_issue span",
		"tool.execute dana@example.com "+of+" write error unknown reason insufficient_permissions tool jira.create_issue span",
		"tool.execute dana@example.com "+of+" read error unknown reason tool_failed tool docs.get_page span")
}

// reader returns a function that holds what the shipped mappings make of a
// record against lines of: action actor agent subscription run access outcome
// initiator.
func reader(t *testing.T) func(r trail.Record, want ...string) {
	set, err := decode.Open("")
	if err != nil {
		t.Fatal(err)
	}
	return func(r trail.Record, want ...string) {
		t.Helper()
		name := r.Source
		if name == trail.SourceTraces {
			name = "otlp"
		}
		m, err := set.Mapping(name)
		if err != nil {
			t.Fatal(err)
		}
		b := &schemas.Batch{Header: schemas.Header{Tenant: "default", Source: r.Source, Class: schemas.ClassActivity, Received: time.Now().UnixNano()}, Body: r.Body}
		read := m.Read
		if r.Source == trail.SourceTraces {
			read = m.ReadSpans
		}
		if _, err := read(b, decode.Limits{}); err != nil {
			t.Fatalf("%s: %v", r.Body, err)
		}
		var got []string
		for i := range b.Events {
			e := &b.Events[i]
			if e.Flags != 0 || r.Source != trail.SourceTraces && e.SourceID != r.ID {
				t.Errorf("id %s flags %v of %s", e.SourceID, e.Flags.Names(), r.Body)
			}
			line := fmt.Sprintf("%s %s %s %s %s %s %s %s", e.Action, e.Actor, e.Agent, firstOf(e.Subscription, "-"), firstOf(e.Run, "-"), e.Access, e.Outcome, e.Initiator)
			if e.Reason != "" {
				line += " reason " + e.Reason
			}
			if e.Tool != "" {
				line += " tool " + e.Tool
			}
			if e.Span != "" {
				line += " span"
				if e.Trace != trail.TraceID("run_1") {
					t.Errorf("trace %q of %s", e.Trace, e.Action)
				}
			}
			if e.Owner != "" && e.Owner != "dana@example.com" || e.ActorEmail != e.Actor {
				t.Errorf("owner %q, e-mail %q", e.Owner, e.ActorEmail)
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("record %s is read otherwise: -want +got\n%s", r.ID, diff)
		}
	}
}
