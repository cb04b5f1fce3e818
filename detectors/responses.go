package detectors

import (
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// responder is who acts in records of responses that no person carried out.
const responder = "agentrail-response"

// Where records of the executor name a response: in a record of the response
// itself, and in one of what it did.
const (
	pathResponse = "jsonPayload.responseAction.id"
	pathEffect   = "jsonPayload.request.responseId"
)

// responses knows the responses that were really given, by their own records.
// What only names one is not believed: a call's parameters are its caller's.
type responses struct {
	known *table[thing, struct{}]
}

func newResponses(maxKeys int, m *Metrics) *responses {
	return &responses{newTable(maxKeys, func(*entry[thing, struct{}]) { m.Evicted.WithLabelValues("responses").Inc() })}
}

// own reports whether the record is one of a response of ours, or of what such a
// response did. It learns the ids from the former. The two may come in either
// order: what the responder did by itself is known by its actor, too, which the
// recording program sets and no caller.
func (r *responses) own(ev *schemas.Event) bool {
	if strings.HasPrefix(ev.Action, "response.") {
		v, ok := ev.Lookup(pathResponse)
		if !ok || v.Kind != schemas.ValueString || v.Str == "" {
			return false
		}
		if k := (thing{ev.Tenant, v.Str}); ev.Status < 400 && r.known.use(k) == nil {
			r.known.add(thing{clone(k.tenant), clone(k.id)})
		}
		return true
	}
	if !effects[ev.Action] {
		return false
	}
	v, ok := ev.Lookup(pathEffect)
	if !ok || v.Kind != schemas.ValueString || v.Str == "" {
		return false
	}
	return ev.Actor == responder || r.known.use(thing{ev.Tenant, v.Str}) != nil
}

// effects are the actions that a response can bring about.
var effects = map[string]bool{
	"subscription.pause": true, "subscription.resume": true, "subscription.delete": true, "subscription.edit": true,
	"agent.pause": true, "agent.resume": true, "agent.limit_subscribers": true, "agent.unpublish": true,
	"actor.pause": true, "actor.resume": true, "tenant.panic": true, "tenant.resume": true,
}

func (r *responses) save(e *Encoder) {
	saveTable(e, r.known, func(e *Encoder, x *entry[thing, struct{}]) { saveThing(e, x.key) })
}

func (r *responses) load(d *Decoder) {
	loadTable(d, r.known, loadThing, func(*Decoder, *entry[thing, struct{}]) {})
}
