package sigma

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// node is a boolean expression. A leaf is an item of a detection, or, in the
// condition of a correlation, the place of a rule.
type node struct {
	op   op
	kids []*node
	n    int   // of atLeast
	item *item // of leaf
	ref  int   // of refer: index of the rule
}

type op uint8

const (
	opAnd op = iota
	opOr
	opNot
	opAtLeast // n of the kids
	opLeaf
	opRefer
)

const (
	longestCondition = 16 << 10
	deepestCondition = 64
)

// parseCondition reads a condition. names are the identifiers there are, in
// order; resolve gives the expression of one.
func parseCondition(text string, names []string, resolve func(name string) *node) (*node, error) {
	if len(text) > longestCondition {
		return nil, fmt.Errorf("condition is longer than %d bytes", longestCondition)
	}
	p := &conditionParser{names: names, resolve: resolve, words: conditionWords(text)}
	if len(p.words) == 0 {
		return nil, fmt.Errorf("condition is empty")
	}
	n, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if w := p.peek(); w == "|" {
		return nil, fmt.Errorf("condition has an aggregation behind |, which Sigma 2 does not have: write a correlation")
	} else if w != "" {
		return nil, fmt.Errorf("condition has %q where and, or or its end belongs", w)
	}
	return n, nil
}

func conditionWords(text string) []string {
	for _, c := range []string{"(", ")", "|"} {
		text = strings.ReplaceAll(text, c, " "+c+" ")
	}
	return strings.Fields(text)
}

type conditionParser struct {
	words   []string
	names   []string
	resolve func(string) *node
}

func (p *conditionParser) peek() string {
	if len(p.words) == 0 {
		return ""
	}
	return p.words[0]
}

func (p *conditionParser) take(word string) bool {
	if strings.EqualFold(p.peek(), word) {
		p.words = p.words[1:]
		return true
	}
	return false
}

func (p *conditionParser) or(depth int) (*node, error) {
	return p.chain(depth, "or", opOr, func(d int) (*node, error) { return p.chain(d, "and", opAnd, p.not) })
}

func (p *conditionParser) chain(depth int, word string, o op, next func(int) (*node, error)) (*node, error) {
	n, err := next(depth)
	if err != nil {
		return nil, err
	}
	kids := []*node{n}
	for p.take(word) {
		if n, err = next(depth); err != nil {
			return nil, err
		}
		kids = append(kids, n)
	}
	if len(kids) == 1 {
		return kids[0], nil
	}
	return &node{op: o, kids: kids}, nil
}

func (p *conditionParser) not(depth int) (*node, error) {
	if depth > deepestCondition {
		return nil, fmt.Errorf("condition is nested deeper than %d", deepestCondition)
	}
	if p.take("not") {
		n, err := p.not(depth + 1)
		if err != nil {
			return nil, err
		}
		return &node{op: opNot, kids: []*node{n}}, nil
	}
	if p.take("(") {
		n, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.take(")") {
			return nil, fmt.Errorf("condition has %q where ) belongs", p.peek())
		}
		return n, nil
	}
	w := p.peek()
	if w == "" {
		return nil, fmt.Errorf("condition ends where an identifier belongs")
	}
	p.words = p.words[1:]
	if p.take("of") {
		return p.of(w)
	}
	if !slices.Contains(p.names, w) {
		return nil, fmt.Errorf("condition names %q, which is not there", w)
	}
	return p.resolve(w), nil
}

// of reads what is behind "1 of", "all of" or "any of".
func (p *conditionParser) of(quantity string) (*node, error) {
	w := p.peek()
	if w == "" || w == "(" || w == ")" {
		return nil, fmt.Errorf("condition has nothing behind %q", quantity+" of")
	}
	p.words = p.words[1:]
	var kids []*node
	for _, name := range p.names {
		if strings.EqualFold(w, "them") && !strings.HasPrefix(name, "_") || !strings.EqualFold(w, "them") && globbed(w, name) {
			kids = append(kids, p.resolve(name))
		}
	}
	if len(kids) == 0 {
		return nil, fmt.Errorf("condition has %q, which no identifier fits", quantity+" of "+w)
	}
	switch strings.ToLower(quantity) {
	case "all":
		return &node{op: opAnd, kids: kids}, nil
	case "any", "1":
		return &node{op: opOr, kids: kids}, nil
	}
	n, err := strconv.Atoi(quantity)
	if err != nil || n < 1 || n > len(kids) {
		return nil, fmt.Errorf("condition wants %q of %d identifiers", quantity, len(kids))
	}
	return &node{op: opAtLeast, n: n, kids: kids}, nil
}

// globbed reports whether a name fits a pattern whose only special is *.
func globbed(glob, name string) bool {
	var p pattern
	for i, lit := range strings.Split(glob, "*") {
		if i > 0 {
			p = append(p, token{kind: tokenStar})
		}
		if lit != "" {
			p = append(p, token{lit: lit})
		}
	}
	return p.joined().match(name)
}
