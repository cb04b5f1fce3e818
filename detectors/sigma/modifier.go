package sigma

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"go.yaml.in/yaml/v4"
)

const (
	longestValue  = 4096
	longestRegexp = 4096
)

// spec is the reading of one detection line: its modifiers are applied in the
// order in which they stand.
type spec struct {
	keyword    bool
	all, cased bool
	negated    bool
	exists     bool
	re         bool
	flags      string // of re
	cidr       bool
	fieldref   bool
	place      testKind // of fieldref: where in the field
	compare    testKind // of numbers; 0 if none
	part       string   // of dates
	shape      []string // what changes the text, in order
	expand     bool
}

// readModifiers says what the modifiers ask for.
func readModifiers(mods []string) (spec, error) {
	s := spec{place: testField}
	for i, m := range mods {
		last := ""
		if i > 0 {
			last = mods[i-1]
		}
		switch m {
		case "all":
			s.all = true
		case "cased":
			s.cased = true
		case "neq":
			s.negated = true
		case "exists":
			s.exists = true
		case "re":
			s.re = true
		case "i", "m", "s":
			if !s.re || last != "re" && !slices.Contains([]string{"i", "m", "s"}, last) {
				return s, fmt.Errorf("modifier %q belongs behind re", m)
			}
			s.flags += m
		case "cidr":
			s.cidr = true
		case "fieldref":
			s.fieldref = true
		case "lt", "lte", "gt", "gte":
			if s.compare != 0 {
				return s, fmt.Errorf("modifier %q: the line compares already", m)
			}
			s.compare = map[string]testKind{"lt": testLess, "lte": testLessEqual, "gt": testGreater, "gte": testGreaterEqual}[m]
		case "minute", "hour", "day", "week", "month", "year":
			if s.part != "" {
				return s, fmt.Errorf("modifier %q: the line takes the %s already", m, s.part)
			}
			s.part = m
		case "expand":
			s.expand = true
		case "contains", "startswith", "endswith", "windash", "base64", "base64offset", "utf16", "utf16le", "utf16be", "wide":
			s.shape = append(s.shape, m)
		default:
			return s, fmt.Errorf("unknown modifier %q", m)
		}
	}
	return s, s.check()
}

// check refuses combinations that mean nothing, so that none is half obeyed.
func (s *spec) check() error {
	if s.fieldref && len(s.shape) == 1 {
		if k, ok := map[string]testKind{"startswith": testFieldStarts, "endswith": testFieldEnds, "contains": testFieldContains}[s.shape[0]]; ok {
			s.place, s.shape = k, nil
		}
	}
	var kinds []string
	for _, k := range []struct {
		set  bool
		name string
	}{
		{s.exists, "exists"},
		{s.re, "re"},
		{s.cidr, "cidr"},
		{s.fieldref, "fieldref"},
		{s.compare != 0 || s.part != "", "a comparison of numbers or dates"},
	} {
		if k.set {
			kinds = append(kinds, k.name)
		}
	}
	switch {
	case len(kinds) > 1:
		return fmt.Errorf("modifiers %s exclude one another", strings.Join(kinds, " and "))
	case len(kinds) == 1 && len(s.shape) > 0 && !s.re:
		return fmt.Errorf("modifier %s cannot follow or precede %s", s.shape[0], kinds[0])
	case s.re && slices.ContainsFunc(s.shape, func(m string) bool { return m != "contains" && m != "startswith" && m != "endswith" }):
		return fmt.Errorf("modifier %s cannot be combined with re", s.shape[0])
	case s.cased && len(kinds) == 1 && !s.fieldref && !s.re:
		return fmt.Errorf("modifier cased cannot be combined with %s", kinds[0])
	case s.exists && (s.all || s.negated):
		return errors.New("modifier exists stands alone: say exists: false")
	}
	return nil
}

// tests makes the tests of one value.
func (s *spec) tests(n *yaml.Node, c *compiler) ([]test, error) {
	if n.Kind != yaml.ScalarNode {
		return nil, errors.New("value is neither text nor number")
	}
	if len(n.Value) > longestValue {
		return nil, fmt.Errorf("value has %d bytes, more than %d", len(n.Value), longestValue)
	}
	if n.Tag == "!!null" {
		if len(s.shape) > 0 || s.re || s.cidr || s.fieldref || s.exists || s.compare != 0 || s.part != "" || s.keyword {
			return nil, errors.New("null cannot be modified or searched for as a keyword")
		}
		return []test{{kind: testNull}}, nil
	}
	switch {
	case s.exists:
		if n.Tag != "!!bool" {
			return nil, fmt.Errorf("exists wants true or false, not %q", n.Value)
		}
		yes := strings.EqualFold(n.Value, "true")
		return []test{{kind: testExists, yes: yes}}, nil
	case s.re:
		return s.regexp(n.Value)
	case s.cidr:
		return cidrTest(n.Value)
	case s.fieldref:
		if n.Value == "" {
			return nil, errors.New("fieldref names no field")
		}
		return []test{{kind: s.place, other: c.slot(n.Value), cased: s.cased}}, nil
	case s.compare != 0 || s.part != "":
		return s.number(n.Value)
	}
	return s.text(n, c)
}

