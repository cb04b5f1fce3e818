// Package executor knows agents by their specs: YAML files, kept in git, that
// say what an agent reads, does, and where to, and what bounds it.
package executor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/internal/plug"
)

// Spec is one agent.
type Spec struct {
	// Schema is the version of this format: 1.
	Schema int `yaml:"schema"`
	// Name of the agent: lower-case letters, digits and dashes.
	Name string `yaml:"name"`
	// Owner is the e-mail address of who answers for the agent.
	Owner string `yaml:"owner"`
	// Version of the agent, as text. A moderator publishes a version.
	Version string `yaml:"version"`
	// Objective says in a sentence what the agent is for.
	Objective string `yaml:"objective"`
	// Mode is read-only (the default), preview (writes are shown, not made) or write.
	Mode string `yaml:"mode"`
	// Trigger starts the agent without a person. Without it people start it.
	Trigger *Trigger `yaml:"trigger"`
	// Inputs are all the sources that the agent may read from.
	Inputs []Input `yaml:"inputs"`
	// Destinations are all the places that the agent may write to.
	Destinations []Destination `yaml:"destinations"`
	// Steps run in this order.
	Steps []Step `yaml:"steps"`
	// Bounds of a run.
	Bounds Bounds `yaml:"bounds"`
	// Hostile texts of your own, which `agentrail agents test` puts where the agent fills in what it read.
	Hostile []string `yaml:"hostile"`

	doc *plug.Document
}

// Trigger is a schedule or content; one of them.
type Trigger struct {
	Schedule *Schedule `yaml:"schedule"`
	Content  *Content  `yaml:"content"`
}

// Schedule starts runs by the clock.
type Schedule struct {
	// Cron has five fields: minute, hour, day of month, month, day of week.
	Cron string `yaml:"cron"`
	// Zone is an IANA time zone: Europe/Berlin.
	Zone string `yaml:"zone"`
	// Jitter delays each run by a random time up to this.
	Jitter plug.Duration `yaml:"jitter"`
}

// Content starts a run when something arrives: a webhook or a watched folder.
type Content struct {
	// Webhook is the name of a webhook.
	Webhook string `yaml:"webhook"`
	// Folder is the absolute path of a folder.
	Folder string `yaml:"folder"`
}

// Input is a source.
type Input struct {
	// Source is the exact source: confluence:OPS, drive:0B1x.
	Source string `yaml:"source"`
	// Visibility is public-to-org, governed or personal.
	Visibility string `yaml:"visibility"`
	// Kind is collection (the default), web, inbox or share.
	Kind string `yaml:"kind"`
	// Domains are the only ones that a source of kind web may reach.
	Domains []string `yaml:"domains"`
	// Review records that a moderator looked at a risky source.
	Review *Review `yaml:"review"`
}

// Review is a moderator's recorded review.
type Review struct {
	By     string `yaml:"by"`
	Reason string `yaml:"reason"`
	Date   string `yaml:"date"`
}

// Destination is one exact place.
type Destination struct {
	// Name by which steps refer to it.
	Name string `yaml:"name"`
	// System and environment: jira, prod.
	System      string `yaml:"system"`
	Environment string `yaml:"environment"`
	// ID is the exact identifier: a project key, a repository, a folder id.
	ID string `yaml:"id"`
	// Argument of the action that takes the identifier.
	Argument string `yaml:"argument"`
}

// Step is one of: retrieve, action, think, output.
type Step struct {
	Name     string    `yaml:"name"`
	Retrieve *Retrieve `yaml:"retrieve"`
	Action   *Action   `yaml:"action"`
	Think    *Think    `yaml:"think"`
	Output   *Output   `yaml:"output"`
}

// Retrieve reads from inputs, at most so much.
type Retrieve struct {
	From  []string   `yaml:"from"`
	Items int        `yaml:"items"`
	Bytes plug.Bytes `yaml:"bytes"`
}

// Action calls a tool.
type Action struct {
	Tool string `yaml:"tool"`
	// Access is read or write; left out it counts as write.
	Access string `yaml:"access"`
	// Destructive operations delete, change permissions or rewrite history.
	Destructive bool `yaml:"destructive"`
	// Destination is the name of one; a write needs it.
	Destination string `yaml:"destination"`
	// Arguments are fixed values, or templates: {{ steps.NAME.text }}.
	Arguments map[string]any `yaml:"arguments"`
	// Scopes of the user's token that the action needs.
	Scopes []string `yaml:"scopes"`
	// Auth is user (the default) or api_key.
	Auth string `yaml:"auth"`
}

