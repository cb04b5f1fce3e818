package decode

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/agentrail/agentrail/internal/jsonscan"
	"github.com/agentrail/agentrail/schemas"
)

// Numbers of the fields that a path can fill: those of type fields in their
// order, then those of the other sections.
const (
	fTime = iota
	fSourceID
	fLog
	fActor
	fActorEmail
	fActorType
	fDepartment
	fAgent
	fName
	fOwner
	fSubscription
	fRun
	fSession
	fTrace
	fSpan
	fAction
	fSourceAction
	fEndpoint
	fMethod
	fTool
	fTarget
	fIP
	fUserAgent
	fStatus
	fDuration
	fInitiator
	fAccess
	fAutonomous
	fScrubbed
	fKind
	fPresent
	fOutcome
	fCode
	fError
	fWhy
	nFields
)

// rule says how a field is made of the text found for it.
type rule struct {
	tail   bool
	unit   int64 // nanoseconds of a bare number; 0: told by magnitude
	fixed  string
	when   []string          // what the action must begin with: one of these
	values map[string]string // by lower-cased text
}

// target says which field a slot feeds and how much it is preferred: the
// lowest prio counts.
type target struct {
	field uint8
	prio  uint8
	list  bool // of list elements the first counts
}

// slot says what becomes of a value at a wanted path.
type slot struct {
	targets []target
	one     target // the only one
	text    bool   // there is one, and it takes the text as it is
	kind    string // of event, where the path feeds fPresent
}

// program is a mapping compiled.
type program struct {
	trie    *jsonscan.Trie
	wanted  map[string]int // lower-cased paths of the trie
	slots   []slot
	convert uint64 // fields that are more than text, a bit each
	rules   [fKind]rule
	fixed   []int // fields that have a constant
	bound   []int // fields that only some actions have

	content     bool // identity by content
	kindConst   kind
	kindLog     bool
	kindDefault string
	kinds       map[string]kind

	outcomes map[string]schemas.Outcome
	denials  map[string]schemas.Denial
	statuses []statusRange
	paths    *routes
	tools    []toolRule

	names     []string            // path of each slot
	columns   map[string][]uint16 // slots by folded name, for tables
	layouts   []string            // of times in tables
	zone      string              // of times in tables that name none
	tableOnly bool
	spans     *spanProgram // of a mapping for spans
}

// kind is a known kind of event. Its name is shared by all events of the kind.
type kind struct {
	name   string
	action string
	access schemas.Access
}

type statusRange struct {
	from, to int32
	outcome  schemas.Outcome
	denial   schemas.Denial
}

// compile makes a program of a mapping and the files that it uses.
func compile(f *file, used []*file) (*program, error) {
	c := compiler{p: &program{kinds: map[string]kind{}}, slots: map[string]int{}, roots: f.Roots}
	if len(c.roots) == 0 {
		c.roots = []string{""}
	}
	all := append([]*file{f}, used...)
	c.sections(all)
	c.fields(f, all)
	c.kind(f)
	c.spans(f.Spans)
	c.add(fOutcome, f.Outcome.Text)
	c.add(fCode, f.Outcome.Code)
	c.add(fError, f.Outcome.Error)
	c.add(fWhy, f.Outcome.Why)
	switch f.Identity {
	case "", "source":
	case "content":
		c.p.content = true
	default:
		c.fault("identity %q: it is source or content", f.Identity)
	}
	c.finish()
	c.columns(f)
	trie, err := jsonscan.Compile(c.paths)
	if err != nil {
		c.errs = append(c.errs, err)
	}
	c.p.trie, c.p.wanted = trie, c.slots
	return c.p, errors.Join(c.errs...)
}

type compiler struct {
	p     *program
	roots []string
	paths []string
	slots map[string]int // by lower-cased path
	errs  []error
}

// finish sorts out what is plain text and what is more.
func (c *compiler) finish() {
	for f := range c.p.rules {
		if r := &c.p.rules[f]; texts[f] == 0 || r.tail || len(r.values) > 0 {
			c.p.convert |= 1 << f
		}
	}
	for i := range c.p.slots {
		if s := &c.p.slots[i]; len(s.targets) == 1 {
			s.one = s.targets[0]
			s.text = s.one.field < fKind && c.p.convert&(1<<s.one.field) == 0
		}
	}
	// A field fed by a slot that feeds others too is assigned with them.
	for _, s := range c.p.slots {
		for _, t := range s.targets {
			if !s.text && t.field < fKind {
				c.p.convert |= 1 << t.field
			}
		}
	}
	for i := range c.p.slots {
		s := &c.p.slots[i]
		s.text = s.text && c.p.convert&(1<<s.one.field) == 0
	}
}

