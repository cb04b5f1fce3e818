package detectors

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("subscription", openSubscription) }

// Rules of the subscription detector.
const (
	RuleSubscription        = "subscription"         // by a non-owner, off-hours, or widening: high
	RuleSubscriptionRoutine = "subscription.routine" // by the owner in hours: informational
	RuleSubscriptionAttempt = "subscription.attempt" // refused or failed
)

// subscription tells of every creation, edit and deletion of a subscription:
// who, what, on which agent, at what local time. It keeps no state: ownership
// is the inventory's.
type subscription struct {
	deps    Deps
	hours   hours
	tenants map[string]hours
	quiet   time.Duration
}

type subscriptionConfig struct {
	hoursConfig `yaml:",inline"`
	// Tenants have hours of their own where they differ.
	Tenants map[string]hoursConfig `yaml:"tenants"`
	// Quiet is how long an alert stays open after its last evidence.
	Quiet plug.Duration `yaml:"quiet"`
}

func openSubscription(c plug.Config, d Deps) (Detector, error) {
	cfg := subscriptionConfig{
		hoursConfig: hoursConfig{Hours: "07:00-19:00", Weekdays: dayNames},
		Quiet:       plug.Duration(time.Hour),
	}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	s := &subscription{deps: d, tenants: map[string]hours{}, quiet: time.Duration(cfg.Quiet)}
	if s.quiet <= 0 {
		return nil, c.Errorf("quiet: must be more than 0")
	}
	var err error
	if s.hours, err = cfg.parse(hours{}); err != nil {
		return nil, c.Errorf("%v", err)
	}
	for tenant, h := range cfg.Tenants {
		if s.tenants[tenant], err = h.parse(s.hours); err != nil {
			return nil, c.Errorf("tenants: %s: %v", tenant, err)
		}
	}
	return s, nil
}

// Quiet returns how long alerts stay open.
func (s *subscription) Quiet() time.Duration { return s.quiet }

// Advance does nothing: alerts are raised at their event.
func (s *subscription) Advance(time.Time, func(schemas.Alert)) {}

// Observe raises an alert for each change of a subscription.
func (s *subscription) Observe(ev *schemas.Event, raise func(schemas.Alert)) {
	switch ev.Action {
	case "subscription.create", "subscription.edit", "subscription.delete":
		raise(s.judge(ev))
	}
}

// judgement is what is known about one change.
type judgement struct {
	ev       *schemas.Event
	verb     string // create, edit, delete
	owners   []string
	by       ownership
	offHours bool
	wider    []string
	changes  []schemas.Change
	refusal  refused
	failed   bool
	local    string // when, in the tenant's zone
	hours    string // that are worked

	why, unseen []string
}

type ownership uint8

const (
	byUnknown ownership = iota
	byOwner
	byOther
)

func (s *subscription) judge(ev *schemas.Event) schemas.Alert {
	j := &judgement{ev: ev, verb: strings.TrimPrefix(ev.Action, "subscription.")}
	s.judgeOwner(j)
	s.judgeTime(j)
	s.judgeChange(j)
	j.refusal = s.deps.Words.refusal(ev)
	j.failed = j.refusal != refusedNot || ev.Outcome == schemas.OutcomeError || ev.Outcome == schemas.OutcomeDenied || ev.Outcome == schemas.OutcomeCancelled
	if ev.Outcome == schemas.OutcomeUnknown && !j.failed {
		j.unseen = append(j.unseen, "the record does not say whether the call succeeded; it is taken as done")
	}
	return s.alert(j)
}

func (s *subscription) judgeOwner(j *judgement) {
	in, ev := s.deps.Names, j.ev
	who, how := in.owners(ev)
	j.owners = who
	switch {
	case ev.Actor == "" && ev.ActorEmail == "":
		j.unseen = append(j.unseen, "the record names no actor")
	case len(who) == 0 && j.verb == "create":
		j.by = byOwner
		j.why = append(j.why, "nobody is known to own the agent or a subscription of it, so its first subscriber counts as owner")
	case len(who) == 0:
		j.unseen = append(j.unseen, "the owner: no create record of the subscription or the agent was seen")
	default:
		j.by = byOther
		if slices.ContainsFunc(who, func(o string) bool { return in.same(ev.Tenant, o, ev.Actor) || in.same(ev.Tenant, o, ev.ActorEmail) }) {
			j.by = byOwner
		}
		j.why = append(j.why, how)
	}
	if ev.Subscription == "" {
		j.unseen = append(j.unseen, "which subscription: the record names only the agent")
	}
}

