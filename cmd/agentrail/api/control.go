package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/schemas"
)

// ControlRequest is the body of POST control. Author, tenant and time are not
// in it: they come from the credential and the clock.
type ControlRequest struct {
	Verb   string            `json:"verb"`
	Target string            `json:"target"`
	Reason string            `json:"reason"`
	TTL    string            `json:"ttl,omitempty"` // a duration, such as 2h
	Args   map[string]string `json:"args,omitempty"`
}

// ControlReceipt answers it: the control is in the journal at Offset and
// whoever carries it out will read it there.
type ControlReceipt struct {
	Control schemas.Control `json:"control"`
	Offset  uint64          `json:"offset"`
}

// verb says who may ask for it and what its target must be.
type verb struct {
	roles []auth.Role
	check func(a *api, ctx context.Context, tenant, target string) error
	alert bool          // the target is an alert, and the verb must make sense in its state
	args  []string      // that it must have
	ttl   time.Duration // it must have a TTL, of at most so much
	// whole checks the control of a verb that concerns the pipeline of all
	// tenants: only the operator's may ask for it.
	whole func(a *api, ctx context.Context, c schemas.Control) error
}

// verbs are all that can be asked for. What is paused is the executor's to
// know: its targets are not checked here, and its records say what became of
// the control. Pausing is for everybody who works alerts or agents; resuming is
// not for those who only work alerts; panic stops all agents of the tenant.
func verbs() map[string]verb {
	all := map[string]verb{
		"dlq.retry":    {roles: changers, check: (*api).checkDeadLetter},
		"dlq.drop":     {roles: []auth.Role{auth.RoleAdmin}, check: (*api).checkDeadLetter},
		"tenant.panic": {roles: []auth.Role{auth.RoleAdmin}},

		"sink.replay":          {roles: []auth.Role{auth.RoleAdmin}, whole: (*api).checkReplay, args: []string{"from", "to"}},
		"sink.replay_stop":     {roles: []auth.Role{auth.RoleAdmin}, whole: (*api).checkReplay},
		schemas.RuleSuppress:   {roles: changers, ttl: maxSilence, check: (*api).checkRule},
		schemas.RuleUnsuppress: {roles: changers, check: (*api).checkRule},

		schemas.AlertAck:       {roles: changers, alert: true},
		schemas.AlertAssign:    {roles: changers, alert: true, args: []string{"assignee"}},
		schemas.AlertClose:     {roles: changers, alert: true},
		schemas.AlertReopen:    {roles: changers, alert: true},
		schemas.AlertSilence:   {roles: changers, alert: true, ttl: maxSilence},
		schemas.AlertUnsilence: {roles: changers, alert: true},
		schemas.AlertNote:      {roles: changers, alert: true},
	}
	for _, kind := range []string{"subscription", "agent", "actor"} {
		all[kind+".pause"] = verb{roles: []auth.Role{auth.RoleAnalyst, auth.RoleModerator, auth.RoleAdmin}}
		all[kind+".resume"] = verb{roles: moderators}
	}
	for _, name := range []string{schemas.AgentPublish, schemas.AgentUnpublish, schemas.AgentRequestChanges, schemas.ResponseDecline, schemas.ResponseUndo} {
		all[name] = verb{roles: moderators}
	}
	for _, name := range []string{schemas.AgentPublish, schemas.ResponseApprove} { // what was looked at, and nothing else
		all[name] = verb{roles: moderators, args: []string{"digest"}}
	}
	all[schemas.FilterSave] = verb{roles: lookers, args: []string{"query"}}
	all[schemas.FilterDrop] = verb{roles: lookers}
	all["tenant.resume"] = all["tenant.panic"]
	return all
}

// maxSilence is how long one alert may be silenced at once.
const maxSilence = 30 * 24 * time.Hour

// Caps of a control's strings, bytes.
const (
	maxTarget = 1 << 10
	maxReason = 4 << 10
	maxArgs   = 32
)

