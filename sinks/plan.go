package sinks

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// Plan compares what a sink would send of past events by two settings. Now and
// Then of Show are its forwarders; nil stands for a sink that is not there.
type Plan struct {
	Sink    string        `json:"sink"`
	Looked  int64         `json:"looked_at"` // events
	First   time.Time     `json:"first"`     // receipt of the oldest batch
	Last    time.Time     `json:"last"`
	Now     Volume        `json:"now"`
	Then    Volume        `json:"then"`
	Actions []Change      `json:"actions"` // greatest difference first
	Gone    []string      `json:"fields_gone,omitempty"`
	New     []string      `json:"fields_new,omitempty"`
	Altered []string      `json:"fields_altered,omitempty"` // sent by both, but redacted or written in another way
	Dropped []PlanExample `json:"dropped,omitempty"`
	Added   []PlanExample `json:"added,omitempty"`
	Samples []PlanSample  `json:"samples,omitempty"` // events that both send, and differently

	actions      map[[2]string]*Change
	now, then    *Forwarder
	fields       map[string]*fieldUse
	bufNow, bufT []byte
}

// Volume is how much is sent.
type Volume struct {
	Events int64 `json:"events"`
	Bytes  int64 `json:"bytes"` // as formatted, before the protocol's envelope and compression
	Faulty int64 `json:"faulty,omitempty"`
}

// Change is how much of one kind and action is sent.
type Change struct {
	Kind   string `json:"kind"`
	Action string `json:"action"`
	Now    Volume `json:"now"`
	Then   Volume `json:"then"`
}

// PlanExample is an event that only one of the two sends.
type PlanExample struct {
	EventID string    `json:"event_id"`
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"`
	Action  string    `json:"action"`
	Agent   string    `json:"agent,omitempty"`
	Tool    string    `json:"tool,omitempty"`
	Outcome string    `json:"outcome,omitempty"`
}

// PlanSample is what becomes of one event by the two settings.
type PlanSample struct {
	EventID string `json:"event_id"`
	Now     string `json:"now"`
	Then    string `json:"then"`
}

// fieldUse says how often a field is sent.
type fieldUse struct{ now, then, differs int64 }

// Bounds of a plan.
const (
	planExamples = 5
	planSamples  = 2
	planActions  = 1000   // pairs of kind and action; the rest counts in the sums only
	planFields   = 20_000 // events whose fields are compared
)

// NewPlan returns a plan that has looked at nothing.
func NewPlan(sink string, now, then *Forwarder) *Plan {
	return &Plan{Sink: sink, now: now, then: then, actions: map[[2]string]*Change{}, fields: map[string]*fieldUse{}}
}

// Add looks at the events of a batch.
func (p *Plan) Add(b *schemas.Batch) {
	if b.Gap != nil || b.Tick() {
		return
	}
	at := time.Unix(0, b.Received).UTC()
	if p.First.IsZero() {
		p.First = at
	}
	p.Last = at
	for i := range b.Events {
		if ev := &b.Events[i]; ev.Accepted() {
			p.add(b, ev)
		}
	}
}

func (p *Plan) add(b *schemas.Batch, ev *schemas.Event) {
	p.Looked++
	var now, then bool
	p.bufNow, now = p.now.preview(p.bufNow[:0], b, ev, &p.Now)
	p.bufT, then = p.then.preview(p.bufT[:0], b, ev, &p.Then)
	if !now && !then {
		return
	}
	c := p.change(ev)
	if now {
		c.Now.Events, c.Now.Bytes = c.Now.Events+1, c.Now.Bytes+int64(len(p.bufNow))
	}
	if then {
		c.Then.Events, c.Then.Bytes = c.Then.Events+1, c.Then.Bytes+int64(len(p.bufT))
	}
	switch {
	case now && !then && len(p.Dropped) < planExamples:
		p.Dropped = append(p.Dropped, exampleOf(ev))
	case then && !now && len(p.Added) < planExamples:
		p.Added = append(p.Added, exampleOf(ev))
	case now && then && len(p.Samples) < planSamples && !bytes.Equal(p.bufNow, p.bufT):
		p.Samples = append(p.Samples, PlanSample{ev.ID.String(), string(p.bufNow), string(p.bufT)})
	}
	if p.Now.Events+p.Then.Events <= 2*planFields {
		p.compare(now, then)
	}
}

