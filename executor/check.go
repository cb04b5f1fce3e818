package executor

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/netresearch/go-cron"
)

var (
	agentName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	mail      = regexp.MustCompile(`^[^@\s]+@[^@\s]+\.[^@\s]+$`)
)

// check looks at everything, so that all faults are told at once.
func (c *checker) check() {
	c.head()
	c.trigger()
	c.inputs()
	c.destinations()
	c.steps()
	c.bounds()
}

func (c *checker) head() {
	s := c.spec
	if s.Schema != 1 {
		c.wrong("write schema: 1", fmt.Sprintf("schema is %d", s.Schema), "schema")
	}
	if !agentName.MatchString(s.Name) {
		c.wrong("write lower-case letters, digits and dashes: weekly-digest", fmt.Sprintf("name is %q", s.Name), "name")
	}
	if !mail.MatchString(s.Owner) {
		c.wrong("name who answers for the agent: dana@example.com", fmt.Sprintf("owner is %q", s.Owner), "owner")
	}
	if strings.TrimSpace(s.Version) == "" {
		c.wrong(`write version: "1" and raise it with each change`, "version is missing", "version")
	}
	const least, most = 4, 60
	switch n := len(strings.Fields(s.Objective)); {
	case n == 0:
		c.wrong("say in a sentence what the agent is for", "objective is missing", "objective")
	case n < least || n > most:
		c.unwise("say in one sentence what it does, with what, for whom", fmt.Sprintf("objective has %d words: it is not specific", n), "objective")
	}
	if s.Mode != ReadOnly && s.Mode != Preview && s.Mode != Writing {
		c.wrong("write read-only, preview or write", fmt.Sprintf("mode is %q", s.Mode), "mode")
	}
}

func (c *checker) trigger() {
	t := c.spec.Trigger
	if t == nil {
		return
	}
	if (t.Schedule == nil) == (t.Content == nil) {
		c.wrong("write one of schedule and content", "trigger needs exactly one of schedule and content", "trigger")
	}
	if t.Schedule != nil {
		c.schedule(t.Schedule)
	}
	if t.Content == nil {
		return
	}
	if (t.Content.Webhook == "") == (t.Content.Folder == "") {
		c.wrong("write one of webhook and folder", "content needs exactly one of webhook and folder", "trigger", "content")
	}
	if w := t.Content.Webhook; w != "" && !agentName.MatchString(w) {
		c.wrong("name one webhook", fmt.Sprintf("webhook is %q", w), "trigger", "content", "webhook")
	}
	if f := t.Content.Folder; f != "" && (!strings.HasPrefix(f, "/") || strings.Contains(f, "..") || templated(f)) {
		c.wrong("write its absolute path", fmt.Sprintf("folder is %q", f), "trigger", "content", "folder")
	}
}

func (c *checker) schedule(s *Schedule) {
	at := func(key string) []any { return []any{"trigger", "schedule", key} }
	if strings.Contains(s.Cron, "=") {
		c.wrong("write the zone as zone:", "cron holds a time zone", at("cron")...)
	} else if _, err := cron.ParseStandard(s.Cron); err != nil {
		c.wrong(`five fields: minute, hour, day, month, weekday, such as "0 8 * * 1"`, fmt.Sprintf("cron %q: %v", s.Cron, err), at("cron")...)
	}
	if _, err := time.LoadLocation(s.Zone); err != nil || s.Zone == "" || s.Zone == "Local" {
		c.wrong("write an IANA name: Europe/Berlin, or UTC", fmt.Sprintf("zone is %q", s.Zone), at("zone")...)
	}
	if j := time.Duration(s.Jitter); j < 0 || j > time.Hour {
		c.wrong("write at most 1h", fmt.Sprintf("jitter is %s", j), at("jitter")...)
	}
}

func (c *checker) bounds() {
	b := c.spec.Bounds
	for _, f := range []struct {
		key  string
		n    int64
		hint string
	}{
		{"items", int64(b.Items), "how many items a run may change"},
		{"concurrency", int64(b.Concurrency), "how many runs at once"},
		{"timeout", int64(b.Timeout), "how long a run may take: 5m"},
		{"rate", int64(b.Rate), "calls a minute"},
		{"steps", int64(b.Steps), "steps of a run"},
	} {
		if f.n < 0 {
			c.wrong(f.hint, f.key+" is negative", "bounds", f.key)
		}
		if f.n == 0 {
			c.needed(f.hint, "bounds."+f.key+" is missing", "bounds")
		}
	}
	if b.Steps > 0 && len(c.spec.Steps) > b.Steps {
		c.wrong("raise it or take steps out", fmt.Sprintf("there are %d steps and %d may run", len(c.spec.Steps), b.Steps), "bounds", "steps")
	}
}
