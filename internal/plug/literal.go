package plug

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

// CheckSecrets refuses secrets that stand in the file themselves: who may read
// a config, its backups and its history need not know what it protects. A
// Secret is given by its File twin or as ${env:NAME}; a field with the tag
// secret:"plain" may be written out all the same and is only kept from being
// printed. Decode calls it for entries that come from a file; into is what n
// is decoded into.
func CheckSecrets(file string, n *yaml.Node, into any) error {
	var faults []error
	literals(n, reflect.TypeOf(into), func(key string, value *yaml.Node, twin bool) {
		hint := fmt.Sprintf("write %s: ${env:NAME}", key)
		if twin {
			hint = fmt.Sprintf("write %s_file: PATH (mode 0600) or %s: ${env:NAME}", key, key)
		}
		faults = append(faults, &Error{File: file, Line: value.Line, Msg: key + ": the secret itself stands in the file", Hint: hint})
	})
	return errors.Join(faults...)
}

// literals calls found for each secret below n that is written out.
func literals(n *yaml.Node, t reflect.Type, found func(key string, value *yaml.Node, twin bool)) {
	switch {
	case n == nil || t == nil:
		return
	case n.Kind == yaml.AliasNode:
		n = n.Alias
	case n.Kind == yaml.DocumentNode && len(n.Content) > 0:
		n = n.Content[0]
	}
	switch t.Kind() {
	case reflect.Pointer:
		literals(n, t.Elem(), found)
	case reflect.Slice:
		if n.Kind == yaml.SequenceNode {
			for _, e := range n.Content {
				literals(e, t.Elem(), found)
			}
		}
	case reflect.Map:
		if n.Kind == yaml.MappingNode {
			for i := 1; i < len(n.Content); i += 2 {
				literals(n.Content[i], t.Elem(), found)
			}
		}
	case reflect.Struct:
		if n.Kind == yaml.MappingNode {
			literalFields(n, t, found)
		}
	}
}

func literalFields(n *yaml.Node, t reflect.Type, found func(key string, value *yaml.Node, twin bool)) {
	for f := range t.Fields() {
		tag := f.Tag.Get("yaml")
		key, _, _ := strings.Cut(tag, ",")
		if strings.HasSuffix(tag, ",inline") {
			literals(n, f.Type, found)
			continue
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v := n.Content[i+1]
			switch {
			case n.Content[i].Value != key:
			case f.Type != reflect.TypeFor[Secret]():
				literals(v, f.Type, found)
			case f.Tag.Get("secret") != "plain" && !given(v):
				_, twin := t.FieldByName(f.Name + "File")
				found(key, v, twin)
			}
		}
	}
}

// given reports whether the value is no secret itself: nothing, or a reference
// to a variable.
func given(v *yaml.Node) bool {
	if v.Kind == yaml.AliasNode {
		v = v.Alias
	}
	return v.Value == "" || strings.HasPrefix(v.Value, "${env:") && strings.HasSuffix(v.Value, "}")
}