func (c *compiler) fault(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

// fields compiles the section of that name.
func (c *compiler) fields(f *file, all []*file) {
	v := reflect.ValueOf(f.Fields)
	for i := range v.NumField() {
		fd, name := v.Field(i).Interface().(field), v.Type().Field(i).Tag.Get("yaml")
		r := &c.p.rules[i]
		r.fixed, r.when = fd.Const, fd.When
		switch fd.As {
		case "", "text":
		case "tail":
			r.tail = true
		default:
			c.fault("fields.%s: as: %q: it is text or tail", name, fd.As)
		}
		unit, ok := map[string]int64{"": 0, "s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1}[fd.Unit]
		if r.unit = unit; !ok {
			c.fault("fields.%s: unit %q: it is s, ms, us or ns", name, fd.Unit)
		}
		table := fd.Values.table
		if fd.Values.name != "" {
			if table, ok = named(all, fd.Values.name); !ok {
				c.fault("fields.%s: values: there is no table %q; add it to values or to uses", name, fd.Values.name)
			}
		}
		r.values = lowerKeys(table)
		c.checkValues(i, name, r)
		if len(fd.When) > 0 {
			c.p.bound = append(c.p.bound, i)
		}
		if fd.Const != "" {
			c.p.fixed = append(c.p.fixed, i)
		}
		c.add(i, fd.From)
	}
}

// checkValues refuses tables that give values which the field cannot hold.
func (c *compiler) checkValues(i int, name string, r *rule) {
	var ok func(string) bool
	switch i {
	case fInitiator:
		ok = func(s string) bool { _, ok := schemas.ParseInitiator(s); return ok }
	case fAccess:
		ok = func(s string) bool { _, ok := schemas.ParseAccess(s); return ok }
	case fAutonomous:
		ok = func(s string) bool { return s == "yes" || s == "no" || s == "unknown" }
	default:
		return
	}
	for text, v := range r.values {
		if !ok(v) {
			c.fault("fields.%s: values: %s: %q is not a value of %s", name, text, v, name)
		}
	}
	if r.fixed != "" && !ok(r.fixed) {
		c.fault("fields.%s: const: %q is not a value of %s", name, r.fixed, name)
	}
}

// add lets the paths feed a field, each below each root.
func (c *compiler) add(field int, paths []string) {
	prio := 0
	for _, p := range paths {
		roots := c.roots
		if rest, ok := strings.CutPrefix(p, "/"); ok {
			p, roots = rest, []string{""}
		}
		if p == "" {
			c.fault("a path is empty; paths are like actor.id")
			continue
		}
		for _, root := range roots {
			full := p
			if root != "" {
				full = root + "." + p
			}
			c.feed(full, target{field: uint8(field), prio: uint8(min(prio, 254)), list: strings.Contains(full, "[]")})
			prio++
		}
	}
	if prio > 254 {
		c.fault("a field has %d paths; at most 254 are possible", prio)
	}
}

func (c *compiler) feed(path string, t target) int {
	low := strings.ToLower(path)
	at, ok := c.slots[low]
	if !ok {
		at = len(c.paths)
		c.slots[low] = at
		c.paths = append(c.paths, path)
		c.p.slots = append(c.p.slots, slot{})
	}
	// A path that is reached twice (below two roots) keeps its first place.
	for _, have := range c.p.slots[at].targets {
		if have.field == t.field {
			return at
		}
	}
	c.p.slots[at].targets = append(c.p.slots[at].targets, t)
	return at
}

func (c *compiler) kind(f *file) {
	k := f.Kind
	c.p.kindLog = k.Log
	if c.p.kindDefault = k.Default; k.Default == "" {
		c.p.kindDefault = "event"
	}
	c.add(fKind, k.From)
	for name, v := range k.Known {
		name = strings.ToLower(name)
		c.p.kinds[name] = kind{name: name, action: v.Action, access: c.access("kind.known."+name, v.Access)}
	}
	if k.Const != "" {
		c.p.kindConst = c.p.kinds[strings.ToLower(k.Const)]
		c.p.kindConst.name = k.Const
	}
	for _, path := range sortedKeys(k.Present) {
		for i, root := range c.roots {
			full := path
			if root != "" {
				full = root + "." + path
			}
			at := c.feed(full, target{field: fPresent, prio: uint8(i)})
			c.p.slots[at].kind = strings.ToLower(k.Present[path])
		}
	}
}
