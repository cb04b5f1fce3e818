package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/otlpwire"
	"github.com/agentrail/agentrail/schemas"
)

// spanRef is an accepted span of a batch and where its resource and scope lie.
type spanRef struct {
	row
	resource, scope []byte
}

// addSpans notes the accepted spans of a batch of traces.
func (p *plan) addSpans(b *schemas.Batch) {
	if b.Decoder != "otlp" || len(b.Events) == 0 {
		return
	}
	i := 0
	err := otlpwire.Spans(b.Body, func(s otlpwire.Span) error {
		if i == len(b.Events) {
			return fmt.Errorf("more spans than records")
		}
		ev := &b.Events[i]
		i++
		if ev.Accepted() && ev.Flags&schemas.FlagSealed == 0 {
			part := partition(ev.Time, ev.Received)
			p.spans[part] = append(p.spans[part], spanRef{row{ev, !b.Live()}, s.Group.Resource, s.Scope})
		}
		return nil
	})
	if err != nil { // the journal read the same body before
		p.bad = append(p.bad, journal.RejectedItem{Offset: b.Offset, Index: uint32(i), Code: "bad_trace", Reason: "read spans: " + err.Error()})
	}
}

// spanJobs returns the inserts into otel_traces. Spans are read when their
// insert's turn comes.
func spanJobs(p *plan) (out []job) {
	for _, part := range p.parts {
		refs := p.spans[part]
		for i, n := 0, 0; n < len(refs); i++ {
			from, size := n, 0
			for n < len(refs) && n-from < maxInsertRows && size < maxInsertBytes {
				size += len(refs[n].Raw)
				n++
			}
			out = append(out, spanJob(p.token("otel_traces", part, i), part, refs[from:n]))
		}
	}
	return out
}

func spanJob(token string, part uint32, refs []spanRef) job {
	return job{table: "otel_traces", token: token, send: func(ctx context.Context, s *Store, j job, mem *scratch) error {
		rows := make([]spanRow, len(refs))
		var shared resourceReader
		for i := range refs {
			if err := rows[i].read(&refs[i], &shared); err != nil {
				return fmt.Errorf("read span %d/%d: %w", refs[i].Offset, refs[i].Index, err)
			}
			rows[i].part = part
		}
		return insertOf(j.table, j.token, func() []spanRow { return rows }, spanColumns()).send(ctx, s, j, mem)
	}}
}

// spanRow is a span as otel_traces has it.
type spanRow struct {
	*schemas.Event
	part                    uint32
	duration                uint64
	parent, state           string
	kind, status, message   string
	scopeName, scopeVersion string
	service                 string
	resource, attributes    []pair
	events                  []spanEvent
	links                   []spanLink
}

type pair struct{ key, value string }

type spanEvent struct {
	time       int64
	name       string
	attributes []pair
}

type spanLink struct {
	trace, span, state string
	attributes         []pair
}

// kinds and codes as the Collector writes them.
var (
	spanKinds   = [...]string{"Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"}
	statusCodes = [...]string{"Unset", "Ok", "Error"}
)

func nameOf(names []string, i uint64) string {
	if i < uint64(len(names)) {
		return names[i]
	}
	return ""
}

func (r *spanRow) read(ref *spanRef, shared *resourceReader) error {
	f, err := otlpwire.ReadSpan(ref.Raw, collectPairs(&r.attributes))
	if err != nil {
		return err
	}
	if r.resource, r.service, err = shared.read(ref.resource); err != nil {
		return err
	}
	name, version, err := otlpwire.ReadScope(ref.scope)
	if err != nil {
		return err
	}
	r.Event, r.parent, r.state = ref.Event, hex.EncodeToString(f.Parent), view(f.State)
	r.kind, r.status, r.message = nameOf(spanKinds[:], f.Kind), nameOf(statusCodes[:], f.Status), view(f.Message)
	r.scopeName, r.scopeVersion = view(name), view(version)
	if f.End > f.Start {
		r.duration = f.End - f.Start
	}
	if err := otlpwire.EachEvent(ref.Raw, func(e otlpwire.Event) error {
		ev := spanEvent{time: int64(min(e.Time, math.MaxInt64)), name: view(e.Name)}
		err := e.EachAttribute(collectPairs(&ev.attributes))
		r.events = append(r.events, ev)
		return err
	}); err != nil {
		return err
	}
	return otlpwire.EachLink(ref.Raw, func(l otlpwire.Link) error {
		ln := spanLink{trace: hex.EncodeToString(l.TraceID), span: hex.EncodeToString(l.SpanID), state: view(l.State)}
		err := l.EachAttribute(collectPairs(&ln.attributes))
		r.links = append(r.links, ln)
		return err
	})
}

func collectPairs(into *[]pair) func([]byte, otlpwire.Value) error {
	return func(key []byte, v otlpwire.Value) error {
		p := pair{key: view(key)}
		if v.Kind == otlpwire.String {
			p.value = view(v.Data)
		} else {
			p.value = string(v.AppendText(nil))
		}
		*into = append(*into, p)
		return nil
	}
}

// resourceReader reads a resource once for all of its spans.
type resourceReader struct {
	raw     []byte
	pairs   []pair
	service string
}

func (r *resourceReader) read(raw []byte) ([]pair, string, error) {
	if len(raw) == 0 {
		return nil, "", nil
	}
	if len(r.raw) == len(raw) && &r.raw[0] == &raw[0] {
		return r.pairs, r.service, nil
	}
	*r = resourceReader{raw: raw}
	if err := otlpwire.ReadResource(raw, collectPairs(&r.pairs)); err != nil {
		return nil, "", err
	}
	for _, p := range r.pairs {
		if p.key == "service.name" {
			r.service = p.value
		}
	}
	return r.pairs, r.service, nil
}