// Think asks a language model.
type Think struct {
	Prompt string `yaml:"prompt"`
	// Tokens caps the answer.
	Tokens int `yaml:"tokens"`
	// Rounds of thinking; more than one is reasoning-heavy.
	Rounds int `yaml:"rounds"`
}

// Output ends the run.
type Output struct {
	// Text is kept with the run; templates are fine here.
	Text string `yaml:"text"`
}

// Bounds of one run; all are needed for background runs.
type Bounds struct {
	Items       int           `yaml:"items"`       // items changed
	Concurrency int           `yaml:"concurrency"` // runs at once
	Timeout     plug.Duration `yaml:"timeout"`
	Rate        int           `yaml:"rate"`  // calls a minute
	Steps       int           `yaml:"steps"` // steps done
}

// Modes of an agent.
const (
	ReadOnly = "read-only"
	Preview  = "preview"
	Writing  = "write"
)

// Fault is something in a spec that is wrong, or, as a warning, unwise.
type Fault struct {
	Severity string `json:"severity"` // error or warning
	File     string `json:"file"`
	Line     int    `json:"line"`
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"`
}

// Severities of faults.
const (
	SeverityError   = "error"
	SeverityWarning = "warning"
)

// maxSpec caps a spec, bytes.
const maxSpec = 1 << 20

// Load reads a spec from its file and returns it with all that is wrong in it,
// in the order of lines. The spec is nil if it cannot be used, which is so if
// one of the faults is an error. The error is about the file.
func Load(file string) (*Spec, []Fault, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, nil, fmt.Errorf("read spec: %w", err)
	}
	if !st.Mode().IsRegular() || st.Size() > maxSpec {
		return nil, nil, fmt.Errorf("read spec %s: it is no file of at most %d bytes", file, maxSpec)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("read spec: %w", err)
	}
	s, faults := Parse(file, string(b))
	return s, faults, nil
}

// Parse is Load for text that has been read.
func Parse(file, text string) (*Spec, []Fault) {
	s := &Spec{Mode: ReadOnly}
	doc, err := plug.Load(file, text, s)
	c := &checker{spec: s, doc: doc, file: file}
	c.decode(err)
	if doc != nil {
		s.doc = doc
		c.check()
	}
	slices.SortStableFunc(c.faults, func(a, b Fault) int { return a.Line - b.Line })
	if slices.ContainsFunc(c.faults, func(f Fault) bool { return f.Severity == SeverityError }) {
		return nil, c.faults
	}
	return s, c.faults
}

// Background reports whether the agent runs when nobody is present.
func (s *Spec) Background() bool { return s.Trigger != nil }

// Line is where a value stands in the file of the spec: Line("steps", 2).
func (s *Spec) Line(path ...any) int { return s.doc.Line(path...) }

// File is the file of the spec.
func (s *Spec) File() string { return s.doc.File }

// checker collects faults.
type checker struct {
	spec   *Spec
	doc    *plug.Document
	file   string
	faults []Fault
}

// decode adds the faults that strict decoding found.
func (c *checker) decode(err error) {
	if err == nil {
		return
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range many.Unwrap() {
			c.decode(one)
		}
		return
	}
	f := Fault{Severity: SeverityError, File: c.file, Line: 1, Message: err.Error()}
	if e, ok := errors.AsType[*plug.Error](err); ok {
		f.Line, f.Message, f.Hint = max(1, e.Line), e.Msg, e.Hint
	}
	c.faults = append(c.faults, f)
}

func (c *checker) wrong(hint, msg string, path ...any) {
	c.faults = append(c.faults, Fault{Severity: SeverityError, File: c.file, Line: c.doc.Line(path...), Message: msg, Hint: hint})
}

func (c *checker) unwise(hint, msg string, path ...any) {
	c.faults = append(c.faults, Fault{Severity: SeverityWarning, File: c.file, Line: c.doc.Line(path...), Message: msg, Hint: hint})
}

// strict is wrong for agents that run when nobody is present, and unwise for
// others.
func (c *checker) strict(hint, msg string, path ...any) {
	if c.spec.Background() {
		c.wrong(hint, msg, path...)
		return
	}
	c.unwise(hint, msg, path...)
}

// needed is strict for what is missing.
func (c *checker) needed(hint, msg string, path ...any) {
	c.strict(hint, msg+" (background runs need it)", path...)
}

// templated reports whether a value is computed at run time.
func templated(s string) bool {
	return strings.Contains(s, "{{") || strings.Contains(s, "}}") || strings.Contains(s, "${") || strings.Contains(s, "$(")
}
