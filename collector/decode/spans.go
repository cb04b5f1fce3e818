package decode

import (
	"maps"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// spans is the section of a mapping file that says how spans become events;
// schemas/mapping/otlp.yaml explains the keys.
type spans struct {
	Operation []string            `yaml:"operation"`
	Known     map[string]verb     `yaml:"known"`
	Default   verb                `yaml:"default"`
	Fields    map[string][]string `yaml:"fields"`
}

// spanFields are the fields of an event that an attribute can fill, by the
// names that they have in mapping files.
var spanFields = map[string]uint8{
	"run": fRun, "agent": fAgent, "name": fName, "owner": fOwner, "subscription": fSubscription, "actor": fActor,
	"actor_email": fActorEmail, "actor_type": fActorType, "department": fDepartment, "session": fSession, "tool": fTool,
	"target": fTarget, "endpoint": fEndpoint, "method": fMethod, "status": fStatus, "reason": fError, "ip": fIP,
	"user_agent": fUserAgent,
}

// wish is a field that wants an attribute; the lowest prio counts.
type wish struct{ field, prio uint8 }

// spanProgram is the section compiled.
type spanProgram struct {
	wishes  map[string][]wish // by the key of the attribute
	known   map[string]kind
	general kind
}

// spans compiles the section of that name.
func (c *compiler) spans(s *spans) {
	if s == nil {
		return
	}
	p := &spanProgram{wishes: map[string][]wish{}, known: map[string]kind{}}
	want := func(field uint8, keys []string) {
		for i, k := range keys {
			p.wishes[k] = append(p.wishes[k], wish{field, uint8(min(i, 100))})
		}
	}
	want(fKind, s.Operation)
	for name, keys := range s.Fields {
		f, ok := spanFields[name]
		if !ok {
			c.fault("spans.fields: there is no field %q; known: %s", name, strings.Join(slices.Sorted(maps.Keys(spanFields)), ", "))
		}
		want(f, keys)
	}
	for name, v := range s.Known {
		p.known[name] = kind{name: schemas.KindSpan, action: v.Action, access: c.access("spans.known."+name, v.Access)}
	}
	p.general = kind{name: schemas.KindSpan, action: s.Default.Action, access: c.access("spans.default", s.Default.Access)}
	if p.general.action == "" {
		c.fault("spans.default: action is missing")
	}
	c.p.spans = p
}
