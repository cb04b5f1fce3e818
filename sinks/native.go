package sinks

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/agentrail/agentrail/schemas"
)

type predicate = func(*schemas.Event) bool

// compileNative returns the checked expression as closures, or nil where it
// holds anything but and, or, not, a bool field, and a field compared with
// literals. None of these can fail, so that the short cut of && and || decides
// as cel-go does.
func compileNative(e ast.Expr) predicate {
	switch e.Kind() {
	case ast.LiteralKind:
		if b, ok := e.AsLiteral().(types.Bool); ok {
			return func(*schemas.Event) bool { return bool(b) }
		}
	case ast.IdentKind:
		if f := fieldByName[e.AsIdent()]; f != nil {
			return f.flag // nil for other types
		}
	case ast.CallKind:
		return compileCall(e.AsCall())
	}
	return nil
}

func compileCall(c ast.CallExpr) predicate {
	args := c.Args()
	if c.IsMemberFunction() {
		return compileMember(c)
	}
	switch c.FunctionName() {
	case operators.LogicalNot:
		if p := compileNative(args[0]); p != nil {
			return func(e *schemas.Event) bool { return !p(e) }
		}
	case operators.LogicalAnd, operators.LogicalOr:
		return compileJunction(c.FunctionName() == operators.LogicalAnd, args)
	case operators.Equals, operators.NotEquals:
		p := compileEqual(args[0], args[1])
		if p == nil {
			p = compileEqual(args[1], args[0])
		}
		if p != nil && c.FunctionName() == operators.NotEquals {
			return func(e *schemas.Event) bool { return !p(e) }
		}
		return p
	case operators.In:
		return compileIn(args[0], args[1])
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return compileOrder(c.FunctionName(), args[0], args[1])
	}
	return nil
}

func compileJunction(and bool, args []ast.Expr) predicate {
	parts := make([]predicate, len(args))
	for i, a := range args {
		if parts[i] = compileNative(a); parts[i] == nil {
			return nil
		}
	}
	if len(parts) == 2 {
		p, q := parts[0], parts[1]
		if and {
			return func(e *schemas.Event) bool { return p(e) && q(e) }
		}
		return func(e *schemas.Event) bool { return p(e) || q(e) }
	}
	return func(e *schemas.Event) bool {
		for _, p := range parts {
			if p(e) != and {
				return !and
			}
		}
		return and
	}
}

func compileEqual(left, right ast.Expr) predicate {
	f := ident(left)
	if f == nil || right.Kind() != ast.LiteralKind {
		return nil
	}
	switch v := right.AsLiteral().(type) {
	case types.String:
		if want := string(v); f.str != nil {
			get := f.str
			return func(e *schemas.Event) bool { return *get(e) == want }
		}
		if f.enum != nil {
			return enumSet(f, []string{string(v)})
		}
	case types.Int:
		if want := int64(v); f.num != nil {
			get := f.num
			return func(e *schemas.Event) bool { return get(e) == want }
		}
	case types.Bool:
		if want := bool(v); f.flag != nil {
			get := f.flag
			return func(e *schemas.Event) bool { return get(e) == want }
		}
	}
	return nil
}

// linearSet is up to how many strings are compared one by one.
const linearSet = 8

func compileIn(left, right ast.Expr) predicate {
	f := ident(left)
	if f == nil || right.Kind() != ast.ListKind || f.str == nil && f.enum == nil {
		return nil
	}
	var set []string
	for _, el := range right.AsList().Elements() {
		s, ok := stringLiteral(el)
		if !ok {
			return nil
		}
		set = append(set, s)
	}
	if f.enum != nil {
		return enumSet(f, set)
	}
	get := f.str
	if len(set) <= linearSet {
		return func(e *schemas.Event) bool { return slices.Contains(set, *get(e)) }
	}
	m := make(map[string]struct{}, len(set))
	for _, s := range set {
		m[s] = struct{}{}
	}
	return func(e *schemas.Event) bool { _, ok := m[*get(e)]; return ok }
}

// enumSet turns names into bits, so that a comparison is one shift.
func enumSet(f *field, set []string) predicate {
	var bits uint64
	for i, n := range f.enc {
		if slices.Contains(set, n) {
			bits |= 1 << i
		}
	}
	get := f.enum
	return func(e *schemas.Event) bool { return bits>>get(e)&1 != 0 }
}

func compileOrder(op string, left, right ast.Expr) predicate {
	f := ident(left)
	if f == nil || f.num == nil || right.Kind() != ast.LiteralKind {
		return nil
	}
	v, ok := right.AsLiteral().(types.Int)
	if !ok {
		return nil
	}
	get, n := f.num, int64(v)
	switch op {
	case operators.Less:
		return func(e *schemas.Event) bool { return get(e) < n }
	case operators.LessEquals:
		return func(e *schemas.Event) bool { return get(e) <= n }
	case operators.Greater:
		return func(e *schemas.Event) bool { return get(e) > n }
	default:
		return func(e *schemas.Event) bool { return get(e) >= n }
	}
}

func compileMember(c ast.CallExpr) predicate {
	f := ident(c.Target())
	if f == nil || f.str == nil || len(c.Args()) != 1 {
		return nil
	}
	s, ok := stringLiteral(c.Args()[0])
	if !ok {
		return nil
	}
	get := f.str
	switch c.FunctionName() {
	case "startsWith":
		return func(e *schemas.Event) bool { return strings.HasPrefix(*get(e), s) }
	case "endsWith":
		return func(e *schemas.Event) bool { return strings.HasSuffix(*get(e), s) }
	case "contains":
		return func(e *schemas.Event) bool { return strings.Contains(*get(e), s) }
	}
	return nil
}

func ident(e ast.Expr) *field {
	if e.Kind() != ast.IdentKind {
		return nil
	}
	return fieldByName[e.AsIdent()]
}
