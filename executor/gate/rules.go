package gate

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
)

// Rules is what the people who run the gates decided: the admin's allow-list,
// the moderator's exceptions, the bounds. Read-only once loaded.
type Rules struct {
	// File is where they stand; denials name it.
	File string `yaml:"-"`
	// Version of this format: 1.
	Version int `yaml:"version"`
	// Users lists the tools that each user may use. Without it every user may use all that are offered.
	Users map[string][]string `yaml:"users"`
	// Access overrides what a tool's annotations say: read or write.
	Access map[string]Access `yaml:"access"`
	// Writes that may be done without confirmation.
	Writes []AllowedWrite `yaml:"writes"`
	// Destructive operations that may be done without confirmation.
	Destructive []Exception `yaml:"destructive"`
	// Destinations bound every write, also confirmed ones: argument, and the only values that it may have.
	Destinations map[string][]string `yaml:"destinations"`
	// Bounds of a run.
	Bounds Bounds `yaml:"bounds"`
	// APIKeys lists tools with an API key of their own that may run in background.
	APIKeys []string `yaml:"api_keys"`
	// Policies are Cedar files of your own, relative to this file. They narrow: what the gates deny they cannot allow.
	Policies []string `yaml:"policies"`
	// Definitions are the approved digests of tool definitions, by tool.
	Definitions map[string]string `yaml:"definitions"`

	own []policy
	doc *plug.Document
}

// AllowedWrite is an entry of the admin's allow-list.
type AllowedWrite struct {
	Tool string `yaml:"tool"`
	// Destinations are the arguments that say where the write goes, each with the values it may have. An argument that names a
	// destination and is not here denies the call. A value that ends in / is a folder and what is in it.
	Destinations map[string][]string `yaml:"destinations"`
}

// Exception lets a destructive operation run without confirmation.
type Exception struct {
	Tool     string `yaml:"tool"`
	Reviewer string `yaml:"reviewer"`
	Reason   string `yaml:"reason"`
	Rollback string `yaml:"rollback"`
	// Expires is the last day on which it holds, in UTC: 2027-01-31.
	Expires string `yaml:"expires"`

	until time.Time
}

// Bounds of one run. Zero takes the default.
type Bounds struct {
	Calls       int           `yaml:"calls"`        // calls in a run, default 10000
	Items       int           `yaml:"items"`        // items changed in a run, default 100
	Rate        int           `yaml:"rate"`         // calls a minute, default 600
	Concurrency int           `yaml:"concurrency"`  // calls in flight, default 8
	Timeout     plug.Duration `yaml:"timeout"`      // of a run, default 24h
	CallTimeout plug.Duration `yaml:"call_timeout"` // of a call, default 60s
	Result      plug.Bytes    `yaml:"result"`       // of an answer, default 4MiB
}

// maxRules caps a rules file and each Cedar file, bytes.
const maxRules = 1 << 20

// DefaultRules allow what needs no rule: reads, and writes that a person
// confirms.
func DefaultRules() *Rules {
	r := &Rules{Version: 1}
	r.Bounds.fill()
	return r
}

// RulesOf allows these writes within these bounds, for an agent whose spec says
// so in a file.
func RulesOf(file string, writes []AllowedWrite, b Bounds) *Rules {
	r := &Rules{File: file, Version: 1, Writes: writes, Bounds: b}
	r.Bounds.fill()
	return r
}

// LoadRules reads a rules file and the Cedar files that it names. Every fault
// is reported, with its line.
func LoadRules(path string) (*Rules, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	return ParseRules(path, text, func(name string) (string, error) {
		return readFile(filepath.Join(filepath.Dir(path), filepath.FromSlash(name)))
	})
}

// ParseRules is LoadRules for text that has been read; open returns the text of
// a Cedar file.
func ParseRules(path, text string, open func(name string) (string, error)) (*Rules, error) {
	r := &Rules{File: path}
	doc, err := plug.Load(path, text, r)
	if doc == nil {
		return nil, err
	}
	r.doc = doc
	if err := errors.Join(err, r.check(), r.compile(open)); err != nil {
		return nil, err
	}
	r.Bounds.fill()
	return r, nil
}

