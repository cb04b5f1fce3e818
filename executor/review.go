package executor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/netresearch/go-cron"

	"github.com/agentrail/agentrail/executor/gate"
)

// Answer is what one gate says to one write of an agent.
type Answer struct {
	Step    string
	Tool    string
	Verdict gate.Verdict // its Gate is named also where it allows
}

// Answers asks every gate about every write of the spec as it stands, in
// background. situation completes the action of a step with what the spec does
// not know: user, credential, token, and whether it is published and subscribed.
func (s *Spec) Answers(chain gate.Chain, rules *gate.Rules, situation func(a *gate.Action)) []Answer {
	var out []Answer
	for _, step := range s.Steps {
		if step.Action == nil || step.Action.Access == "read" {
			continue
		}
		args, _ := fill(step.Action.Arguments, "", harmless, harmless).(map[string]any)
		if args == nil {
			args = map[string]any{}
		}
		if i := slices.IndexFunc(s.Destinations, func(d Destination) bool { return d.Name == step.Action.Destination }); i >= 0 {
			args[s.Destinations[i].Argument] = s.Destinations[i].ID
		}
		a := gate.Action{
			Mode: gate.Background, Tool: step.Action.Tool, Access: gate.Write, Destructive: step.Action.Destructive,
			Arguments: rules.Read(step.Action.Tool, must(args)), Inputs: s.GateInputs(),
			Agent: gate.Agent{Name: s.Name, Version: s.Version},
		}
		situation(&a)
		for _, v := range chain.Answers(context.Background(), a) {
			out = append(out, Answer{Step: step.Name, Tool: step.Action.Tool, Verdict: v})
		}
	}
	return out
}

// GateInputs is the inputs as the gates look at them.
func (s *Spec) GateInputs() (out []gate.Input) {
	for _, in := range s.Inputs {
		out = append(out, gate.Input{Source: in.Source, Visibility: in.Visibility, Kind: in.Kind, Reviewed: in.Review != nil})
	}
	return out
}

// Check says what is wrong with a schedule that takes the place of a spec's.
func (s Schedule) Check() error {
	if _, err := cron.ParseStandard(s.Cron); err != nil {
		return fmt.Errorf(`cron %q: %w; write five fields, such as "0 8 * * 1"`, s.Cron, err)
	}
	if _, err := time.LoadLocation(s.Zone); err != nil || s.Zone == "" || s.Zone == "Local" {
		return fmt.Errorf("zone is %q; write an IANA name: Europe/Berlin, or UTC", s.Zone)
	}
	if s.Jitter < 0 || time.Duration(s.Jitter) > time.Hour {
		return errors.New("jitter is more than 1h or negative")
	}
	return nil
}
