package otlpwire

import (
	"bytes"
	"cmp"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// AppendKept appends a request that holds the spans for which keep is true, each
// in its canonical form: fields in the order of their numbers, attributes in the
// order of their bytes. A span that a database wrote in another order is the
// same bytes again. Fields that are not known here are kept as they are.
func AppendKept(dst, request []byte, keep func(traceID, spanID []byte) bool) ([]byte, error) {
	k := keeper{keep: keep}
	err := fields(request, func(f field) error {
		if f.num != requestGroups || f.typ != protowire.BytesType {
			return nil
		}
		group, n, err := k.children(f.bytes, groupScopes, func(scopes []byte) ([]byte, int, error) {
			return k.children(scopes, scopesSpans, k.span)
		})
		if err == nil && n > 0 {
			dst = appendMessage(dst, requestGroups, group)
		}
		return err
	})
	return dst, err
}

type keeper struct {
	keep func(traceID, spanID []byte) bool
}

// children rewrites the messages of one field, keeps the other fields, and says
// how many spans are left in it.
func (k keeper) children(message []byte, num protowire.Number, rewrite func([]byte) ([]byte, int, error)) (out []byte, left int, err error) {
	err = fields(message, func(f field) error {
		if f.num != num || f.typ != protowire.BytesType {
			out = append(out, f.whole...)
			return nil
		}
		child, n, err := rewrite(f.bytes)
		if err == nil && n > 0 {
			out, left = appendMessage(out, num, child), left+n
		}
		return err
	})
	return out, left, err
}

func (k keeper) span(raw []byte) ([]byte, int, error) {
	s, err := ReadSpan(raw, nil)
	if err != nil || !k.keep(s.TraceID, s.SpanID) {
		return nil, 0, err
	}
	out, err := canonical(raw, spanAttributes, map[protowire.Number]protowire.Number{spanEvents: eventAttributes, spanLinks: linkAttributes})
	return out, 1, err
}

// canonical orders the fields of a message, its attributes, and those of the
// messages in it: inner maps the number of their field to that of their
// attributes.
func canonical(message []byte, attributes protowire.Number, inner map[protowire.Number]protowire.Number) ([]byte, error) {
	var all []field
	err := fields(message, func(f field) error {
		if a, ok := inner[f.num]; ok && f.typ == protowire.BytesType {
			child, err := canonical(f.bytes, a, nil)
			if err != nil {
				return err
			}
			f.whole = appendMessage(nil, f.num, child)
		}
		all = append(all, f)
		return nil
	})
	slices.SortStableFunc(all, func(a, b field) int {
		if a.num == attributes && b.num == attributes {
			return bytes.Compare(a.bytes, b.bytes)
		}
		return cmp.Compare(a.num, b.num)
	})
	var out []byte
	for _, f := range all {
		out = append(out, f.whole...)
	}
	return out, err
}

func appendMessage(dst []byte, num protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, num, protowire.BytesType), message)
}