func (s *subscription) judgeTime(j *judgement) {
	h, ok := s.tenants[j.ev.Tenant]
	if !ok {
		h = s.hours
	}
	if j.ev.Flags&schemas.FlagTimeMissing != 0 {
		j.unseen = append(j.unseen, "when it happened: the record has no usual time, so the time of receipt is judged")
	}
	in, local := h.working(eventTime(j.ev), s.deps.Zone(j.ev.Tenant))
	j.offHours, j.local, j.hours = !in, local, h.String()
	where := "within"
	if j.offHours {
		where = "outside"
	}
	j.why = append(j.why, fmt.Sprintf("%s is %s the working hours %s", local, where, j.hours))
}

func (s *subscription) judgeChange(j *judgement) {
	if j.verb == "delete" {
		return
	}
	j.changes = s.deps.Words.changesOf(j.ev)
	scope := s.deps.Words.scopeOf(j.ev)
	if len(j.changes) == 0 && j.verb == "edit" && scope != "" {
		if sub := s.deps.Names.subs.peek(thing{j.ev.Tenant, j.ev.Subscription}); sub != nil && sub.val.scope != "" && sub.val.scope != scope {
			j.changes = []schemas.Change{{Field: "scope", Before: sub.val.scope, After: scope}}
			j.why = append(j.why, "the scope before is that of an earlier record of the subscription")
		}
	}
	for _, c := range j.changes {
		if s.deps.Words.widens(c) {
			j.wider = append(j.wider, fmt.Sprintf("%s from %q to %q", c.Field, c.Before, c.After))
		}
	}
	if len(j.changes) == 0 && j.verb == "edit" {
		j.unseen = append(j.unseen, "the source does not say what changed")
	}
}

func (s *subscription) alert(j *judgement) schemas.Alert {
	ev := j.ev
	a := schemas.Alert{
		Tenant: ev.Tenant, Actor: clone(ev.Actor), ActorEmail: clone(ev.ActorEmail), Agent: clone(ev.Agent),
		Subscription: clone(ev.Subscription), Run: clone(ev.Run), Initiator: ev.Initiator.String(),
		LastSeen: time.Unix(0, eventTime(ev)).UTC(), Evidence: evidenceOf(ev), Changes: j.changes,
		Why: j.why, Unseen: j.unseen, Tags: j.tags(),
		Next: []string{"agentrail events" + j.place() + " --action subscription." + j.verb},
	}
	a.Rule, a.Severity = j.rule()
	a.Entity = s.entity(j, a.Rule)
	a.Confidence = j.confidence()
	if len(j.owners) == 1 && j.by == byOther {
		a.OnBehalfOf = s.deps.Names.User(ev.Tenant, j.owners[0])
	}
	a.Title, a.Reason = s.words(j)
	if a.Rule == RuleSubscription {
		a.Transition = schemas.TransitionOpen
	}
	return a
}

// place is the filter for what else happened to the same thing.
func (j *judgement) place() string {
	switch ev := j.ev; {
	case ev.Agent != "":
		return " --agent " + quote(ev.Agent)
	case ev.Subscription != "":
		return " --subscription " + quote(ev.Subscription)
	case ev.Actor != "" || ev.ActorEmail != "":
		return " --actor " + quote(cmp.Or(ev.Actor, ev.ActorEmail))
	}
	return ""
}

func (j *judgement) suspicious() bool { return j.by == byOther || j.offHours || len(j.wider) > 0 }

func (j *judgement) rule() (string, schemas.Severity) {
	switch {
	case j.failed && (j.refusal == refusedAuth || j.refusal == refusedThrottle):
		return RuleSubscriptionAttempt, schemas.SeverityInformational
	case j.failed && j.suspicious():
		return RuleSubscriptionAttempt, schemas.SeverityMedium
	case j.failed:
		return RuleSubscriptionAttempt, schemas.SeverityInformational
	case j.suspicious():
		return RuleSubscription, schemas.SeverityHigh
	case j.by == byUnknown:
		return RuleSubscriptionRoutine, schemas.SeverityLow
	}
	return RuleSubscriptionRoutine, schemas.SeverityInformational
}

