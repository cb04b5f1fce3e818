package response

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/plug"
)

// Refusal is why a person's answer or request does not count.
type Refusal struct {
	Status int    // of HTTP
	Code   string // stable name
	Text   string // for people, with what to do
}

func (e *Refusal) Error() string { return e.Text }

func refusal(status int, code, format string, args ...any) error {
	return &Refusal{status, code, fmt.Sprintf(format, args...)}
}

// mayApprove are the roles that approve, decline and take back; of a panic it
// is admins alone.
func mayApprove(action string) []auth.Role {
	if action == Panic {
		return []auth.Role{auth.RoleAdmin}
	}
	return []auth.Role{auth.RoleModerator, auth.RoleAdmin}
}

// mayAsk are the roles that ask for the action.
func mayAsk(action string) []auth.Role {
	switch action {
	case Panic:
		return []auth.Role{auth.RoleAdmin}
	case RemoveSubscription, UnshareAgent:
		return []auth.Role{auth.RoleModerator, auth.RoleAdmin}
	}
	return []auth.Role{auth.RoleAnalyst, auth.RoleModerator, auth.RoleAdmin}
}

// Digest is what an approval is for: the action, its target, how long and
// through what. One that names another digest does not count.
func Digest(r *state.Response) string {
	h := sha256.New()
	for _, s := range []string{r.ID, r.Action, r.Target, r.Via, r.TTL.String(), strconv.FormatInt(r.Asked.UnixNano(), 10)} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Approve is one person's yes to a response that waits. What does not count is
// refused and put on record: an answer by who may not, for something else than
// it is about, twice by the same person, or too late.
func (r *Responder) Approve(ctx context.Context, p *auth.Principal, id, digest, reason string) (state.Response, error) {
	j, err := r.take(ctx, p, id)
	if err != nil {
		return state.Response{}, err
	}
	defer r.giveBack(ctx, j)
	now := r.o.Now()
	switch by := func(a state.Answer) bool { return a.By == p.Name }; {
	case !p.Has(mayApprove(j.r.Action)...):
		return j.r, r.refuse(j, p, 403, "missing_role", "approval by %s, who has none of the roles %v", p.Name, mayApprove(j.r.Action))
	case digest != "" && digest != Digest(&j.r):
		return j.r, r.refuse(j, p, 409, "forged", "approval by %s is for something else than this response", p.Name)
	case slices.ContainsFunc(j.r.Answers, by):
		return j.r, r.refuse(j, p, 409, "replayed", "approval by %s, who has approved already; another person must", p.Name)
	case j.r.Status == Expired || j.r.Status == Waiting && !now.Before(j.r.AnswerBy):
		return j.r, r.refuse(j, p, 409, "late", "approval by %s came after %s, when the time for it was over", p.Name, j.r.AnswerBy.UTC().Format(time.RFC3339))
	case j.r.Status != Waiting:
		return j.r, r.refuse(j, p, 409, "not_waiting", "approval by %s of a response that is %s and waits for none", p.Name, j.r.Status)
	}
	j.r.Answers = append(j.r.Answers, state.Answer{By: p.Name, Reason: cut(reason, maxReason), At: now})
	r.happen(j, approved, p.Name, fmt.Sprintf("approval %d of %d: %s", len(j.r.Answers), j.r.Need, cmp.Or(reason, "no reason given")))
	if len(j.r.Answers) >= j.r.Need {
		r.request(j, p.Name, "approved by "+names(j.r.Answers))
	}
	return j.r, nil
}

func names(answers []state.Answer) string {
	var out []string
	for _, a := range answers {
		out = append(out, a.By)
	}
	return strings.Join(out, " and ")
}

// Decline is a person's no to a response that waits. It is final.
func (r *Responder) Decline(ctx context.Context, p *auth.Principal, id, reason string) (state.Response, error) {
	return r.end(ctx, p, id, reason, func(j *job) error {
		if j.r.Status != Waiting {
			return refusal(409, "not_waiting", "%s is %s and waits for no answer", id, j.r.Status)
		}
		r.move(j, Declined, p.Name, reason)
		return nil
	})
}

// Undo takes a response back before its time is over.
func (r *Responder) Undo(ctx context.Context, p *auth.Principal, id, reason string) (state.Response, error) {
	return r.end(ctx, p, id, reason, func(j *job) error {
		switch {
		case over(j.r.Status):
			return refusal(409, "over", "%s is %s; there is nothing to take back", id, j.r.Status)
		case j.r.Status == Waiting:
			r.move(j, Declined, p.Name, reason)
		case j.r.Status != Undoing:
			r.undo(j, p.Name, reason)
		}
		return nil
	})
}

func (r *Responder) end(ctx context.Context, p *auth.Principal, id, reason string, do func(*job) error) (state.Response, error) {
	if strings.TrimSpace(reason) == "" {
		return state.Response{}, refusal(400, "no_reason", "reason is empty; say why, it is kept with the response")
	}
	j, err := r.take(ctx, p, id)
	if err != nil {
		return state.Response{}, err
	}
	defer r.giveBack(ctx, j)
	if !p.Has(mayApprove(j.r.Action)...) {
		return j.r, r.refuse(j, p, 403, "missing_role", "%s has none of the roles %v", p.Name, mayApprove(j.r.Action))
	}
	return j.r, errors.Join(do(j))
}

// Request is what a person asks for.
type Request struct {
	Action string        `json:"action"`
	Target string        `json:"target"`
	Via    string        `json:"via,omitempty"` // default: executor
	Reason string        `json:"reason"`
	TTL    time.Duration `json:"ttl_ns,omitempty"` // default: 1h
	DryRun bool          `json:"dry_run,omitempty"`
}

// ParseTTL reads how long a response is to hold: 30m, 2h or 7d.
func ParseTTL(s string) (time.Duration, error) {
	var d plug.Duration
	if err := d.UnmarshalText([]byte(s)); err != nil {
		return 0, err
	}
	if ttl := time.Duration(d); ttl < minTTL || ttl > maxTTL {
		return 0, fmt.Errorf("%s is not within 1s and 30d", s)
	}
	return time.Duration(d), nil
}

// Ask begins what a person asks for, or, in a dry run, says what it would be.
// Caps, cool-downs and the protected list are for policies, not for people.
func (r *Responder) Ask(ctx context.Context, p *auth.Principal, q Request) (state.Response, error) {
	def(&q.Via, own)
	def(&q.TTL, time.Hour)
	if q.Action == Panic {
		q.Target = r.o.Tenant
	}
	switch t := r.o.Targets[q.Via]; {
	case !slices.Contains(allActions, q.Action):
		return state.Response{}, refusal(400, "bad_action", "action is %q; known: %s", q.Action, strings.Join(allActions, ", "))
	case !p.Has(mayAsk(q.Action)...):
		return state.Response{}, refusal(403, "missing_role", "%s needs one of the roles %v", q.Action, mayAsk(q.Action))
	case t == nil:
		return state.Response{}, refusal(400, "bad_via", "there is no target %q", q.Via)
	case !t.can(q.Action) && t.Otherwise == "":
		return state.Response{}, refusal(400, "no_call", "target %s has no call for %s; give it one, or otherwise: a target of kind task", q.Via, q.Action)
	case q.Target == "" || len(q.Target) > 1<<10:
		return state.Response{}, refusal(400, "bad_target", "target must have 1 to 1024 bytes")
	case strings.TrimSpace(q.Reason) == "":
		return state.Response{}, refusal(400, "no_reason", "reason is empty; say why, it is kept with the response")
	case q.TTL < minTTL || q.TTL > maxTTL:
		return state.Response{}, refusal(400, "bad_ttl", "ttl must be 1s to 30d")
	}
	r.deciding.Lock()
	defer r.deciding.Unlock()
	now := r.o.Now()
	one := state.Response{
		ID: responseID("", p.Name+strconv.FormatInt(now.UnixNano(), 10), q.Target, 0), Author: p.Name, Reason: cut(q.Reason, maxReason), Mode: Enforce,
		Action: q.Action, Target: q.Target, Via: q.Via, TTL: q.TTL, Resolved: r.reach(ctx, q.Action, q.Target), Asked: now, Need: r.o.Policies.approvals(q.Action, 0),
	}
	if one.Need > 0 {
		one.Answers = []state.Answer{{By: p.Name, Reason: one.Reason, At: now}}
	}
	if q.DryRun {
		one.ID, one.Status = "", "dry-run"
		return one, nil
	}
	return r.start(ctx, one), nil
}

// reach says which subscriptions an action reaches.
func (r *Responder) reach(ctx context.Context, action, target string) string {
	q := Query{}
	switch kindOf(action) {
	case "subscription":
		return "subscription " + target + ", named by the person"
	case "agent":
		q.Agent = target
	case "actor":
		q.Subscriber = target
	}
	subs, err := r.o.Resolve(ctx, q)
	if err != nil {
		return kindOf(action) + " " + target + "; which subscriptions that reaches cannot be read: " + err.Error()
	}
	return fmt.Sprintf("%s %s -> %s: %s", kindOf(action), target, count(subs), list(subs))
}

// take finds a response and holds its turn. One that is over is read from the
// store, for what is refused belongs on its timeline.
func (r *Responder) take(ctx context.Context, p *auth.Principal, id string) (*job, error) {
	for {
		j := r.opened(id)
		if j == nil {
			return r.takeOver(ctx, p, id)
		}
		select {
		case <-j.turn:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for response %s: %w", id, ctx.Err())
		}
		if r.opened(id) == j {
			return j, nil
		}
		j.turn <- struct{}{} // it ended meanwhile
	}
}

func (r *Responder) opened(id string) *job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open[id]
}

