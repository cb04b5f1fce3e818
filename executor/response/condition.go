package response

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/agentrail/agentrail/schemas"
)

// condition is the compiled when of a policy. It is safe for concurrent use.
type condition struct{ prog cel.Program }

// Bounds of a condition.
const (
	maxCondition  = 16 << 10
	conditionCost = 200_000 // of cel-go's cost units for one alert
)

// fact is one name that conditions may use.
type fact struct {
	name  string
	kind  *cel.Type
	words []string // the only values that it has, if these are few
	value func(a *schemas.Alert) any
}

var severities = []string{"informational", "low", "medium", "high", "critical"}

var facts = func() []fact {
	text := func(name string, v func(*schemas.Alert) string, words ...string) fact {
		return fact{name, cel.StringType, words, func(a *schemas.Alert) any { return v(a) }}
	}
	return []fact{
		text("alert.id", func(a *schemas.Alert) string { return a.ID }),
		text("alert.rule", func(a *schemas.Alert) string { return a.Rule }),
		text("alert.title", func(a *schemas.Alert) string { return a.Title }),
		text("alert.severity", func(a *schemas.Alert) string { return string(a.Severity) }, severities...),
		text("alert.confidence", func(a *schemas.Alert) string { return a.Confidence }, "low", "medium", "high"),
		text("alert.actor", func(a *schemas.Alert) string { return a.Actor }),
		text("alert.actor_email", func(a *schemas.Alert) string { return a.ActorEmail }),
		text("alert.on_behalf_of", func(a *schemas.Alert) string { return a.OnBehalfOf }),
		text("alert.agent", func(a *schemas.Alert) string { return a.Agent }),
		text("alert.agent_name", func(a *schemas.Alert) string { return a.AgentName }),
		text("alert.subscription", func(a *schemas.Alert) string { return a.Subscription }),
		text("alert.run", func(a *schemas.Alert) string { return a.Run }),
		text("alert.initiator", func(a *schemas.Alert) string { return a.Initiator }, "human", "schedule", "content", "api", "unknown"),
		text("alert.reason", func(a *schemas.Alert) string { return a.Reason }),
		{"alert.count", cel.IntType, nil, func(a *schemas.Alert) any { return a.Count }},
		{"alert.observed", cel.DoubleType, nil, func(a *schemas.Alert) any { return a.Observed }},
		{"alert.threshold", cel.DoubleType, nil, func(a *schemas.Alert) any { return a.Threshold }},
		{"alert.late", cel.BoolType, nil, func(a *schemas.Alert) any { return a.Late }},
		{"alert.tags", cel.ListType(cel.StringType), nil, func(a *schemas.Alert) any { return a.Tags }},
		text("entity.kind", func(a *schemas.Alert) string { return a.Entity.Kind }, "agent", "actor", "tool", "subscription", "tenant", "source"),
		text("entity.id", func(a *schemas.Alert) string { return a.Entity.ID }),
		text("entity.name", func(a *schemas.Alert) string { return a.Entity.Name }),
	}
}()

// compile compiles a condition. An unknown name, a wrong type or a word that
// the name never has is an error with line and column.
func compile(source string) (*condition, error) {
	if strings.TrimSpace(source) == "" {
		return nil, errors.New(`when is empty; say which alerts it answers, such as alert.rule == "burst"`)
	}
	if len(source) > maxCondition {
		return nil, fmt.Errorf("when: expression of %d bytes is longer than %d", len(source), maxCondition)
	}
	var opts []cel.EnvOption
	for i := range facts {
		opts = append(opts, cel.Variable(facts[i].name, facts[i].kind))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("when: %w", err)
	}
	compiled, iss := env.Compile(source)
	if iss.Err() != nil {
		e := iss.Errors()[0]
		return nil, conditionFault(e.Location.Line(), e.Location.Column(), e.Message)
	}
	if !compiled.OutputType().IsExactType(cel.BoolType) {
		return nil, conditionFault(1, 0, fmt.Sprintf("expression is of type %s, not bool", compiled.OutputType()))
	}
	if err := checkWords(compiled.NativeRep()); err != nil {
		return nil, err
	}
	prog, err := env.Program(compiled, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(conditionCost))
	if err != nil {
		return nil, fmt.Errorf("when: %w", err)
	}
	return &condition{prog}, nil
}

// match reports whether the policy wants the alert. An error says that the
// condition has no value for it, such as a division by zero.
func (c *condition) match(a *schemas.Alert) (bool, error) {
	out, _, err := c.prog.Eval(activation{a})
	if err != nil {
		return false, fmt.Errorf("evaluate when: %w", err)
	}
	return out == types.True, nil
}

// activation gives a condition the facts of an alert.
type activation struct{ alert *schemas.Alert }

func (v activation) ResolveName(name string) (any, bool) {
	for i := range facts {
		if facts[i].name == name {
			return facts[i].value(v.alert), true
		}
	}
	return nil, false
}

func (activation) Parent() cel.Activation { return nil }

// conditionFault says where in the expression; column counts from 0.
func conditionFault(line, column int, msg string) error {
	if strings.Contains(msg, "undeclared reference to") {
		names := make([]string, len(facts))
		for i := range facts {
			names[i] = facts[i].name
		}
		msg, _, _ = strings.Cut(msg, " (in container")
		msg += "; known: " + strings.Join(names, ", ")
	}
	return fmt.Errorf("when: line %d, column %d: %s", line, column+1, msg)
}

// checkWords finds comparisons of a name of few values with one that it never
// has: alert.severity == "hihg" would silently match nothing.
func checkWords(checked *ast.AST) error {
	var fault error
	complain := func(name, value ast.Expr) {
		f := factOf(checked, name)
		if f == nil || value.Kind() != ast.LiteralKind || fault != nil {
			return
		}
		if s, ok := value.AsLiteral().(types.String); ok && s != "" && !slices.Contains(f.words, string(s)) {
			at := checked.SourceInfo().GetStartLocation(value.ID())
			fault = conditionFault(at.Line(), at.Column(), fmt.Sprintf("%s is never %q; it is one of %s", f.name, string(s), strings.Join(f.words, ", ")))
		}
	}
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || len(e.AsCall().Args()) != 2 {
			return
		}
		left, right := e.AsCall().Args()[0], e.AsCall().Args()[1]
		switch e.AsCall().FunctionName() {
		case operators.Equals, operators.NotEquals:
			complain(left, right)
			complain(right, left)
		case operators.In:
			if right.Kind() == ast.ListKind {
				for _, one := range right.AsList().Elements() {
					complain(left, one)
				}
			}
		}
	}))
	return fault
}

// factOf returns the fact of few values that the expression names, or nil.
func factOf(checked *ast.AST, e ast.Expr) *fact {
	ref, ok := checked.ReferenceMap()[e.ID()]
	if !ok {
		return nil
	}
	for i := range facts {
		if facts[i].name == ref.Name && facts[i].words != nil {
			return &facts[i]
		}
	}
	return nil
}
