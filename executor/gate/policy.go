package gate

import (
	"context"
	"embed"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

//go:embed policies/*.cedar
var shipped embed.FS

// judge is a gate whose decision is a set of Cedar policies over facts that Go
// reads from the action.
type judge struct {
	name    string
	rules   *Rules
	set     []policy
	facts   func(r *Rules, a Action) cedar.RecordMap
	explain func(r *Rules, a Action, policy string) why
}

// why is what a denial shows: the values, and the place in the rules.
type why struct {
	seen, allowed string
	line          int
}

// policy is one Cedar policy with what its annotations say about a denial.
type policy struct {
	id, reason, code, role string
	effect                 cedar.Effect
	body                   *cedar.Policy
}

// newJudge compiles the shipped policies of a gate, which must be right.
func newJudge(name string, r *Rules, facts func(*Rules, Action) cedar.RecordMap, explain func(*Rules, Action, string) why) *judge {
	file := "policies/" + name + ".cedar"
	text, err := shipped.ReadFile(file)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	set, err := compile(name, file, text)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return &judge{name: name, rules: r, set: set, facts: facts, explain: explain}
}

// compile reads policies in the order of the file. Those without @id are named
// by their place.
func compile(gate, file string, text []byte) ([]policy, error) {
	list, err := cedar.NewPolicyListFromBytes(file, text)
	if err != nil {
		return nil, fmt.Errorf("read policies %s: %w", file, err)
	}
	var out []policy
	for _, p := range list {
		notes := p.Annotations()
		note := func(key, otherwise string) string {
			if v := string(notes[types.AnnotationKey(key)]); v != "" {
				return v
			}
			return otherwise
		}
		out = append(out, policy{
			id:     note("id", fmt.Sprintf("%s:%d", file, p.Position().Line)),
			reason: note("reason", "a policy of "+file+" says no"), code: note("code", "insufficient_permissions"), role: note("role", "admin"),
			effect: p.Effect(), body: p,
		})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read policies %s: there is none for gate %s", file, gate)
	}
	return out, nil
}

// Check implements Gate.
func (j *judge) Check(_ context.Context, a Action) Verdict {
	request := cedar.Request{
		Principal: cedar.NewEntityUID("User", cedar.String(a.User)),
		Action:    cedar.NewEntityUID("Action", cedar.String(a.access())),
		Resource:  cedar.NewEntityUID("Tool", cedar.String(a.Tool)),
		Context:   cedar.NewRecord(j.facts(j.rules, a)),
	}
	allow, diagnostic := cedar.Authorize(policies(j.set), nil, request)
	if len(diagnostic.Errors) > 0 {
		e := diagnostic.Errors[0]
		return Verdict{Gate: j.name, Policy: string(e.PolicyID), Code: CodeInternal, Reason: "the policy could not be evaluated: " + e.Message, File: j.rules.File, Role: "admin"}
	}
	if allow {
		return Verdict{Allow: true}
	}
	p := j.denied(diagnostic)
	v := Verdict{Gate: j.name, Policy: p.id, Code: p.code, Reason: p.reason, Role: p.role, File: j.rules.File}
	if j.explain != nil {
		w := j.explain(j.rules, a, p.id)
		v.Seen, v.Allowed, v.Line = w.seen, w.allowed, w.line
	}
	return v
}

// denied is the policy that a denial names: the first forbid that held, else
// the last permit, which is the one that somebody can open.
func (j *judge) denied(d cedar.Diagnostic) policy {
	last := j.set[0]
	for _, p := range j.set {
		if p.effect == cedar.Permit {
			last = p
			continue
		}
		if slices.ContainsFunc(d.Reasons, func(r cedar.DiagnosticReason) bool { return string(r.PolicyID) == p.id }) {
			return p
		}
	}
	return last
}

func (a Action) access() Access {
	if a.write() {
		return Write
	}
	return Read
}

// policies is what cedar iterates over: in the order of the file.
type policies []policy

func (s policies) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, p := range s {
			if !yield(cedar.PolicyID(p.id), p.body) {
				return
			}
		}
	}
}

// base holds the facts that every gate has.
func base(a Action) cedar.RecordMap {
	return cedar.RecordMap{
		"background": cedar.Boolean(a.background()), "write": cedar.Boolean(a.write()),
		"confirmed": cedar.Boolean(a.Confirmed && !a.background()),
	}
}

// texts makes a Cedar set of strings.
func texts(list []string) cedar.Value {
	out := make([]cedar.Value, len(list))
	for i, s := range list {
		out[i] = cedar.String(s)
	}
	return cedar.NewSet(out...)
}

// quoted lists values for a denial, cut to what a line can hold.
func quoted(list []string) string {
	const most = 5
	var out []string
	for i, s := range list {
		if i == most {
			out = append(out, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		out = append(out, quote(s))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// quote shows a value with every character that is not ASCII spelled out, so
// that look-alikes can be told apart.
func quote(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return fmt.Sprintf("%+q", s)
}
