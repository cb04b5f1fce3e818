package platform

import (
	"net/http"
	"strings"
	"time"

	"github.com/agentrail/agentrail/executor/brake"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/rest"
)

// PauseRequest is the body of a pause and of a resume.
type PauseRequest struct {
	ID     string `json:"id,omitempty"`     // of the subscription, on the platform's paths
	Kind   string `json:"kind,omitempty"`   // subscription, agent, actor or tenant
	Target string `json:"target,omitempty"` // its id or name; none for tenant
	Reason string `json:"reason"`
	TTL    string `json:"ttl,omitempty"` // such as 2h; a pause without lasts until it is resumed
	DryRun bool   `json:"dry_run,omitempty"`
}

// Resumed is the answer to a resume.
type Resumed struct {
	Pauses []Pause `json:"resumed"`
	// Still is what stops the target all the same, such as a pause of its agent.
	Still *Pause `json:"still_paused,omitempty"`
}

// pauseSubscription pauses one: its subscriber may, and whoever answers alarms.
func (p *platform) pauseSubscription(w http.ResponseWriter, r *http.Request) {
	if req, _, ok := p.pausedSubscription(w, r, trail.PauseSubscription); ok {
		p.brake(w, r, req)
	}
}

func (p *platform) resumeSubscription(w http.ResponseWriter, r *http.Request) {
	req, s, ok := p.pausedSubscription(w, r, trail.ResumeSubscription)
	if !ok {
		return
	}
	if pause, held := p.o.Store.Paused(r.Context(), s.ID, "", ""); held && pause.Author != caller(r).Name && !caller(r).Has(moderators...) {
		p.deny(w, r, trail.ResumeSubscription, denial{code: "paused_by_another", subscription: s, detail: "it was paused by " + pause.Author + ": " + pause.Reason + "; the role moderator or admin may resume it"})
		return
	}
	p.release(w, r, req, s)
}

func (p *platform) pausedSubscription(w http.ResponseWriter, r *http.Request, verb trail.Verb) (PauseRequest, state.Subscription, bool) {
	var req PauseRequest
	if !rest.Read(w, r, rest.MaxBody, &req) {
		return req, state.Subscription{}, false
	}
	others := stoppers
	if verb == trail.ResumeSubscription {
		others = moderators
	}
	s, ok := p.ownSubscription(w, r, verb, req.ID, others...)
	req.Kind, req.Target = state.PauseSubscription, s.ID
	return req, s, ok
}

// pause stops anything: a subscription, an agent, an actor or the whole tenant,
// which only an admin may.
func (p *platform) pause(w http.ResponseWriter, r *http.Request) {
	if req, _, ok := p.anyTarget(w, r); ok {
		p.brake(w, r, req)
	}
}

func (p *platform) resume(w http.ResponseWriter, r *http.Request) {
	if req, s, ok := p.anyTarget(w, r); ok {
		p.release(w, r, req, s)
	}
}

// anyTarget reads a request about any target and says whether there is one.
func (p *platform) anyTarget(w http.ResponseWriter, r *http.Request) (req PauseRequest, s state.Subscription, ok bool) {
	if !rest.Read(w, r, rest.MaxBody, &req) {
		return req, s, false
	}
	var err error
	switch req.Kind {
	case state.PauseSubscription:
		s, err = p.o.Store.Subscription(r.Context(), req.Target)
	case state.PauseAgent:
		_, err = p.o.Store.Agent(r.Context(), req.Target)
		s.Agent = req.Target
	case state.PauseActor:
		if req.Target == "" || len(req.Target) > maxName {
			bad(w, "name the actor in target")
			return req, s, false
		}
		s.Subscriber = req.Target
	case state.PauseTenant:
		if !caller(r).Has(admins...) {
			p.deny(w, r, trail.PauseTenant, denial{code: "missing_role", detail: "only the role admin may pause or resume everything"})
			return req, s, false
		}
		req.Target = p.o.Tenant
	default:
		bad(w, "kind is %q; write subscription, agent, actor or tenant", req.Kind)
		return req, s, false
	}
	if err != nil {
		p.fail(w, r, req.Kind+" "+req.Target, err)
		return req, s, false
	}
	return req, s, true
}

