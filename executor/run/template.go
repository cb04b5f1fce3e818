package run

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/agentrail/agentrail/executor/trail"
)

// answer is what a step left for later ones.
type answer struct {
	text string
	json json.RawMessage
}

// values are what templates may name: {{ trigger.text }}, {{ steps.NAME.text }}
// and {{ steps.NAME.KEY }}, where KEY may lead deeper by dots.
type values struct {
	trigger string
	steps   map[string]answer
	last    string // the step before
}

func (v *values) keep(step string, a answer) {
	if v.steps == nil {
		v.steps = map[string]answer{}
	}
	v.steps[step], v.last = a, step
}

// maxFilled is the most that a text may grow to, bytes.
const maxFilled = 1 << 20

var reference = regexp.MustCompile(`\{\{\s*([A-Za-z0-9_.-]+)\s*\}\}`)

// fill puts values where the spec has templates. What is put in is a value, of
// its own type where the template stands alone: it is never read as a template
// again, and it cannot end the text around it, since that is encoded afterwards.
// Names of arguments are never computed.
func (v *values) fill(of any) (any, error) {
	switch of := of.(type) {
	case string:
		return v.fillText(of)
	case map[string]any:
		out := make(map[string]any, len(of))
		for k, inner := range of {
			filled, err := v.fill(inner)
			if err != nil {
				return nil, err
			}
			out[k] = filled
		}
		return out, nil
	case []any:
		out := make([]any, len(of))
		for i, inner := range of {
			filled, err := v.fill(inner)
			if err != nil {
				return nil, err
			}
			out[i] = filled
		}
		return out, nil
	}
	return of, nil
}

func (v *values) fillText(s string) (any, error) {
	if m := reference.FindStringSubmatch(s); m != nil && m[0] == s {
		return v.value(m[1])
	}
	return v.text(s)
}

// text is a text with its templates filled in.
func (v *values) text(s string) (string, error) {
	var b strings.Builder
	for {
		at := reference.FindStringSubmatchIndex(s)
		literal := s
		if at != nil {
			literal = s[:at[0]]
		}
		if strings.Contains(literal, "{{") || strings.Contains(literal, "}}") {
			return "", fmt.Errorf("template %+q cannot be read; write {{ steps.NAME.text }}, {{ steps.NAME.KEY }} or {{ trigger.text }}", trail.Cut(literal, 100))
		}
		b.WriteString(literal)
		if at == nil {
			return b.String(), nil
		}
		value, err := v.value(s[at[2]:at[3]])
		if err != nil {
			return "", err
		}
		b.WriteString(plain(value))
		if b.Len() > maxFilled {
			return "", fmt.Errorf("the text is larger than %d bytes once filled in", maxFilled)
		}
		s = s[at[1]:]
	}
}

// value is what a reference names.
func (v *values) value(name string) (any, error) {
	parts := strings.Split(name, ".")
	if name == "trigger.text" {
		return v.trigger, nil
	}
	if len(parts) < 3 || parts[0] != "steps" {
		return nil, fmt.Errorf("template names %q; write steps.NAME.text, steps.NAME.KEY or trigger.text", name)
	}
	a, ok := v.steps[parts[1]]
	if !ok {
		return nil, fmt.Errorf("template names step %q, which has not run before", parts[1])
	}
	if len(parts) == 3 && parts[2] == "text" {
		return a.text, nil
	}
	found, ok := look(a, parts[2:])
	if !ok {
		return nil, fmt.Errorf("the answer of step %q has no %q", parts[1], strings.Join(parts[2:], "."))
	}
	return found, nil
}

// look finds a key in an answer that is an object in JSON.
func look(a answer, path []string) (any, bool) {
	raw := []byte(a.json)
	if len(raw) == 0 {
		raw = []byte(a.text)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var at any
	if err := dec.Decode(&at); err != nil {
		return nil, false
	}
	for _, key := range path {
		object, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = object[key]; !ok {
			return nil, false
		}
	}
	return at, true
}

// plain is a value within a text.
func plain(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error()) // it was decoded from JSON
	}
	return string(b)
}

// prompt splits a prompt from the content that its templates name: the model
// gets the task with the names, and the content beside it. Without templates the
// content is the answer of the step before.
func (v *values) prompt(s string) (task, content string, err error) {
	names := reference.FindAllStringSubmatch(s, -1)
	if len(names) == 0 {
		if strings.Contains(s, "{{") {
			return "", "", fmt.Errorf("template in the prompt cannot be read: %+q", trail.Cut(s, 100))
		}
		return s, v.steps[v.last].text, nil
	}
	var b strings.Builder
	seen := map[string]bool{}
	for _, m := range names {
		if seen[m[1]] {
			continue
		}
		seen[m[1]] = true
		value, err := v.value(m[1])
		if err != nil {
			return "", "", err
		}
		fmt.Fprintf(&b, "%s:\n%s\n\n", m[1], plain(value))
		if b.Len() > maxFilled {
			return "", "", fmt.Errorf("the content is larger than %d bytes", maxFilled)
		}
	}
	return reference.ReplaceAllString(s, "[$1]"), strings.TrimSpace(b.String()), nil
}
