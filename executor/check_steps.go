package executor

import (
	"fmt"
	"maps"
	"slices"

	"github.com/agentrail/agentrail/executor/gate"
)

// What makes a flow reasoning-heavy.
const (
	heavyThinking = 1    // thinking steps
	heavyTokens   = 4000 // of one thinking step
	heavySteps    = 8
)

func (c *checker) steps() {
	steps := c.spec.Steps
	if len(steps) == 0 {
		c.wrong("write at least an output step", "there are no steps", "steps")
		return
	}
	thinking := 0
	for i, s := range steps {
		c.step(i, s)
		if s.Think != nil {
			thinking++
		}
		if slices.ContainsFunc(steps[:i], func(o Step) bool { return o.Name == s.Name }) {
			c.wrong("give it another name", fmt.Sprintf("step %q is there twice", s.Name), "steps", i, "name")
		}
	}
	if steps[len(steps)-1].Output == nil {
		c.needed("end with: {name: report, output: {text: ...}}", "the last step is no output", "steps", len(steps)-1)
	}
	if c.spec.Background() && (thinking > heavyThinking || len(steps) > heavySteps) {
		c.unwise("keep background flows simple; leave complex work to interactive agents", fmt.Sprintf("the flow is reasoning-heavy: %d thinking steps of %d", thinking, len(steps)), "steps")
	}
}

func (c *checker) step(i int, s Step) {
	if !agentName.MatchString(s.Name) {
		c.wrong("write lower-case letters, digits and dashes", fmt.Sprintf("name is %q", s.Name), "steps", i)
	}
	kinds := 0
	for _, there := range []bool{s.Retrieve != nil, s.Action != nil, s.Think != nil, s.Output != nil} {
		if there {
			kinds++
		}
	}
	if kinds != 1 {
		c.wrong("write one of retrieve, action, think and output", fmt.Sprintf("step %q does %d things", s.Name, kinds), "steps", i)
	}
	if s.Retrieve != nil {
		c.retrieve(i, *s.Retrieve)
	}
	if s.Action != nil {
		c.action(i, *s.Action)
	}
	if s.Output != nil && i != len(c.spec.Steps)-1 {
		c.wrong("move it to the end", "an output ends the run", "steps", i)
	}
	if t := s.Think; t != nil {
		if t.Tokens <= 0 {
			c.needed("write tokens: 1000", "think.tokens is missing", "steps", i, "think")
		}
		if c.spec.Background() && (t.Rounds > 1 || t.Tokens > heavyTokens) {
			c.unwise("keep background flows simple; leave complex work to interactive agents", "the step is reasoning-heavy", "steps", i, "think")
		}
	}
}

func (c *checker) retrieve(i int, r Retrieve) {
	if len(r.From) == 0 {
		c.wrong("name sources of inputs", "retrieve.from is missing", "steps", i, "retrieve")
	}
	for j, from := range r.From {
		if !slices.ContainsFunc(c.spec.Inputs, func(in Input) bool { return in.Source == from }) {
			c.wrong("add it to inputs", fmt.Sprintf("source %q is not among the inputs", from), "steps", i, "retrieve", "from", j)
		}
	}
	if r.Items <= 0 || r.Bytes <= 0 {
		c.needed("write items: 50 and bytes: 1MiB", "retrieval has no cap on items and bytes", "steps", i, "retrieve")
	}
}

func (c *checker) action(i int, a Action) {
	at := func(keys ...any) []any { return append([]any{"steps", i, "action"}, keys...) }
	if a.Tool == "" || templated(a.Tool) {
		c.wrong("name the tool", fmt.Sprintf("tool is %q", a.Tool), at("tool")...)
	}
	if !slices.Contains([]string{"", "read", "write"}, a.Access) {
		c.wrong("write read or write", fmt.Sprintf("access is %q", a.Access), at("access")...)
	}
	if !slices.Contains([]string{"", "user", "api_key"}, a.Auth) {
		c.wrong("write user or api_key", fmt.Sprintf("auth is %q", a.Auth), at("auth")...)
	}
	if a.Auth == "api_key" {
		c.unwise("use an action of the product, or ask an admin to list it under api_keys", "a key of its own is denied in background unless an admin allows this action", at("auth")...)
	} else if len(a.Scopes) == 0 {
		c.needed("name the narrowest scopes that do", "scopes are missing", at()...)
	}
	for j, s := range a.Scopes {
		if gate.Broad(s) {
			c.strict("name a scope of one resource or verb", fmt.Sprintf("scope %q is over everything, or one of an admin", s), at("scopes", j)...)
		}
	}
	if a.Access == "read" {
		return
	}
	if c.spec.Mode == ReadOnly {
		c.wrong("write access: read if it only reads, or mode: preview, and mode: write after a review", fmt.Sprintf("%q writes and the agent is read-only", a.Tool), at("tool")...)
	}
	c.target(i, a)
}

// target checks where a write goes.
func (c *checker) target(i int, a Action) {
	at := func(keys ...any) []any { return append([]any{"steps", i, "action"}, keys...) }
	d := slices.IndexFunc(c.spec.Destinations, func(d Destination) bool { return d.Name == a.Destination })
	if d < 0 {
		c.wrong("name one of destinations", fmt.Sprintf("a write needs a destination; %q is none", a.Destination), at("destination")...)
	}
	for _, key := range sortedKeys(a.Arguments) {
		v, text := a.Arguments[key].(string)
		switch {
		case d >= 0 && key == c.spec.Destinations[d].Argument:
			if !text || v != c.spec.Destinations[d].ID {
				c.wrong("leave it out: the destination fills it", fmt.Sprintf("argument %s is not the destination's id %q", key, c.spec.Destinations[d].ID), at("arguments", key)...)
			}
		case gate.NamesPlace(key) && c.spec.Background():
			c.wrong("a write goes to its destination only", fmt.Sprintf("argument %s names another place", key), at("arguments", key)...)
		}
	}
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
