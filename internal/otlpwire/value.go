package otlpwire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// Kind says what a Value is.
type Kind uint8

// Kinds of values, by the field numbers of AnyValue.
const (
	None Kind = iota
	String
	Bool
	Int
	Double
	Array
	Map
	Bytes
)

// Value is the value of an attribute.
type Value struct {
	Kind Kind
	Num  uint64 // of Bool, Int and Double, as on the wire
	Data []byte // of String and Bytes; of Array and Map their message
}

// maxDepth is how deep arrays and maps are followed.
const maxDepth = 64

// readValue reads an AnyValue message.
func readValue(raw []byte) (v Value, err error) {
	err = fields(raw, func(f field) error {
		if f.num >= protowire.Number(String) && f.num <= protowire.Number(Bytes) {
			v = Value{Kind: Kind(f.num), Num: f.value, Data: f.bytes}
		}
		return nil
	})
	return v, err
}

// AppendText appends the value as text: a string as it is, bytes as base64,
// arrays and maps as JSON. It is how the Collector's exporters write values.
func (v Value) AppendText(dst []byte) []byte {
	switch v.Kind {
	case String:
		return append(dst, v.Data...)
	case Bytes:
		return base64.StdEncoding.AppendEncode(dst, v.Data)
	case Array, Map:
		doc, err := v.plain(0)
		if err != nil {
			return dst
		}
		text, err := json.Marshal(doc)
		if err != nil {
			return dst
		}
		return append(dst, text...)
	}
	return v.appendNumber(dst)
}

func (v Value) appendNumber(dst []byte) []byte {
	switch v.Kind {
	case Bool:
		return strconv.AppendBool(dst, v.Num != 0)
	case Int:
		return strconv.AppendInt(dst, int64(v.Num), 10)
	case Double:
		return strconv.AppendFloat(dst, math.Float64frombits(v.Num), 'g', -1, 64)
	}
	return dst
}

// plain is the value as encoding/json writes it.
func (v Value) plain(depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: a value is nested deeper than %d", ErrMalformed, maxDepth)
	}
	switch v.Kind {
	case String:
		return string(v.Data), nil
	case Bytes:
		return v.Data, nil
	case Bool:
		return v.Num != 0, nil
	case Int:
		return int64(v.Num), nil
	case Double:
		f := math.Float64frombits(v.Num)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return strconv.FormatFloat(f, 'g', -1, 64), nil
		}
		return f, nil
	case Array:
		out := []any{}
		err := each(v.Data, 1, func(b []byte) error {
			e, err := readValue(b)
			if err != nil {
				return err
			}
			p, err := e.plain(depth + 1)
			out = append(out, p)
			return err
		})
		return out, err
	case Map:
		out := map[string]any{}
		err := each(v.Data, 1, func(b []byte) error {
			return keyValue(b, func(key []byte, e Value) error {
				p, err := e.plain(depth + 1)
				out[string(key)] = p
				return err
			})
		})
		return out, err
	}
	return nil, nil
}
