package run

import (
	"fmt"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

const (
	auditLog = "agentrail/logs/executor"
	platform = "AGENTRAIL"
)

// who is whom the records of a run are about.
func (e *Engine) who(r state.Run) trail.Who {
	return trail.Who{
		Program: e.o.Program, Log: auditLog, User: r.User, Agent: r.Agent, Version: r.Version, Subscription: r.Subscription,
		Run: r.ID, Initiator: r.Initiator, Trace: r.Trace,
	}
}

// began is the record that a run was asked for, and what the gates said.
func (e *Engine) began(j *job, v gate.Verdict) trail.Record {
	a := trail.Act{Verb: trail.RunAgent, ID: j.run.ID + "_s", At: j.run.Started, Verdict: &v}
	if j.run.Subscription != "" {
		a.Verb = trail.RunSubscription
	}
	if !v.Allow {
		a.Status, a.Problem, a.Reason = trail.StatusForbidden, v.Code, v.Reason
	}
	return j.who.Act(a)
}

// reserve keeps places for so many records, all or none.
func (e *Engine) reserve(n int) error {
	for got := range n {
		if !e.spare() && !e.o.Recorder.Reserve() {
			e.giveBack(got)
			return trail.ErrBacklog
		}
	}
	return nil
}

// spare takes a place that was reserved and not used: a recorder takes none
// back.
func (e *Engine) spare() bool {
	for {
		n := e.spares.Load()
		if n == 0 {
			return false
		}
		if e.spares.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// giveBack keeps places that were not used for later records.
func (e *Engine) giveBack(n int) { e.spares.Add(int64(n)) }

// keep hands over a record whose place was reserved.
func (e *Engine) keep(r trail.Record) {
	if err := e.o.Recorder.Put(r); err != nil {
		e.o.Log.Error("record is not kept", "id", r.ID, "error", err)
	}
}

// put hands over a record for which no place was reserved.
func (e *Engine) put(r trail.Record) error {
	if err := e.reserve(1); err != nil {
		return fmt.Errorf("record %s: %w", r.ID, err)
	}
	return e.o.Recorder.Put(r)
}
