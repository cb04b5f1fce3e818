package sigma

import (
	"github.com/agentrail/agentrail/internal/otlpwire"
	"github.com/agentrail/agentrail/schemas"
)

// spanAttribute looks up an attribute of a span by its name: rules name those
// of the semantic conventions, such as gen_ai.usage.input_tokens, as they stand.
// The last of several with one name counts.
func spanAttribute(span []byte, name string) (v schemas.Value, ok bool) {
	_, err := otlpwire.ReadSpan(span, func(key []byte, a otlpwire.Value) error {
		if string(key) == name {
			v, ok = attributeValue(a)
		}
		return nil
	})
	return v, ok && err == nil
}

func attributeValue(a otlpwire.Value) (schemas.Value, bool) {
	v := schemas.Value{Str: string(a.AppendText(nil))}
	switch a.Kind {
	case otlpwire.None:
		return v, false
	case otlpwire.Int, otlpwire.Double:
		v.Kind = schemas.ValueNumber
	case otlpwire.Bool:
		v.Kind = schemas.ValueBool
	case otlpwire.Array, otlpwire.Map:
		v.Kind = schemas.ValueJSON
	default:
		v.Kind = schemas.ValueString
	}
	return v, true
}