func (a *api) control(w http.ResponseWriter, r *http.Request) {
	if _, err := params(r); err != nil {
		refuse(w, err)
		return
	}
	var req ControlRequest
	if !readJSON(w, r, &req) {
		return
	}
	c, v, err := req.control()
	if err != nil {
		refuse(w, err)
		return
	}
	receipt, err := a.ask(r.Context(), principal(r), r.Header.Get("Idempotency-Key"), c, v)
	var no *Forbidden
	switch {
	case errors.Is(err, errNotOperator):
		notOperator(w)
	case errors.As(err, &no):
		problem.Write(w, problem.Details{Status: http.StatusForbidden, Title: "Forbidden", Code: "missing_role", Detail: no.Error()})
	case err != nil:
		what := "target "
		if v.alert {
			what = "alert "
		}
		a.fail(w, r, what+c.Target, err)
	default:
		writeJSON(w, http.StatusCreated, receipt)
	}
}

// Forbidden says that the caller has none of the roles that a verb needs.
type Forbidden struct {
	Verb  string
	Roles []auth.Role
}

func (e *Forbidden) Error() string {
	return fmt.Sprintf("%s needs one of the roles %v", e.Verb, e.Roles)
}

// Ask puts what the principal asks for on record, by the rules of POST control.
// Its errors are Forbidden, those of Options, and of a request that makes no
// sense one for which IsBadRequest is true.
func (s *Server) Ask(ctx context.Context, p *auth.Principal, req ControlRequest) (ControlReceipt, error) {
	c, v, err := req.control()
	if err != nil {
		return ControlReceipt{}, err
	}
	return s.a.ask(ctx, p, "", c, v)
}

// Exported puts on record that the principal takes something away.
func (s *Server) Exported(ctx context.Context, p *auth.Principal, verb, target string) error {
	_, err := s.a.appendControl(ctx, p, "", schemas.Control{Verb: verb, Target: target, Reason: "exported"})
	return err
}

var errNotOperator = errors.New("this concerns the pipeline of all tenants")

// IsBadRequest reports whether the error is the caller's, who can read why.
func IsBadRequest(err error) bool { _, ok := errors.AsType[*badParam](err); return ok }

// May reports whether the principal's roles suffice for the verb.
func May(p *auth.Principal, verb string) bool {
	v, ok := verbs()[verb]
	return ok && p != nil && p.Has(v.roles...)
}

func (a *api) ask(ctx context.Context, p *auth.Principal, key string, c schemas.Control, v verb) (ControlReceipt, error) {
	if !p.Has(v.roles...) {
		return ControlReceipt{}, &Forbidden{c.Verb, v.roles}
	}
	var err error
	if v.alert {
		if c.Target, err = a.checkAlert(ctx, p.Tenant, c.Target, c.Verb); err != nil {
			return ControlReceipt{}, err
		}
	}
	if v.check != nil {
		if err := v.check(a, ctx, p.Tenant, c.Target); err != nil {
			return ControlReceipt{}, err
		}
	}
	if v.whole != nil {
		if a.o.Operator != "" && p.Tenant != a.o.Operator {
			return ControlReceipt{}, errNotOperator
		}
		if err := v.whole(a, ctx, c); err != nil {
			return ControlReceipt{}, err
		}
	}
	return a.appendControl(ctx, p, key, c)
}

