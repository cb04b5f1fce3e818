package platform

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/internal/rest"
)

// review answers with all that a moderator has to look at before the agent may
// write in background. ?user= asks the gates on behalf of that user; without,
// on behalf of the caller.
func (p *platform) review(w http.ResponseWriter, r *http.Request) {
	a, ok := p.named(w, r)
	if !ok {
		return
	}
	s, faults := executor.Parse(a.Name, a.Spec)
	if s == nil {
		problem.Write(w, problem.Details{Status: http.StatusConflict, Code: "spec_invalid", Detail: "the spec that is kept cannot be read by this version: " + faultText(faults)})
		return
	}
	doc, err := p.agentOf(r, a)
	if err != nil {
		p.fail(w, r, "agent "+a.Name, err)
		return
	}
	user := r.URL.Query().Get("user")
	if user == "" {
		user = caller(r).Name
	}
	out := Review{Agent: doc, Spec: a.Spec, MaySubscribe: audienceText(a), Warnings: []string{}, Diff: diff(a.PublishedSpec, a.Spec), Gates: p.answers(r, a, s, user)}
	for _, f := range faults {
		out.Warnings = append(out.Warnings, fmt.Sprintf("line %d: %s", f.Line, f.Message))
	}
	out.describe(s)
	rest.Write(w, http.StatusOK, out)
}

func faultText(faults []executor.Fault) string {
	for _, f := range faults {
		if f.Severity == executor.SeverityError {
			return fmt.Sprintf("line %d: %s", f.Line, f.Message)
		}
	}
	return "no fault"
}

// describe fills what stands in the spec.
func (out *Review) describe(s *executor.Spec) {
	out.Inputs, out.Actions, out.Destinations = []Input{}, []Action{}, []Destination{}
	for i, g := range s.GateInputs() {
		in := s.Inputs[i]
		row := Input{Source: in.Source, Kind: or(in.Kind, "collection"), Visibility: in.Visibility, Domains: in.Domains, Untrusted: g.Untrusted()}
		if in.Review != nil {
			row.Review = fmt.Sprintf("%s on %s: %s", in.Review.By, in.Review.Date, in.Review.Reason)
		}
		out.Inputs = append(out.Inputs, row)
	}
	for _, step := range s.Steps {
		if a := step.Action; a != nil {
			out.Actions = append(out.Actions, Action{
				Step: step.Name, Tool: a.Tool, Access: or(a.Access, string(gate.Write)), Destructive: a.Destructive,
				Destination: a.Destination, Auth: or(a.Auth, "user"), Scopes: a.Scopes,
			})
		}
	}
	for _, d := range s.Destinations {
		out.Destinations = append(out.Destinations, Destination{Name: d.Name, System: d.System, Environment: d.Environment, ID: d.ID})
	}
	b := s.Bounds
	out.Bounds = []Bound{
		{"items changed a run", strconv.Itoa(b.Items)},
		{"runs at once", strconv.Itoa(b.Concurrency)},
		{"timeout", time.Duration(b.Timeout).String()},
		{"calls a minute", strconv.Itoa(b.Rate)},
		{"steps", strconv.Itoa(b.Steps)},
	}
}

// answers asks every gate about every write, in the situation that the agent
// and the user are in now.
func (p *platform) answers(r *http.Request, a state.Agent, s *executor.Spec, user string) []Answer {
	rules := p.o.Rules()
	known, err := p.o.Tools(r.Context())
	if err != nil {
		p.log.Warn("tools are not known to a review", "err", err)
	}
	may := a.MaySubscribe(user, user == caller(r).Name && caller(r).Has(moderators...))
	subs, err := p.o.Store.Subscriptions(r.Context(), state.SubscriptionFilter{Agent: a.Name, Subscriber: user})
	if err != nil {
		p.log.Warn("subscriptions are not known to a review", "err", err)
	}
	out := []Answer{}
	for _, one := range s.Answers(gate.Full(rules), rules, func(act *gate.Action) {
		act.User, act.Now, act.Permissions = user, p.now(), known
		if list, limited := rules.Users[user]; limited || rules.Users != nil {
			act.Permissions = list
		}
		if token, owner, err := p.o.Token(user, act.Tool); err == nil {
			act.Token, act.Credential = token, owner
		}
		act.Agent.Published, act.Agent.MaySubscribe = a.Published, may || len(subs) > 0
		act.Agent.Subscription, act.Agent.Subscriber = "review", user
		if pause, ok := p.o.Store.Paused(r.Context(), "", a.Name, user); ok {
			act.Agent.Paused = pause.Reason
		}
	}) {
		out = append(out, Answer{Step: one.Step, Tool: one.Tool, Gate: one.Verdict.Gate, Verdict: one.Verdict})
	}
	return out
}

// diff is the lines of both texts in order: "- " before those that went, "+ "
// before those that came, "  " before the rest. Empty if nothing is different or
// there is no old text.
func diff(old, text string) []string {
	if old == "" || old == text {
		return []string{}
	}
	a, b := strings.Split(strings.TrimSuffix(old, "\n"), "\n"), strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(a) > maxDiff || len(b) > maxDiff {
		return []string{fmt.Sprintf("~ one of the texts has more than %d lines; compare them in git", maxDiff)}
	}
	// common[i][j] is the length of the longest common run of lines of a[i:] and b[j:]
	common := make([][]uint16, len(a)+1)
	for i := range common {
		common[i] = make([]uint16, len(b)+1)
	}
	for i, old := range slices.Backward(a) {
		for j, line := range slices.Backward(b) {
			if old == line {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, "  "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	return out
}

// maxDiff caps the lines of a text that is compared.
const maxDiff = 2000

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
