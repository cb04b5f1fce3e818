package executor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/executor/gate"
)

func (c *checker) inputs() {
	for i, in := range c.spec.Inputs {
		c.input(i, in)
		if slices.ContainsFunc(c.spec.Inputs[:i], func(o Input) bool { return o.Source == in.Source }) {
			c.wrong("take one out", fmt.Sprintf("source %q is listed twice", in.Source), "inputs", i, "source")
		}
	}
}

func (c *checker) input(i int, in Input) {
	at := func(key string) []any { return []any{"inputs", i, key} }
	if in.Source == "" || templated(in.Source) || strings.Contains(in.Source, "*") {
		c.wrong("name the exact source: confluence:OPS", fmt.Sprintf("source is %q", in.Source), at("source")...)
	}
	if !slices.Contains([]string{"public-to-org", "governed", "personal"}, in.Visibility) {
		c.wrong("write public-to-org, governed or personal", fmt.Sprintf("visibility is %q", in.Visibility), at("visibility")...)
	}
	if !slices.Contains([]string{"", "collection", "web", "inbox", "share"}, in.Kind) {
		c.wrong("write collection, web, inbox or share", fmt.Sprintf("kind is %q", in.Kind), at("kind")...)
	}
	if in.Kind == "web" {
		c.domains(i, in)
	} else if len(in.Domains) > 0 {
		c.wrong("write kind: web", "only a source of kind web has domains", at("domains")...)
	}
	reviewed := in.Review != nil && c.review(i, *in.Review)
	why := gate.Input{Source: in.Source, Visibility: in.Visibility, Kind: in.Kind, Reviewed: reviewed}.Untrusted()
	if why != "" && (in.Kind != "" || in.Visibility == "personal") && c.spec.Background() {
		c.wrong("take it out, or have a moderator record review: {by, reason, date}", fmt.Sprintf("source %q is not fit for background runs: %s", in.Source, why), at("source")...)
	}
}

func (c *checker) domains(i int, in Input) {
	if len(in.Domains) == 0 {
		c.wrong("list the domains: [docs.example.com]", fmt.Sprintf("source %q reaches the whole web", in.Source), "inputs", i)
	}
	for j, d := range in.Domains {
		if !strings.Contains(d, ".") || strings.ContainsAny(d, "*/:@ ") || templated(d) || strings.ToLower(d) != d {
			c.wrong("write one domain, lower case, without path", fmt.Sprintf("domain is %q", d), "inputs", i, "domains", j)
		}
	}
}

// review reports whether it is complete.
func (c *checker) review(i int, r Review) bool {
	_, err := time.Parse(time.DateOnly, r.Date)
	ok := mail.MatchString(r.By) && strings.TrimSpace(r.Reason) != "" && err == nil
	if ok && r.By == c.spec.Owner {
		c.wrong("somebody else must review", "the owner reviewed the source", "inputs", i, "review", "by")
		return false
	}
	if !ok {
		c.wrong("write by (an address), reason and date (2026-11-25)", "the review is not complete", "inputs", i, "review")
	}
	return ok
}

func (c *checker) destinations() {
	for i, d := range c.spec.Destinations {
		at := func(key string) []any { return []any{"destinations", i, key} }
		for _, must := range []struct{ key, value string }{{"name", d.Name}, {"system", d.System}, {"environment", d.Environment}, {"id", d.ID}, {"argument", d.Argument}} {
			switch {
			case strings.TrimSpace(must.value) == "":
				c.wrong("a destination needs name, system, environment, id and argument", must.key+" is missing", "destinations", i)
			case templated(must.value):
				c.strict("write the exact value", fmt.Sprintf("%s is computed: %q", must.key, must.value), at(must.key)...)
			case strings.Contains(must.value, "*"):
				c.wrong("name one place", fmt.Sprintf("%s is a pattern: %q", must.key, must.value), at(must.key)...)
			}
		}
		if slices.ContainsFunc(c.spec.Destinations[:i], func(o Destination) bool { return o.Name == d.Name }) {
			c.wrong("give it another name", fmt.Sprintf("destination %q is listed twice", d.Name), at("name")...)
		}
	}
}
