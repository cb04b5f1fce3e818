package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/store"
)

// traceReader answers questions about traces from the store and from Tempo.
type traceReader struct {
	st       *storage     // nil: no store
	tempo    *store.Tempo // nil: none
	operator string       // tenant whose a Tempo without tenants is
}

func newTraceReader(c *config, st *storage) (*traceReader, error) {
	r := &traceReader{st: st, operator: c.Auth.Tenant}
	if c.Tempo.URL == "" {
		return r, nil
	}
	var err error
	r.tempo, err = store.OpenTempo(store.TempoOptions{URL: c.Tempo.URL, Token: c.Tempo.Token.Reveal(), Org: c.Tempo.Org})
	return r, err
}

// close drops the connections to Tempo.
func (r *traceReader) close() error {
	if r.tempo == nil {
		return nil
	}
	return r.tempo.Close()
}

// queries adds what the reader can answer to the store's queries.
func (r *traceReader) queries(s api.Store) api.Store {
	if r.st != nil || r.tempo != nil {
		s.Trace = r.trace
	}
	if r.tempo != nil {
		s.Traces = r.search
	}
	return s
}

// reads reports whether Tempo may be asked for the tenant: one that keeps all
// in one place is the operator's.
func (r *traceReader) reads(tenant string) bool {
	return r.tempo != nil && (r.tempo.PerTenant() || tenant == r.operator)
}

// trace looks into the store first: its spans are of the tenant for certain.
func (r *traceReader) trace(ctx context.Context, tenant, id string) (api.Trace, error) {
	err := fmt.Errorf("trace %s: %w", id, api.ErrNotFound)
	if r.st != nil {
		var s *store.Store
		if s, err = r.st.opened(); err == nil {
			var spans []store.SpanRow
			if spans, err = s.Trace(ctx, tenant, id); err == nil {
				return apiTrace(id, "store", spans), nil
			}
			err = notFound(err, store.ErrNotFound)
		}
	}
	if !r.reads(tenant) {
		return api.Trace{}, err
	}
	spans, terr := r.tempo.Trace(ctx, tenant, id)
	if terr != nil {
		if errors.Is(terr, store.ErrNotFound) {
			return api.Trace{}, err
		}
		return api.Trace{}, terr
	}
	return apiTrace(id, "tempo", spans), nil
}

func (r *traceReader) search(ctx context.Context, q api.TraceQuery) ([]api.TraceSummary, error) {
	if !r.reads(q.Tenant) {
		return nil, nil
	}
	rows, err := r.tempo.Search(ctx, q.Tenant, q.Q, q.Since, q.Until, q.Limit)
	if errors.Is(err, store.ErrQuery) {
		return nil, fmt.Errorf("%w: %w", api.ErrQuery, err)
	}
	var out []api.TraceSummary
	for _, t := range rows {
		out = append(out, api.TraceSummary{ID: t.Trace, Service: t.Service, Name: t.Name, Start: t.Start, DurationNS: int64(t.Duration)})
	}
	return out, err
}

func apiTrace(id, from string, spans []store.SpanRow) api.Trace {
	t := api.Trace{ID: id, From: from, More: len(spans) == store.MaxSpans, Spans: make([]api.Span, 0, len(spans))}
	for _, s := range spans {
		t.Spans = append(t.Spans, api.Span{
			Span: s.Span, Parent: s.Parent, Name: s.Name, Kind: s.Kind, Service: s.Service, Start: s.Start,
			DurationNS: int64(s.Duration), Status: s.Status, Message: s.Message, Attributes: s.Attributes,
		})
	}
	return t
}
