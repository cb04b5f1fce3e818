package sinks

import (
	"errors"
	"reflect"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/agentrail/agentrail/schemas"
)

// record is the variable of that name in a filter: record["params.tool"] is
// the value at that path of the record as it was received, or of one of our
// own documents (record["severity"] of an alert). What is not there is null;
// an object or array is its JSON as text. It cannot be iterated.
type record struct{ ev *schemas.Event }

var errRecord = errors.New("record can only be asked for a path")

// Find returns the value at a path.
func (r record) Find(key ref.Val) (ref.Val, bool) { return r.Get(key), true }

// Get returns the value at a path.
func (r record) Get(key ref.Val) ref.Val {
	path, ok := key.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key)
	}
	v, ok := r.ev.Lookup(string(path))
	if !ok {
		return types.NullValue
	}
	switch v.Kind {
	case schemas.ValueString, schemas.ValueJSON:
		return types.String(v.Str)
	case schemas.ValueNumber:
		return types.Double(v.Num)
	case schemas.ValueBool:
		return types.Bool(v.Bool)
	}
	return types.NullValue
}

// Contains reports whether the record has the path.
func (r record) Contains(key ref.Val) ref.Val {
	path, ok := key.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key)
	}
	_, ok = r.ev.Lookup(string(path))
	return types.Bool(ok)
}

// Iterator is never called: see checkRecord.
func (r record) Iterator() traits.Iterator { panic("BUG: record is iterated") }

// Size has no value.
func (r record) Size() ref.Val { return types.WrapErr(errRecord) }

// ConvertToNative has no value.
func (r record) ConvertToNative(reflect.Type) (any, error) { return nil, errRecord }

// ConvertToType has no value.
func (r record) ConvertToType(ref.Type) ref.Val { return types.WrapErr(errRecord) }

// Equal has no value.
func (r record) Equal(ref.Val) ref.Val { return types.WrapErr(errRecord) }

// Type is that of a map.
func (r record) Type() ref.Type { return types.MapType }

// Value returns the record itself.
func (r record) Value() any { return r }

// checkRecord finds a use of record other than asking for a path.
func checkRecord(checked *ast.AST) error {
	uses, asked := map[int64]bool{}, map[int64]bool{}
	ask := func(e ast.Expr) { asked[e.ID()] = true }
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.IdentKind:
			uses[e.ID()] = e.AsIdent() == "record"
		case ast.SelectKind:
			ask(e.AsSelect().Operand())
		case ast.CallKind:
			switch call := e.AsCall(); call.FunctionName() {
			case operators.Index:
				ask(call.Args()[0])
			case operators.In:
				ask(call.Args()[1])
			}
		}
	}))
	for id, is := range uses {
		if is && !asked[id] {
			loc := checked.SourceInfo().GetStartLocation(id)
			return filterFault(loc.Line(), loc.Column(), errRecord.Error()+`, as in record["params.tool"]`)
		}
	}
	return nil
}