// entity is the subscription, or the agent where the record names none; of
// attempts it is who tried, so that one who tries everywhere is told once.
func (s *subscription) entity(j *judgement, rule string) schemas.Entity {
	actor := cmp.Or(j.ev.Actor, j.ev.ActorEmail)
	switch {
	case rule == RuleSubscriptionAttempt && actor != "":
		return schemas.Entity{Kind: "actor", ID: clone(actor)}
	case j.ev.Subscription != "":
		return schemas.Entity{Kind: "subscription", ID: clone(j.ev.Subscription)}
	case j.ev.Agent != "":
		return schemas.Entity{Kind: "agent", ID: clone(j.ev.Agent)}
	case actor != "":
		return schemas.Entity{Kind: "actor", ID: clone(actor)}
	}
	return schemas.Entity{Kind: "tenant", ID: clone(j.ev.Tenant)}
}

func (j *judgement) confidence() string {
	switch {
	case j.by == byUnknown || j.ev.Flags&schemas.FlagSuspicious != 0:
		return "low"
	case j.by == byOther && j.ev.Subscription == "" && j.ev.Owner == "":
		return "medium"
	}
	return "high"
}

func (j *judgement) tags() []string {
	t := []string{"attack.atlas.aml.t0081", "owasp.asi10", "action.subscription." + j.verb}
	if j.by == byOther {
		t = append(t, "owasp.asi03")
	}
	if j.verb == "create" {
		t = append(t, "attack.atlas.aml.t0103")
	}
	return t
}

var pastTense = map[string]string{"create": "created", "edit": "edited", "delete": "deleted"}

// words returns the title and the sentence.
func (s *subscription) words(j *judgement) (title, reason string) {
	in, ev := s.deps.Names, j.ev
	who := "Somebody"
	if ev.Actor != "" || ev.ActorEmail != "" {
		who = cmp.Or(ev.ActorEmail, in.User(ev.Tenant, ev.Actor))
	}
	what := "a subscription"
	if ev.Subscription != "" {
		what = "subscription " + ev.Subscription
	}
	if ev.Agent != "" {
		what += " of agent " + in.Agent(ev.Tenant, ev.Agent)
	}
	did := pastTense[j.verb]
	title = "Subscription " + did
	if j.failed {
		did, title = "tried to "+j.verb, "Attempt to "+j.verb+" a subscription"
	}
	when := "on " + j.local
	var notes []string
	switch {
	case j.by == byOther:
		title += " by a non-owner"
		notes = append(notes, "the owner is "+s.people(ev.Tenant, j.owners))
	case j.by == byOwner:
		who += ", its owner,"
	default:
		notes = append(notes, "the owner is not known")
	}
	if j.offHours {
		title += " off-hours"
		when += ", outside the working hours " + j.hours
	}
	if len(j.wider) > 0 {
		title += ", scope widened"
		notes = append(notes, "this widened "+strings.Join(j.wider, ", "))
	}
	if j.failed {
		notes = append(notes, "the call was not carried out ("+cmp.Or(ev.Reason, ev.OutcomeText, ev.Outcome.String())+")")
	}
	return title, strings.Join(append([]string{fmt.Sprintf("%s %s %s %s", who, did, what, when)}, notes...), "; ") + "."
}

func (s *subscription) people(tenant string, ids []string) string {
	const most = 3
	var out []string
	for _, id := range ids[:min(len(ids), most)] {
		out = append(out, s.deps.Names.User(tenant, id))
	}
	if n := len(ids) - len(out); n > 0 {
		out = append(out, fmt.Sprintf("%d others", n))
	}
	return strings.Join(out, " or ")
}

// evidenceOf points at the event's record.
func evidenceOf(ev *schemas.Event) []schemas.Evidence {
	return []schemas.Evidence{{ID: ev.ID.String(), Shard: ev.Shard, Offset: ev.Offset, Index: ev.Index, Time: ev.When()}}
}

// quote makes a value fit for a shell command that a person pastes.
func quote(s string) string {
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.@:/+", c) >= 0) {
			return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
		}
	}
	return cmp.Or(s, "''")
}