func (s *spec) regexp(text string) ([]test, error) {
	if len(text) > longestRegexp {
		return nil, fmt.Errorf("regular expression has %d bytes, more than %d", len(text), longestRegexp)
	}
	flags := ""
	if s.flags != "" {
		flags = "(?" + s.flags + ")"
	}
	re, err := regexp.Compile(flags + text)
	if err != nil {
		return nil, fmt.Errorf("regular expression: %w", err)
	}
	return []test{{kind: testRegexp, re: re, cased: true}}, nil
}

func cidrTest(text string) ([]test, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("cidr: %q is no network", text)
		}
		return []test{{kind: testCIDR, net: netip.PrefixFrom(a, a.BitLen())}}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, fmt.Errorf("cidr: %q is no network", text)
	}
	return []test{{kind: testCIDR, net: p.Masked()}}, nil
}

func (s *spec) number(text string) ([]test, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n != n {
		return nil, fmt.Errorf("%q is no number", text)
	}
	kind := s.compare
	if kind == 0 {
		kind = testEqual
	}
	return []test{{kind: kind, num: n, part: dateParts[s.part]}}, nil
}

// text makes the tests of a textual value: it is parsed, its placeholders are
// filled, and the modifiers shape it in order.
func (s *spec) text(n *yaml.Node, c *compiler) ([]test, error) {
	text := n.Value
	if n.Tag == "!!int" || n.Tag == "!!float" {
		text = numberText(text)
	}
	pats := []pattern{parsePattern(text)}
	if s.expand {
		var err error
		if pats, err = c.expand(text); err != nil {
			return nil, err
		}
	}
	for _, m := range s.shape {
		var next []pattern
		for _, p := range pats {
			out, err := reshape(p, m)
			if err != nil {
				return nil, err
			}
			next = append(next, out...)
		}
		pats = next
	}
	var out []test
	for _, p := range pats {
		if s.keyword {
			p = p.open(true, true)
		}
		if !s.cased {
			p = p.lowered()
		}
		out = append(out, test{kind: testText, pat: p.joined(), cased: s.cased})
	}
	return out, nil
}

// reshape applies one modifier that changes the text.
func reshape(p pattern, m string) ([]pattern, error) {
	switch m {
	case "contains":
		return []pattern{p.open(true, true)}, nil
	case "startswith":
		return []pattern{p.open(false, true)}, nil
	case "endswith":
		return []pattern{p.open(true, false)}, nil
	case "windash":
		return []pattern{p.windash()}, nil
	}
	spelt, ok := p.spell()
	if !ok {
		return nil, fmt.Errorf("modifier %s: windash gives too many spellings to encode", m)
	}
	var out []pattern
	for _, one := range spelt {
		text, ok := one.plain()
		if !ok {
			return nil, fmt.Errorf("modifier %s: a value with wildcards cannot be encoded; put contains behind it", m)
		}
		for _, e := range encode(text, m) {
			if e != "" {
				out = append(out, pattern{{lit: e}})
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("modifier %s: nothing of the value is left to look for", m)
	}
	return out, nil
}

func encode(text, m string) []string {
	switch m {
	case "base64":
		return []string{base64.StdEncoding.EncodeToString([]byte(text))}
	case "base64offset":
		return base64Offsets(text)
	case "utf16":
		return []string{"\xff\xfe" + utf16Text(text, false)}
	case "utf16be":
		return []string{utf16Text(text, true)}
	}
	return []string{utf16Text(text, false)}
}

// base64Offsets returns what of the encoding does not depend on the bytes
// around the text, for each of its three places.
func base64Offsets(text string) (out []string) {
	start, end := []int{0, 2, 3}, []int{0, 3, 2}
	for i := range 3 {
		enc := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", i) + text))
		stop := len(enc) - end[(len(text)+i)%3]
		if start[i] < stop {
			out = append(out, enc[start[i]:stop])
		}
	}
	return out
}

func utf16Text(s string, big bool) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		if big {
			b = append(b, byte(u>>8), byte(u))
		} else {
			b = append(b, byte(u), byte(u>>8))
		}
	}
	return string(b)
}
