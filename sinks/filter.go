package sinks

import (
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/agentrail/agentrail/schemas"
)

// Filter decides which events a sink gets. It is safe for concurrent use.
type Filter struct {
	native func(*schemas.Event) bool // set where the expression is plain enough
	prog   cel.Program
	pool   sync.Pool // of *activation
}

// Bounds of a filter.
const (
	maxFilterBytes = 16 << 10
	filterCost     = 200_000 // of cel-go's cost units per event; a match against a fixed pattern takes some tens
)

// CompileFilter compiles a CEL expression over the fields of an event. An
// unknown name, a wrong type or a value that the field never has is an error
// with line and column. An empty expression matches everything.
//
// Comparisons of fields with literals joined by && || ! run as closures of
// our own in some tens of nanoseconds, all else in cel-go.
func CompileFilter(source string) (*Filter, error) {
	if strings.TrimSpace(source) == "" {
		return &Filter{native: func(*schemas.Event) bool { return true }}, nil
	}
	f, checked, err := compileCEL(source)
	if err != nil {
		return nil, err
	}
	if err := checkLiterals(checked); err != nil {
		return nil, err
	}
	if err := checkRecord(checked); err != nil {
		return nil, err
	}
	f.native = compileNative(checked.Expr())
	return f, nil
}

// Match reports whether the event passes. An error says that the expression
// has no value for this event, such as a division by zero.
func (f *Filter) Match(ev *schemas.Event) (bool, error) {
	if f.native != nil {
		return f.native(ev), nil
	}
	return f.eval(ev)
}

func (f *Filter) eval(ev *schemas.Event) (bool, error) {
	a, _ := f.pool.Get().(*activation)
	if a == nil {
		a = new(activation)
	}
	a.ev = ev
	out, _, err := f.prog.Eval(a)
	a.ev = nil
	f.pool.Put(a)
	if err != nil {
		return false, fmt.Errorf("evaluate filter: %w", err)
	}
	return out == types.True, nil
}

func compileCEL(source string) (*Filter, *ast.AST, error) {
	if len(source) > maxFilterBytes {
		return nil, nil, fmt.Errorf("filter: expression of %d bytes is longer than %d", len(source), maxFilterBytes)
	}
	var opts []cel.EnvOption
	for i := range fields {
		opts = append(opts, cel.Variable(fields[i].name, fields[i].celType()))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("filter: %w", err)
	}
	compiled, iss := env.Compile(source)
	if iss.Err() != nil {
		e := iss.Errors()[0]
		return nil, nil, filterFault(e.Location.Line(), e.Location.Column(), e.Message)
	}
	if !compiled.OutputType().IsExactType(cel.BoolType) {
		return nil, nil, filterFault(1, 0, fmt.Sprintf("expression is of type %s, not bool", compiled.OutputType()))
	}
	prog, err := env.Program(compiled, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(filterCost))
	if err != nil {
		return nil, nil, fmt.Errorf("filter: %w", err)
	}
	return &Filter{prog: prog}, compiled.NativeRep(), nil
}

// filterFault says where in the expression; column counts from 0.
func filterFault(line, column int, msg string) error {
	hint := ""
	if strings.Contains(msg, "undeclared reference to") {
		names := make([]string, len(fields))
		for i := range fields {
			names[i] = fields[i].name
		}
		msg, _, _ = strings.Cut(msg, " (in container")
		hint = "; known fields: " + strings.Join(names, ", ")
	}
	return fmt.Errorf("filter: line %d, column %d: %s%s", line, column+1, msg, hint)
}

// checkLiterals finds comparisons of a field of few values with one that it
// never has: access == "writ" would silently match nothing.
func checkLiterals(checked *ast.AST) error {
	var fault error
	complain := func(e ast.Expr, f *field) {
		s, ok := stringLiteral(e)
		if !ok || fault != nil {
			return
		}
		for _, n := range f.enc {
			if n == s && n != "" {
				return
			}
		}
		loc := checked.SourceInfo().GetStartLocation(e.ID())
		fault = filterFault(loc.Line(), loc.Column(), fmt.Sprintf("%s is never %q; it is one of %s", f.name, s, enumNames(f)))
	}
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || len(e.AsCall().Args()) != 2 {
			return
		}
		call := e.AsCall()
		left, right := call.Args()[0], call.Args()[1]
		switch call.FunctionName() {
		case operators.Equals, operators.NotEquals:
			if f := enumIdent(left); f != nil {
				complain(right, f)
			}
			if f := enumIdent(right); f != nil {
				complain(left, f)
			}
		case operators.In:
			if f := enumIdent(left); f != nil && right.Kind() == ast.ListKind {
				for _, el := range right.AsList().Elements() {
					complain(el, f)
				}
			}
		}
	}))
	return fault
}

func enumIdent(e ast.Expr) *field {
	if e.Kind() != ast.IdentKind {
		return nil
	}
	if f := fieldByName[e.AsIdent()]; f != nil && f.enum != nil {
		return f
	}
	return nil
}

func enumNames(f *field) string {
	var out []string
	for _, n := range f.enc[:len(f.enc)-1] { // the last stands for values of a later version
		if n != "" {
			out = append(out, n)
		}
	}
	return strings.Join(out, ", ")
}

func stringLiteral(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}
