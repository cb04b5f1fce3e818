package response

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// responder is who acts in records where no person did.
const responder = "agentrail-response"

const (
	maxReason = 1000 // bytes of a reason, a problem or a line of the timeline
	auditLog  = "agentrail/logs/response"
	program   = "agentrail-executor"
)

// cut shortens a text from outside.
func cut(s string, most int) string { return trail.Cut(s, most) }

// Lines of a timeline that are no status of the response.
const (
	approved = "approved" // a person said yes
	refused  = "refused"  // an approval did not count
	stale    = "stale"    // the self-test proved nothing for too long
	stuck    = "stuck"    // it cannot be taken back
	tasked   = "task"     // a person is to do it
)

// document is the record of one line of a timeline. Offering it again is
// offering the same record.
func document(r *state.Response, e state.ResponseEvent) []byte {
	w := trail.Who{Program: program, Log: auditLog, User: e.By, Initiator: trail.InitiatorUser}
	if e.By == responder || strings.HasPrefix(e.By, "policy ") {
		w.User, w.UserType, w.Initiator = responder, "SERVICE", trail.InitiatorAPI
	}
	switch kindOf(r.Action) {
	case "subscription":
		w.Subscription = r.Target
	case "agent":
		w.Agent = r.Target
	}
	t := trail.Response{
		ID: recordID(e), Response: r.ID, Status: e.Status, At: e.At, Text: e.Text,
		Action: r.Action, Target: r.Target, Policy: r.Policy, Author: r.Author, Reason: r.Reason, Mode: r.Mode, Via: r.Via,
		Alert: r.Alert, Rule: r.Rule, Entity: r.Entity, Resolved: r.Resolved, Asked: r.Asked, Until: r.Until,
		Assignee: r.Assignee, Link: r.Link,
	}
	switch e.Status {
	case Failed, stuck:
		t.Code, t.Problem = trail.StatusBadGateway, "response_unconfirmed"
	case refused:
		t.Code, t.Problem = trail.StatusForbidden, "approval_refused"
	case stale:
		t.Code, t.Problem = trail.StatusUnavailable, "self_test_stale"
	}
	return w.Response(t).Body
}

func recordID(e state.ResponseEvent) string { return fmt.Sprintf("%s_%d", e.Response, e.Seq) }

// recordBatch is how many records are read at once.
const recordBatch = 100

// record brings what happened into the audit trail, in its order, and tries on
// until it is there. The brake does not wait for it.
func (r *Responder) record(ctx context.Context) {
	wait := firstRetry
	for {
		err := r.recordAll(ctx)
		if err == nil {
			wait = firstRetry
			select {
			case <-ctx.Done():
				return
			case <-r.written:
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		r.metrics.unsent.Inc()
		r.o.Log.Warn("record of a response is not taken; it waits in the executor's state and is offered again", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// maxMisses is how many records may fail in a row before the rest waits.
const maxMisses = 3

// recordAll offers what waits. A record that is not taken does not keep back
// those behind it.
func (r *Responder) recordAll(ctx context.Context) error {
	for {
		list, err := r.o.Store.UnrecordedResponses(ctx, recordBatch)
		if err != nil {
			return err
		}
		var failed error
		misses := 0
		for _, e := range list {
			if err := r.recordOne(ctx, e); err != nil {
				failed = err
				if misses++; misses == maxMisses {
					break
				}
				continue
			}
			misses = 0
		}
		if failed != nil || len(list) < recordBatch {
			return failed
		}
	}
}

func (r *Responder) recordOne(ctx context.Context, e state.ResponseEvent) error {
	if err := r.o.Recorder.Commit(ctx, trail.Record{Source: trail.SourceAudit, ID: recordID(e), Body: e.Body}); err != nil {
		return fmt.Errorf("record %s: %w", recordID(e), err)
	}
	return r.o.Store.RecordedResponse(ctx, e)
}

// alarm tells people by log and metric, beside the line of the timeline that
// the caller makes: its record is what the rules response_failed and
// response_task raise their alerts on, so that an alarm is in the journal once
// the record is, and goes wherever alerts go.
func (r *Responder) alarm(kind string, one *state.Response, text string) {
	r.metrics.alarms.WithLabelValues("response." + kind).Inc()
	r.o.Log.Error("response alarm", "kind", kind, "response", one.ID, "action", one.Action, "target", one.Target, "text", text)
}