// takeOver is take of a response that is over: one caller at a time, until
// giveBack.
func (r *Responder) takeOver(ctx context.Context, p *auth.Principal, id string) (*job, error) {
	r.closed.Lock()
	one, _, err := r.o.Store.Response(ctx, id)
	if errors.Is(err, state.ErrNotFound) {
		err = r.unknown(ctx, p, id)
	}
	if err != nil {
		r.closed.Unlock()
		return nil, err
	}
	j := newJob(one)
	<-j.turn
	return j, nil
}

func (r *Responder) giveBack(ctx context.Context, j *job) {
	open := r.opened(j.r.ID) == j
	r.enter(ctx, j)
	if !open {
		r.closed.Unlock()
	}
	wake(r.kick)
}

// maxTimeline is how long a timeline may get by answers that are refused.
const maxTimeline = 500

// refuse puts an answer that does not count on record.
func (r *Responder) refuse(j *job, p *auth.Principal, status int, code, format string, args ...any) error {
	r.metrics.refused.Inc()
	err := refusal(status, code, format, args...)
	if j.r.Events < maxTimeline {
		r.happen(j, refused, p.Name, err.Error())
	}
	return err
}

// unknown refuses an answer to a response that there never was. So many an hour
// go on record.
func (r *Responder) unknown(ctx context.Context, p *auth.Principal, id string) error {
	r.metrics.refused.Inc()
	now := r.o.Now()
	r.mu.Lock()
	n := r.bounds.hold("\x00unknown", now)
	r.mu.Unlock()
	err := refusal(404, "not_found", "there is no response %s; see agentrail responses", cut(id, 100))
	if n <= maxHeld {
		one := state.Response{
			ID: responseID("\x00unknown", p.Name+strconv.FormatInt(now.UnixNano(), 10), id, n), Author: p.Name, Reason: "answer to a response that does not exist",
			Mode: Shadow, Target: cut(id, 100), Asked: now, Status: refused, Ended: now,
		}
		j := newJob(one)
		<-j.turn
		r.move(j, refused, p.Name, err.Error())
		r.enter(ctx, j)
	}
	return err
}
