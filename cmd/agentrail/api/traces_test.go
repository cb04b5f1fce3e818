package api_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

func TestTraces(t *testing.T) {
	const id = "0af7651916cd43dd8448eb211c80319c"
	var asked []api.TraceQuery
	r := newRig(t, func(o *api.Options) {
		o.Store.Trace = func(_ context.Context, tenant, id string) (api.Trace, error) {
			switch {
			case tenant != acme:
				return api.Trace{}, fmt.Errorf("trace: %w", api.ErrNotFound)
			case strings.HasPrefix(id, "ff"):
				return api.Trace{}, errors.New("engine died")
			}
			return api.Trace{ID: id, From: "store", Spans: []api.Span{{Span: "a", Name: "chat", Start: now, Attributes: map[string]string{"gen_ai.input.messages": "secret"}}}}, nil
		}
		o.Store.Traces = func(_ context.Context, q api.TraceQuery) ([]api.TraceSummary, error) {
			asked = append(asked, q)
			if q.Q == "{" {
				return nil, fmt.Errorf("%w: parse error", api.ErrQuery)
			}
			return []api.TraceSummary{{ID: id, Start: now}}, nil
		}
	})
	f := func(who, path string, want int, has string) {
		t.Helper()
		got := r.do(who, "GET", api.Prefix+path, "")
		if got.status != want || !strings.Contains(got.body, has) {
			t.Errorf("%s as %s: %d %s, want %d with %q", path, who, got.status, got.body, want, has)
		}
	}
	f("acme/analyst", "/traces/"+id, 200, `"gen_ai.input.messages":"secret"`)
	f("acme/viewer", "/traces/"+id, 200, `"name":"chat"`)
	if got := r.do("acme/viewer", "GET", api.Prefix+"/traces/"+id, ""); strings.Contains(got.body, "secret") {
		t.Error("a viewer sees the contents of spans")
	}
	f("acme/ingest", "/traces/"+id, 403, "")
	f("", "/traces/"+id, 401, "")
	f("rival/admin", "/traces/"+id, 404, "no such trace")
	f("acme/viewer", "/traces/12", 400, "32 hexadecimal digits")
	f("acme/viewer", "/traces/ff"+id[2:], 503, "cannot be read now")
	f("acme/viewer", "/traces?q=%7B%7D", 403, "")
	f("acme/analyst", "/traces?since=1h&limit=7&q=%7B%7D", 200, id)
	if q := asked[0]; q.Tenant != acme || q.Q != "{}" || q.Limit != 7 || !q.Since.Equal(now.Add(-time.Hour)) {
		t.Errorf("asked %+v", q)
	}
	f("acme/analyst", "/traces?q=%7B", 400, "parse error")
	f("acme/analyst", "/traces", 400, "TraceQL")
	f("acme/analyst", "/traces?q=x&limit=1001", 400, "limit")

	none := newRig(t, func(o *api.Options) { o.Store.Trace, o.Store.Traces = nil, nil })
	r = none
	f("acme/viewer", "/traces/"+id, 501, "")
	f("acme/analyst", "/traces?q=x", 501, "Tempo")
}