// brake pauses first and puts it on record with it. What runs is stopped before
// the answer, also if the pause could not be kept on disk.
func (p *platform) brake(w http.ResponseWriter, r *http.Request, req PauseRequest) {
	pause := state.Pause{Kind: req.Kind, Target: req.Target, Reason: req.Reason, Author: caller(r).Name, At: p.now().UTC()}
	if !req.reasoned(w) {
		return
	}
	if req.TTL != "" {
		ttl, err := time.ParseDuration(req.TTL)
		if err != nil || ttl <= 0 || ttl > maxTTL {
			bad(w, "ttl is %q; write a duration such as 2h, at most %s", req.TTL, maxTTL)
			return
		}
		pause.Until = pause.At.Add(ttl)
	}
	out := pauseOf(pause)
	if req.DryRun {
		open, err := p.o.Store.Runs(r.Context(), state.RunFilter{Open: true, Limit: maxRuns})
		if err != nil {
			p.fail(w, r, "runs", err)
			return
		}
		for _, v := range open {
			if pause.Covers(v) {
				out.Stopped++
			}
		}
		rest.Write(w, http.StatusOK, out)
		return
	}
	var err error
	out.Stopped, err = p.o.Brake.Pause(r.Context(), req.Kind, req.Target, pause.Until, brake.By{Actor: pause.Author, Reason: req.Reason})
	if err != nil {
		p.log.Error("pause is not kept; it holds until a restart", "kind", req.Kind, "target", req.Target, "err", err)
		p.fail(w, r, "pause, which holds until a restart,", err)
		return
	}
	rest.Write(w, http.StatusOK, out)
}

// maxTTL caps a pause with an end.
const maxTTL = 366 * 24 * time.Hour

func (p *platform) release(w http.ResponseWriter, r *http.Request, req PauseRequest, s state.Subscription) {
	if !req.reasoned(w) {
		return
	}
	all, err := p.o.Store.Pauses(r.Context())
	if err != nil {
		p.fail(w, r, "pauses", err)
		return
	}
	out := Resumed{Pauses: []Pause{}}
	for _, held := range all {
		if held.Kind == req.Kind && (held.Target == req.Target || held.Kind == state.PauseTenant) {
			out.Pauses = append(out.Pauses, pauseOf(held))
		}
	}
	if len(out.Pauses) == 0 {
		p.fail(w, r, "pause of "+req.Kind+" "+req.Target, state.ErrNotFound)
		return
	}
	if !req.DryRun {
		if err := p.o.Brake.Resume(r.Context(), req.Kind, req.Target, brake.By{Actor: caller(r).Name, Reason: req.Reason}); err != nil {
			p.fail(w, r, "pause of "+req.Kind+" "+req.Target, err)
			return
		}
		if held, ok := p.o.Store.Paused(r.Context(), s.ID, s.Agent, s.Subscriber); ok {
			out.Still = new(pauseOf(held))
		}
	}
	rest.Write(w, http.StatusOK, out)
}

// reasoned asks for a reason, which is kept.
func (req PauseRequest) reasoned(w http.ResponseWriter) bool {
	if strings.TrimSpace(req.Reason) == "" || len(req.Reason) > maxReason {
		bad(w, "say why in reason, with at most %d bytes; it is kept", maxReason)
		return false
	}
	return true
}

func (p *platform) pauses(w http.ResponseWriter, r *http.Request) {
	all, err := p.o.Store.Pauses(r.Context())
	if err != nil {
		p.fail(w, r, "pauses", err)
		return
	}
	list, who := PauseList{Pauses: []Pause{}}, caller(r)
	for _, held := range all {
		if p.concerns(r, held, who.Name) || who.Has(overseers...) {
			list.Pauses = append(list.Pauses, pauseOf(held))
		}
	}
	rest.Write(w, http.StatusOK, list)
}

// concerns reports whether a pause stops something of the user: what stops
// everybody, their subscriptions, themselves, and agents.
func (p *platform) concerns(r *http.Request, held state.Pause, user string) bool {
	switch held.Kind {
	case state.PauseActor:
		return held.Target == user
	case state.PauseSubscription:
		s, err := p.o.Store.Subscription(r.Context(), held.Target)
		return err == nil && s.Subscriber == user
	}
	return true
}

func pauseOf(p state.Pause) Pause {
	return Pause{Kind: p.Kind, Target: p.Target, Reason: p.Reason, Author: p.Author, At: p.At, Until: p.Until, Response: p.Response}
}
