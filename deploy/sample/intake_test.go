package sample_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// TestPlayThroughTheIntake plays a small day over HTTP into the sources that
// the server has.
func TestPlayThroughTheIntake(t *testing.T) {
	set, err := decode.Open("")
	if err != nil {
		t.Fatal(err)
	}
	var records, history atomic.Int64
	events := map[string]string{}
	take := func(_ context.Context, b *schemas.Batch) (uint64, error) {
		if !b.Live() {
			history.Add(int64(len(b.Records)))
		}
		for i := range b.Events {
			events[b.Events[i].ID.String()] = b.Events[i].SourceID
		}
		return uint64(records.Add(int64(len(b.Records)))), nil
	}
	mux := http.NewServeMux()
	for _, kind := range []string{sample.SourceAudit, sample.SourceWorkflowRun} {
		c, err := plug.NewConfig(kind, kind, "allow_backfill: true")
		if err != nil {
			t.Fatal(err)
		}
		src, err := collector.Open(t.Context(), c, collector.Deps{Append: take, Decode: set, Log: slog.New(slog.DiscardHandler), Reg: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		for pattern, h := range src.(collector.HTTPSource).Routes() {
			mux.Handle(pattern, h)
		}
	}
	caller := &auth.Principal{Name: "sample", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(auth.WithPrincipal(r.Context(), caller)))
	}))
	defer srv.Close()

	d := sample.Generate(sample.Options{Seed: 1, End: thursday, Agents: 12, Users: 60})
	calls := 0
	total, err := (&sample.Sender{URL: srv.URL, Token: "token"}).Play(t.Context(), d, func(sample.Receipt) { calls++ })
	if err != nil {
		t.Fatal(err)
	}
	if calls != len(d.Deliveries) || total.Deliveries != calls || total.Rejected != 0 {
		t.Errorf("%d deliveries, progress was told of %d; the receipt is %+v", len(d.Deliveries), calls, total)
	}
	if int64(total.Records) != records.Load() || total.Records <= d.Records {
		t.Errorf("%d records of %d were sent, %d taken", total.Records, d.Records, records.Load())
	}
	if history.Load() == 0 || history.Load() > int64(d.History) {
		t.Errorf("%d records were marked as history, the day has %d", history.Load(), d.History)
	}

	name, err := d.Names(newReader(t).events)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range events {
		if got := name(id); got != want {
			t.Fatalf("event %s is named %q, want %q", id, got, want)
		}
	}
	if got := name("no id") + name("00112233445566778899aabbccddeeff"); got != "" {
		t.Errorf("unknown events are named %q", got)
	}
}

func (r *reader) events(source string, body []byte) ([]schemas.Event, error) {
	m, err := r.set.Mapping(source)
	if err != nil {
		return nil, err
	}
	b := &schemas.Batch{Body: body}
	b.Tenant, b.Source, b.Class, b.ContentType = "acme", source, schemas.ClassActivity, "application/x-ndjson"
	_, err = m.Read(b, decode.Limits{})
	return b.Events, err
}
