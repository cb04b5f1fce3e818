package sinks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/agentrail/agentrail/schemas"
)

// Redaction says what is done with one field before an event leaves. In a
// config it is a mapping of both, or the field alone, which is hashed.
type Redaction struct {
	// Field is the name of an event field (actor_email) or a dotted path in the
	// record (request.params): keys compare without case, * is any key, arrays
	// are looked into.
	Field string `yaml:"field"`
	// Action is hash (equal values stay equal: SHA-256, or HMAC-SHA-256 where
	// redact_key is set), mask (replaced by ***), drop (left out) or keep (goes
	// out as it is although a shorter path of the list holds it).
	Action string `yaml:"action"`
}

// UnmarshalYAML takes a field alone as one to hash.
func (r *Redaction) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*r = Redaction{Field: n.Value, Action: "hash"}
		return nil
	}
	type plain Redaction
	p := plain{Action: "hash"}
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if key := n.Content[i].Value; key != "field" && key != "action" {
			return fmt.Errorf("line %d: redact: unknown key %q; known: field, action", n.Content[i].Line, key)
		}
	}
	if err := n.Decode(&p); err != nil {
		return err
	}
	*r = Redaction(p)
	return nil
}

// treatment is what is done with a value.
type treatment uint8

const (
	untouched treatment = iota // nothing of the list holds it
	keep
	mask
	hash
	drop
)

var treatments = map[string]treatment{"keep": keep, "mask": mask, "hash": hash, "drop": drop}

// masked stands where a value was.
const masked = "***"

// redactor takes out of an event what must not leave. It works on the copy
// that a sink is given, before any format sees it, so that no format and no
// sink can leak what was held back.
type redactor struct {
	content bool
	key     []byte // of the HMAC; empty: plain digests
	fields  []typedRule
	paths   []pathRule // in the record
}

type typedRule struct {
	of func(*schemas.Event) *string
	do treatment
}

// pathRule is what is left of a path, in lower case, and what is done at its end.
type pathRule struct {
	path []string
	do   treatment
}

// unredactable fields are what a receiver needs to know what it has.
var unredactable = []string{"tenant", "source", "kind", "action"}

// minRedactKey is how long a key must be that nobody can guess.
const minRedactKey = 16

func newRedactor(c Common) (*redactor, error) {
	r := &redactor{content: c.Content, key: []byte(c.RedactKey.Reveal())}
	if len(r.key) > 0 && len(r.key) < minRedactKey {
		return nil, fmt.Errorf("redact_key: has %d bytes; take %d at least, such as those of: openssl rand -hex 32", len(r.key), minRedactKey)
	}
	seen := map[string]bool{}
	for _, rule := range c.Redact {
		name := rule.Field
		do, ok := treatments[rule.Action]
		switch {
		case !ok:
			return nil, fmt.Errorf("redact: action %q of %s is unknown; known: keep, mask, hash, drop", rule.Action, name)
		case slices.Contains(unredactable, name):
			return nil, fmt.Errorf("redact: %s cannot be redacted", name)
		case seen[strings.ToLower(name)]:
			return nil, fmt.Errorf("redact: %s stands in the list twice", name)
		}
		seen[strings.ToLower(name)] = true
		if f := fieldByName[name]; f != nil {
			if f.str == nil {
				return nil, fmt.Errorf("redact: %s is not text", name)
			}
			r.fields = append(r.fields, typedRule{f.str, do})
		}
		path := strings.Split(strings.ToLower(name), ".")
		if slices.Contains(path, "") {
			return nil, fmt.Errorf("redact: path %q has an empty part", name)
		}
		r.paths = append(r.paths, pathRule{path, do})
	}
	wild := func(p pathRule) int { return strings.Count("."+strings.Join(p.path, "."), ".*") }
	slices.SortStableFunc(r.paths, func(a, b pathRule) int { return wild(a) - wild(b) }) // what is named goes first
	if len(r.key) > 0 && len(r.paths) == 0 {
		return nil, errors.New("redact_key: nothing is hashed with it; name fields under redact")
	}
	return r, nil
}

// deadLetterContent is where a dead letter holds a copy of a record.
var deadLetterContent = pathRule{[]string{"bytes"}, hash}

// apply redacts ev, which is a copy. A sealed record never leaves.
func (r *redactor) apply(ev *schemas.Event) {
	for _, f := range r.fields {
		if s := f.of(ev); *s != "" {
			*s = r.text(f.do, *s)
		}
	}
	paths := r.paths
	switch own := ev.Class != schemas.ClassActivity; {
	case ev.Flags&schemas.FlagSealed != 0, !own && !r.content:
		ev.Raw = nil
		return
	case own && !r.content && ev.Kind == "dead_letter":
		paths = append([]pathRule{deadLetterContent}, paths...)
	}
	if len(paths) > 0 && len(ev.Raw) > 0 {
		if ev.RawText {
			ev.Raw = nil // columns are not told by the row
			return
		}
		ev.Raw = r.rewrite(ev.Raw, paths)
	}
}

// text is what becomes of the value of a typed field.
func (r *redactor) text(do treatment, s string) string {
	switch do {
	case mask:
		return masked
	case hash:
		return r.digest([]byte(s))
	case drop:
		return ""
	}
	return s
}

// digest replaces a value so that equal values stay comparable.
func (r *redactor) digest(b []byte) string {
	if len(r.key) == 0 {
		sum := sha256.Sum256(b)
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	h := hmac.New(sha256.New, r.key)
	h.Write(b)
	return "hmac-sha256:" + hex.EncodeToString(h.Sum(nil))
}
