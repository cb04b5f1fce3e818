package platform

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/problem"
)

// Log is the name that records of the executor have.
const Log = "agentrail/logs/executor"

// who is the caller of a request as records name them.
func (p *platform) who(r *http.Request) trail.Who {
	c := caller(r)
	w := trail.Who{Program: "agentrail-executor/" + p.o.Version, Log: Log, User: c.Name, Initiator: trail.InitiatorUser}
	if c.Has(auth.RoleAdmin) {
		w.UserType = "ADMIN"
	}
	return w
}

// subscriptionRecord is the record of what the caller does to a subscription.
func (p *platform) subscriptionRecord(r *http.Request, verb trail.Verb, s state.Subscription, changes map[string]trail.Change) trail.Record {
	w := p.who(r)
	w.Agent, w.Subscription, w.Owner = s.Agent, s.ID, s.Subscriber
	return w.Act(trail.Act{Verb: verb, At: p.now(), Changes: changes})
}

// agentRecord is the record of what the caller does to an agent.
func (p *platform) agentRecord(r *http.Request, verb trail.Verb, a state.Agent, reason string, changes map[string]trail.Change) trail.Record {
	w := p.who(r)
	w.Agent, w.Version, w.Owner = a.Name, a.Version, a.Owner
	return w.Act(trail.Act{Verb: verb, At: p.now(), Reason: reason, Changes: changes})
}

// noteRead puts on record that somebody read what is worth a record. The reader
// does not wait for it.
func (p *platform) noteRead(r *http.Request, verb trail.Verb, run state.Run) {
	w := p.who(r)
	w.Agent, w.Subscription, w.Run, w.Owner = run.Agent, run.Subscription, run.ID, run.User
	p.note(w.Act(trail.Act{Verb: verb, At: p.now()}))
}

func (p *platform) note(rec trail.Record) {
	if !p.o.Record.Reserve() {
		p.log.Error("too many records wait; one of a read or a refusal is lost")
		p.metrics.lost.Inc()
		return
	}
	if err := p.o.Record.Put(rec); err != nil {
		p.log.Error("record is not kept", "err", err)
		p.metrics.lost.Inc()
	}
}

// denial is a refusal that goes on record.
type denial struct {
	status       int // 0 means 403
	code, detail string
	agent        string
	subscription state.Subscription
	run          string
	verdict      *gate.Verdict
}

// deny answers with the refusal and puts it on record.
func (p *platform) deny(w http.ResponseWriter, r *http.Request, verb trail.Verb, d denial) {
	if d.status == 0 {
		d.status = http.StatusForbidden
	}
	who := p.who(r)
	who.Agent, who.Subscription, who.Run, who.Owner = d.agent, d.subscription.ID, d.run, d.subscription.Subscriber
	if who.Agent == "" {
		who.Agent = d.subscription.Agent
	}
	code := d.code
	if d.status == http.StatusNotFound {
		code = "insufficient_permissions" // whoever asks is not told that there is one; the record says it
	}
	p.note(who.Act(trail.Act{Verb: verb, At: p.now(), Status: http.StatusForbidden, Problem: code, Reason: d.detail, Verdict: d.verdict}))
	p.metrics.refused.Inc()
	out := problem.Details{Status: d.status, Code: d.code, Detail: d.detail}
	if d.verdict != nil {
		out.Extensions = map[string]any{"verdict": d.verdict}
	}
	problem.Write(w, out)
}

// refuse answers a caller without the role.
func (p *platform) refuse(w http.ResponseWriter, r *http.Request, to route, who *auth.Principal) {
	d := denial{code: "missing_role", agent: r.PathValue("name"), detail: fmt.Sprintf("%s %s needs the role %s; principal %q has %s", r.Method, r.URL.Path, words(to.roles), who.Name, words(who.Roles))}
	if to.act == trail.PublishAgent {
		d.code, d.detail = "can_share_and_publish_agents", d.detail+"; default members may not share or publish agents"
	}
	if to.act == "" {
		problem.Write(w, problem.Details{Status: http.StatusForbidden, Code: d.code, Detail: d.detail})
		return
	}
	p.deny(w, r, to.act, d)
}

// words lists roles as the middleware does.
func words(roles []auth.Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, " or ")
}

// newID returns an id with the prefix. A request with an Idempotency-Key gets
// the same id each time the same caller sends it.
func (p *platform) newID(prefix string, r *http.Request) string {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		return trail.NewID(prefix)
	}
	return OnceID(prefix, caller(r).Name, key)
}

// OnceID is the id, such as sub_…, of what the caller makes by a request with that
// Idempotency-Key.
func OnceID(prefix, caller, key string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "agentrail/%s\x00%s\x00%s", prefix, caller, key))
	return prefix + "_" + hex.EncodeToString(sum[:10])
}
