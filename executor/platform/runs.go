package platform

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/rest"
)

// RunRequest is the body of runworkflow: the caller runs an agent themselves.
type RunRequest struct {
	Agent string `json:"agent"`
	// DryRun shows every call and makes none.
	DryRun bool `json:"dry_run,omitempty"`
	// Content is what the run starts from, such as what a webhook would bring.
	Content string `json:"content,omitempty"`
}

// RunID is the body of getworkflowtrace.
type RunID struct {
	Run string `json:"run"`
}

// runSubscription starts a background run of a subscription now, on behalf of
// its subscriber.
func (p *platform) runSubscription(w http.ResponseWriter, r *http.Request) {
	var req SubscriptionID
	if !rest.Read(w, r, rest.MaxBody, &req) {
		return
	}
	s, ok := p.ownSubscription(w, r, trail.RunSubscription, req.ID)
	if !ok {
		return
	}
	p.start(w, r, trail.RunSubscription, Start{
		Agent: s.Agent, Subscription: s.ID, User: s.Subscriber, Mode: gate.Background, DryRun: req.DryRun, Initiator: trail.InitiatorAPI,
	})
}

// runAgent runs an agent for the caller, who is present: a write waits until
// they confirm it.
func (p *platform) runAgent(w http.ResponseWriter, r *http.Request) {
	var req RunRequest
	if !rest.Read(w, r, maxContent, &req) {
		return
	}
	if req.Agent == "" {
		bad(w, "name the agent")
		return
	}
	p.start(w, r, trail.RunAgent, Start{
		Agent: req.Agent, User: caller(r).Name, Mode: gate.Interactive, DryRun: req.DryRun, Initiator: trail.InitiatorUser, Content: []byte(req.Content),
	})
}

// maxContent caps what a run starts from, bytes.
const maxContent = 1 << 20

// start starts a run and answers at once: it goes on by itself.
func (p *platform) start(w http.ResponseWriter, r *http.Request, verb trail.Verb, req Start) {
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		req.Key = caller(r).Name + "/" + key
	}
	v, err := p.o.Engine.Start(r.Context(), req)
	if errors.Is(err, state.ErrDuplicate) {
		v, err = p.begun(r.Context(), req)
	}
	if err != nil {
		p.fail(w, r, "run of "+req.Agent, err)
		return
	}
	rest.Write(w, http.StatusAccepted, runOf(v, caller(r)))
}

// begun finds the run that was started with the key before.
func (p *platform) begun(ctx context.Context, req Start) (state.Run, error) {
	rows, err := p.o.Store.Runs(ctx, state.RunFilter{Agent: req.Agent, Subscription: req.Subscription, User: req.User, Limit: maxRuns})
	if err != nil {
		return state.Run{}, err
	}
	for _, v := range rows {
		if v.Key == req.Key {
			return v, nil
		}
	}
	return state.Run{}, state.ErrDuplicate
}

func (p *platform) runs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := state.RunFilter{Agent: q.Get("agent"), Subscription: q.Get("subscription"), Status: q.Get("status"), User: q.Get("user"), Limit: 100}
	if n := q.Get("limit"); n != "" {
		limit, err := strconv.Atoi(n)
		if err != nil || limit < 1 || limit > maxRuns {
			bad(w, "limit is %q; write 1 to %d", n, maxRuns)
			return
		}
		f.Limit = limit
	}
	if who := caller(r); !who.Has(overseers...) {
		f.User = who.Name
	}
	rows, err := p.o.Store.Runs(r.Context(), f)
	if err != nil {
		p.fail(w, r, "runs", err)
		return
	}
	list := RunList{Runs: []Run{}}
	for _, v := range rows {
		row := runOf(v, caller(r))
		if v.User != caller(r).Name {
			row.Output = "" // read one by one, which is on record
		}
		list.Runs = append(list.Runs, row)
	}
	rest.Write(w, http.StatusOK, list)
}

// maxRuns caps a list.
const maxRuns = 1000

// run answers as trace does; what a run of somebody else put out is content, and
// who reads it is on record.
func (p *platform) run(w http.ResponseWriter, r *http.Request) {
	who := caller(r)
	if v, ok := p.answerRun(w, r, r.PathValue("id")); ok && v.User != who.Name && runOf(v, who).Output != "" {
		p.noteRead(r, trail.ReadTrace, v)
	}
}

// trace answers with a run, its calls and verdicts and the id of its trace, and
// puts on record who read it.
func (p *platform) trace(w http.ResponseWriter, r *http.Request) {
	var req RunID
	if !rest.Read(w, r, rest.MaxBody, &req) {
		return
	}
	if v, ok := p.answerRun(w, r, req.Run); ok {
		p.noteRead(r, trail.ReadTrace, v)
	}
}

// answerRun answers with a run that the caller may see: their own, or any if
// they oversee.
func (p *platform) answerRun(w http.ResponseWriter, r *http.Request, id string) (state.Run, bool) {
	v, err := p.o.Store.Run(r.Context(), id)
	if err == nil && !mine(caller(r), v.User) {
		err = state.ErrNotFound
	}
	if err != nil {
		p.fail(w, r, "run "+strconv.Quote(id), err)
		return v, false
	}
	calls, err := p.o.Store.Calls(r.Context(), id)
	if err != nil {
		p.fail(w, r, "calls of run "+id, err)
		return v, false
	}
	out := runOf(v, caller(r))
	for _, c := range calls {
		call := Call{ID: c.ID, Step: c.Step, Tool: c.Tool, Access: c.Access, Status: c.Status, Problem: c.Problem, Began: c.Began, Ended: c.Ended}
		verdict := &gate.Verdict{}
		if len(c.Verdict) > 0 && json.Unmarshal(c.Verdict, verdict) == nil {
			call.Verdict = verdict
		}
		out.Calls = append(out.Calls, call)
	}
	rest.Write(w, http.StatusOK, out)
	return v, true
}

// mine reports whether the caller may see what is the user's.
func mine(who *auth.Principal, user string) bool { return who.Name == user || who.Has(overseers...) }

// runOf is the run as the caller may see it.
func runOf(v state.Run, who *auth.Principal) Run {
	if v.User != who.Name && !who.Has(contents...) {
		v.Output = ""
	}
	return Run{
		ID: v.ID, Agent: v.Agent, Version: v.Version, Subscription: v.Subscription, User: v.User, Mode: v.Mode, Initiator: v.Initiator,
		Status: v.Status, Reason: v.Reason, DryRun: v.DryRun, Trace: v.Trace, Started: v.Started, Ended: v.Ended, Output: v.Output,
	}
}
