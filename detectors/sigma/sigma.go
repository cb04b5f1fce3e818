// Package sigma is an engine for Sigma rules, specification 2.1: detection
// rules, filters and correlations, over our own events and over foreign JSON.
//
// Load compiles a directory of rules into a Set. A document that cannot be
// loaded is a Refusal with file, line and reason, and the others go on: no rule
// is loaded in part. An Evaluator runs records through a Set. The set has an
// index of the literals that a rule cannot match without, so that a record is
// compared only with the rules that it may match; the index never changes what
// matches.
package sigma

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/detectors/rules"
)

// Options of Load.
type Options struct {
	// Map says how rules fit the records; nil: fields by their names, and no
	// record has a logsource.
	Map *Map
	// AnyLogsource evaluates every rule on every record.
	AnyLogsource bool
}

// Set is a compiled set of rules. It does not change and may be shared.
type Set struct {
	Rules   []*Rule // loaded, by file and line
	Filters int     // that are in force
	Refused []error // each a *Refusal

	fields  []field
	sources []mapSource
	serves  [][]int // for each rule the sources that serve it
	base    []*Rule // detection rules, by number
	index   index
	any     bool
}

// Unserved returns the rules that no logsource of the map serves: they are
// never evaluated.
func (s *Set) Unserved() (out []*Rule) {
	for i, r := range s.base {
		if !s.any && len(s.serves[i]) == 0 {
			out = append(out, r)
		}
	}
	return out
}

// IsRuleFile reports whether Load takes a file of that name for rules: .yml and
// .yaml, but for the tests beside them and the table of what they cover.
func IsRuleFile(name string) bool {
	if path.Base(name) == rules.RowsFile {
		return false
	}
	ext := strings.HasSuffix(name, ".yml") || strings.HasSuffix(name, ".yaml")
	return ext && !strings.HasSuffix(name, ".test.yaml") && !strings.HasSuffix(name, ".test.yml")
}

// Load compiles every rule file below the root of fsys. Names are given as
// prefix and path. The error says that the tree could not be read; what is
// wrong with documents is in Set.Refused.
func Load(fsys fs.FS, prefix string, o Options) (*Set, error) {
	if o.Map == nil {
		o.Map = &Map{}
	}
	l := &loader{c: &compiler{o: &o, fieldN: map[string]int{}}}
	err := fs.WalkDir(fsys, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() || !IsRuleFile(path) {
			return nil
		}
		name := prefix + path
		if info, err := e.Info(); err == nil && info.Size() > largestFile {
			l.refuse(&Refusal{name, 1, fmt.Sprintf("file has %d bytes, more than %d", info.Size(), largestFile)})
			return nil
		}
		data, err := fs.ReadFile(fsys, path)
		if err != nil {
			l.refuse(&Refusal{name, 1, "file cannot be read: " + err.Error()})
			return nil
		}
		docs, refused := parseFile(name, data)
		l.docs = append(l.docs, docs...)
		for _, err := range refused {
			l.refuse(err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read rules in %s: %w", cmp.Or(prefix, "."), err)
	}
	return l.set()
}

type loader struct {
	c       *compiler
	docs    []*document
	rules   []*Rule
	filters []*filter
	refused []error
}

func (l *loader) refuse(err error) { l.refused = append(l.refused, err) }

func (l *loader) set() (*Set, error) {
	s := &Set{any: l.c.o.AnyLogsource}
	var err error
	if s.sources, err = l.c.sources(); err != nil {
		return nil, err
	}
	for _, d := range l.docs {
		l.c.tests = 0
		if err := l.take(d); err != nil {
			l.refuse(err)
		}
	}
	l.twice()
	l.relate()
	for _, f := range l.filters {
		if err := f.apply(l.rules); err != nil {
			l.refuse(err)
		} else {
			s.Filters++
		}
	}
	s.Rules, s.fields = l.rules, l.c.set
	for _, r := range l.rules {
		if !r.Correlation() {
			s.base = append(s.base, r)
			s.serves = append(s.serves, s.served(r))
		}
	}
	s.index = newIndex(s)
	s.Refused = l.refused
	slices.SortStableFunc(s.Refused, func(a, b error) int {
		x, y := refusalOf(a), refusalOf(b)
		return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line))
	})
	return s, nil
}

func refusalOf(err error) *Refusal {
	r, _ := errors.AsType[*Refusal](err)
	if r == nil {
		return &Refusal{}
	}
	return r
}

// take compiles one document.
func (l *loader) take(d *document) error {
	kinds := 0
	for _, k := range []string{"detection", "correlation", "filter"} {
		if d.get(k) != nil {
			kinds++
		}
	}
	var r *Rule
	var err error
	switch {
	case d.get("action") != nil:
		return d.at(d.get("action"), "action belongs to the collections of Sigma 1: write each rule as a document of its own")
	case kinds > 1:
		return d.at(nil, "detection, correlation and filter exclude one another")
	case d.get("correlation") != nil:
		r, err = l.c.correlation(d)
	case d.get("filter") != nil:
		f, err := l.c.filter(d)
		if err == nil {
			l.filters = append(l.filters, f)
		}
		return err
	default:
		r, err = l.c.rule(d)
	}
	if err == nil {
		l.rules = append(l.rules, r)
	}
	return err
}

// twice refuses rules whose id or name another one has already.
func (l *loader) twice() {
	seen := map[string]*Rule{}
	l.rules = slices.DeleteFunc(l.rules, func(r *Rule) bool {
		for _, k := range []string{strings.ToLower(r.uuid), r.Name} {
			if first := seen[k]; k != "" && first != nil {
				l.refuse(&Refusal{r.File, r.Line, fmt.Sprintf("id or name %q is that of the rule at %s already", k, first.Place())})
				return true
			}
		}
		seen[strings.ToLower(r.uuid)], seen[r.Name] = r, r
		return false
	})
}

func (s *Set) served(r *Rule) (out []int) {
	for i := range s.sources {
		if s.sources[i].within(r.Logsource) {
			out = append(out, i)
		}
	}
	return out
}