// preview appends what the sink would send of the event, if anything, and
// counts it. It sends nothing.
func (f *Forwarder) preview(dst []byte, b *schemas.Batch, ev *schemas.Event, v *Volume) ([]byte, bool) {
	if f == nil || !f.wants(b.Class, b.Tenant) {
		return dst, false
	}
	pass, err := f.filter.Match(ev)
	if err != nil {
		v.Faulty++
	}
	if !pass || !f.o.Common.Shadow && quiet(ev) {
		return dst, false
	}
	out := *ev
	out.Shard, out.Offset = b.Shard, b.Offset
	f.redact.apply(&out)
	write, _ := format.Lookup(f.o.Common.Format)
	dst = write(dst, &out)
	v.Events, v.Bytes = v.Events+1, v.Bytes+int64(len(dst))
	return dst, true
}

// Preview returns what the sink sends of an event with its place set, in the
// sink's format; false if it leaves the event out. It sends nothing.
func (f *Forwarder) Preview(b *schemas.Batch, ev *schemas.Event) ([]byte, bool) {
	return f.preview(nil, b, ev, &Volume{})
}

func (p *Plan) change(ev *schemas.Event) *Change {
	key := [2]string{ev.Kind, ev.Action}
	c := p.actions[key]
	if c == nil {
		c = &Change{Kind: ev.Kind, Action: ev.Action}
		if len(p.actions) < planActions {
			p.actions[key] = c
		}
	}
	return c
}

func exampleOf(ev *schemas.Event) PlanExample {
	return PlanExample{EventID: ev.ID.String(), Time: ev.When(), Kind: ev.Kind, Action: ev.Action, Agent: ev.Agent, Tool: ev.Tool, Outcome: ev.Outcome.String()}
}

// compare notes which fields the two send. A line of text has none.
func (p *Plan) compare(now, then bool) {
	left, right := map[string]string{}, map[string]string{}
	if now {
		leaves(p.bufNow, left)
	}
	if then {
		leaves(p.bufT, right)
	}
	for path, value := range left {
		u := p.use(path)
		u.now++
		if other, both := right[path]; both && other != value {
			u.differs++
		}
	}
	for path := range right {
		p.use(path).then++
	}
}

func (p *Plan) use(path string) *fieldUse {
	u := p.fields[path]
	if u == nil {
		u = new(fieldUse)
		p.fields[path] = u
	}
	return u
}

// leaves puts the values of a JSON object into the map, by dotted path.
func leaves(doc []byte, into map[string]string) {
	var walk func(path string, raw json.RawMessage, depth int)
	walk = func(path string, raw json.RawMessage, depth int) {
		var object map[string]json.RawMessage
		if depth > 6 || json.Unmarshal(raw, &object) != nil {
			if path != "" {
				into[path] = string(raw)
			}
			return
		}
		for k, v := range object {
			if path != "" {
				k = path + "." + k
			}
			walk(k, v, depth+1)
		}
	}
	walk("", doc, 0)
}

// Finish sorts what was found. Nothing is added afterwards.
func (p *Plan) Finish() {
	p.Actions = nil
	for c := range maps.Values(p.actions) {
		p.Actions = append(p.Actions, *c)
	}
	change := func(c Change) int64 { return max(c.Then.Bytes-c.Now.Bytes, c.Now.Bytes-c.Then.Bytes) }
	slices.SortFunc(p.Actions, func(a, b Change) int {
		return cmp.Or(cmp.Compare(change(b), change(a)), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Action, b.Action))
	})
	for _, path := range slices.Sorted(maps.Keys(p.fields)) {
		switch u := p.fields[path]; {
		case u.then == 0:
			p.Gone = append(p.Gone, path)
		case u.now == 0:
			p.New = append(p.New, path)
		case u.differs > 0:
			p.Altered = append(p.Altered, path)
		}
	}
}

// Days is how long the plan has looked at, at least an hour.
func (p *Plan) Days() float64 { return max(p.Last.Sub(p.First), time.Hour).Hours() / 24 }