// control checks the request and returns what it asks for.
func (req ControlRequest) control() (schemas.Control, verb, error) {
	all := verbs()
	v, ok := all[req.Verb]
	if !ok {
		return schemas.Control{}, v, badParamf("verb is %q; known: %s", req.Verb, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	}
	if strings.TrimSpace(req.Reason) == "" {
		return schemas.Control{}, v, badParamf("reason is empty; say why, it is kept with the control")
	}
	if req.Target == "" || len(req.Target) > maxTarget || len(req.Reason) > maxReason || len(req.Args) > maxArgs {
		return schemas.Control{}, v, badParamf("target must have 1 to %d bytes, reason at most %d, args at most %d entries", maxTarget, maxReason, maxArgs)
	}
	c := schemas.Control{Verb: req.Verb, Target: req.Target, Reason: req.Reason, Args: req.Args}
	if req.TTL != "" {
		ttl, err := time.ParseDuration(req.TTL)
		if err != nil || ttl <= 0 {
			return schemas.Control{}, v, badParamf("ttl is %q; write a duration such as 2h", req.TTL)
		}
		c.TTL = ttl
	}
	if v.ttl > 0 && (c.TTL <= 0 || c.TTL > v.ttl) {
		return schemas.Control{}, v, badParamf("%s needs a ttl of at most %s, such as 2h", c.Verb, v.ttl)
	}
	for _, name := range v.args {
		if strings.TrimSpace(c.Args[name]) == "" {
			return schemas.Control{}, v, badParamf("%s needs args.%s", c.Verb, name)
		}
	}
	for name, value := range c.Args {
		if len(name) > maxTarget || len(value) > maxTarget {
			return schemas.Control{}, v, badParamf("args.%.40s is longer than %d bytes", name, maxTarget)
		}
	}
	return c, v, nil
}

// checkAlert returns the whole id of the alert, if the verb makes sense in its
// state.
func (a *api) checkAlert(ctx context.Context, tenant, id, verb string) (string, error) {
	if a.o.Recent.Alert == nil {
		return id, ErrNotFound
	}
	all, err := a.o.Recent.Alert(ctx, tenant, id)
	if err != nil {
		return id, err
	}
	now := all[len(all)-1]
	if now.Life == nil {
		return id, ErrNotFound
	}
	if why := now.Life.At(a.now()).Allows(verb); why != "" {
		return now.ID, fmt.Errorf("%w: %s", ErrState, why)
	}
	return now.ID, nil
}

func (a *api) checkDeadLetter(ctx context.Context, tenant, id string) error {
	if a.o.DeadLetters.Get == nil {
		return ErrNotFound
	}
	_, err := a.o.DeadLetters.Get(ctx, tenant, id)
	return err
}

func (a *api) checkReplay(ctx context.Context, c schemas.Control) error {
	if a.o.CheckReplay == nil {
		return ErrNotFound
	}
	return a.o.CheckReplay(ctx, c)
}

// appendControl completes the control from the credential and the clock and
// returns when it is durable. A request with an Idempotency-Key that this
// caller used before is not appended again.
func (a *api) appendControl(ctx context.Context, p *auth.Principal, key string, c schemas.Control) (ControlReceipt, error) {
	now := a.now().UTC()
	var id schemas.ID
	if key != "" {
		sum := sha256.Sum256(fmt.Appendf(nil, "agentrail/control\x00%s\x00%s\x00%s", p.Tenant, p.Name, key))
		id = schemas.ID(sum[:16])
	} else if _, err := rand.Read(id[:]); err != nil {
		return ControlReceipt{}, fmt.Errorf("make control id: %w", err)
	}
	c.ID, c.Tenant, c.Author, c.At = id.String(), p.Tenant, p.Name, now
	for _, role := range p.Roles {
		c.Roles = append(c.Roles, string(role))
	}
	if a.o.Prove != nil {
		var err error
		if c.Proof, err = a.o.Prove(c); err != nil {
			return ControlReceipt{}, err
		}
	}
	b, err := a.o.Own(p.Tenant, schemas.ClassControl, "control", now.UnixNano(), c)
	if err != nil {
		return ControlReceipt{}, fmt.Errorf("make control event: %w", err)
	}
	b.Header.ID = id
	offset, err := a.o.Append(ctx, b)
	if err != nil {
		return ControlReceipt{}, fmt.Errorf("append control: %w", err)
	}
	return ControlReceipt{Control: c, Offset: offset}, nil
}