func (r *Rules) check() error {
	var faults []error
	fault := func(hint, msg string, path ...any) { faults = append(faults, r.doc.Fault(hint, msg, path...)) }
	if r.Version != 1 {
		fault("write version: 1", fmt.Sprintf("version is %d", r.Version), "version")
	}
	for _, tool := range slices.Sorted(maps.Keys(r.Access)) {
		if a := r.Access[tool]; a != Read && a != Write {
			fault("write read or write", fmt.Sprintf("access of %s is %q", tool, a), "access", tool)
		}
	}
	for i, w := range r.Writes {
		if !literal(w.Tool) {
			fault("name one tool; patterns are not taken", fmt.Sprintf("tool is %q", w.Tool), "writes", i, "tool")
		}
		if slices.ContainsFunc(r.Writes[:i], func(o AllowedWrite) bool { return o.Tool == w.Tool }) {
			fault("put all its destinations into one entry", fmt.Sprintf("tool %s is listed twice", w.Tool), "writes", i, "tool")
		}
		faults = append(faults, r.checkDestinations(w.Destinations, "writes", i, "destinations")...)
	}
	faults = append(faults, r.checkDestinations(r.Destinations, "destinations")...)
	for i := range r.Destructive {
		e := &r.Destructive[i]
		for _, must := range []struct{ key, value string }{{"tool", e.Tool}, {"reviewer", e.Reviewer}, {"reason", e.Reason}, {"rollback", e.Rollback}, {"expires", e.Expires}} {
			if strings.TrimSpace(must.value) == "" {
				fault("an exception needs tool, reviewer, reason, rollback and expires", must.key+" is missing", "destructive", i)
			}
		}
		day, err := time.Parse(time.DateOnly, e.Expires)
		if err != nil && e.Expires != "" {
			fault("write the last day on which it holds: 2027-01-31", fmt.Sprintf("expires is %q", e.Expires), "destructive", i, "expires")
		}
		e.until = day.AddDate(0, 0, 1)
	}
	b := r.Bounds
	if min(b.Calls, b.Items, b.Rate, b.Concurrency) < 0 || min(b.Timeout, b.CallTimeout) < 0 || b.Result < 0 {
		fault("leave it out for the default", "a bound is negative", "bounds")
	}
	return errors.Join(faults...)
}

// checkDestinations refuses values that are not literal.
func (r *Rules) checkDestinations(d map[string][]string, path ...any) (faults []error) {
	for _, arg := range slices.Sorted(maps.Keys(d)) {
		for i, v := range d[arg] {
			at := append(slices.Clone(path), arg, i)
			switch {
			case !literal(v):
				faults = append(faults, r.doc.Fault("write the exact value", fmt.Sprintf("destination %s is %s", arg, quote(v)), at...))
			case strings.HasPrefix(v, "/") && trick(v, nil) != "":
				faults = append(faults, r.doc.Fault("write the path without detours", fmt.Sprintf("destination %s: %s", arg, trick(v, nil)), at...))
			}
		}
	}
	return faults
}

// literal reports whether the text is one exact value: no pattern, no template.
func literal(s string) bool {
	return s != "" && s == strings.TrimSpace(s) && !strings.ContainsAny(s, "*{}$") && deceptive(s) == ""
}

// compile reads the Cedar files.
func (r *Rules) compile(open func(string) (string, error)) error {
	var faults []error
	for i, name := range r.Policies {
		text, err := open(name)
		if err == nil {
			var set []policy
			set, err = compile("own", name, []byte(text))
			r.own = append(r.own, set...)
		}
		if err != nil {
			faults = append(faults, r.doc.Fault("", err.Error(), "policies", i))
		}
	}
	return errors.Join(faults...)
}

func (b *Bounds) fill() {
	for _, f := range []struct {
		v         *int
		otherwise int
	}{{&b.Calls, 10000}, {&b.Items, 100}, {&b.Rate, 600}, {&b.Concurrency, 8}} {
		if *f.v == 0 {
			*f.v = f.otherwise
		}
	}
	if b.Timeout == 0 {
		b.Timeout = plug.Duration(24 * time.Hour)
	}
	if b.CallTimeout == 0 {
		b.CallTimeout = plug.Duration(time.Minute)
	}
	if b.Result == 0 {
		b.Result = 4 << 20
	}
}

// line is the place in the rules file, or 0 without one.
func (r *Rules) line(path ...any) int {
	if r.doc == nil {
		return 0
	}
	return r.doc.Line(path...)
}

// Read finds the destinations in the arguments of a tool's call, those that the
// rules name with them.
func (r *Rules) Read(tool string, raw []byte) Arguments {
	also := slices.Collect(maps.Keys(r.Destinations))
	if _, w := r.write(tool); w != nil {
		also = slices.AppendSeq(also, maps.Keys(w.Destinations))
	}
	return ReadArguments(raw, also...)
}

// Lists reports whether the allow-list holds the tool.
func (r *Rules) Lists(tool string) bool {
	_, w := r.write(tool)
	return w != nil
}

// write is the entry of the allow-list for a tool.
func (r *Rules) write(tool string) (int, *AllowedWrite) {
	for i := range r.Writes {
		if r.Writes[i].Tool == tool {
			return i, &r.Writes[i]
		}
	}
	return -1, nil
}

func readFile(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if st.Size() > maxRules {
		return "", fmt.Errorf("%s is larger than %d bytes", path, maxRules)
	}
	b, err := os.ReadFile(path)
	return string(b), err
}
