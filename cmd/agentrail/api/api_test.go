package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/survey"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// Two tenants, acme (which runs the server) and rival. What belongs to a
// tenant carries its name, so that a leak shows in any answer.
const (
	acme  = "acme"
	rival = "rival"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// rig is a server over a fake store and a fake journal.
type rig struct {
	t      *testing.T
	url    string
	tokens map[string]string // "acme/admin" -> token
	doc    *openapi3.T
	router routers.Router
	store  *fakeStore
	log    *fakeJournal
	ready  []string
}

func newRig(t *testing.T, change func(*api.Options)) *rig {
	t.Helper()
	r := &rig{t: t, tokens: map[string]string{}, store: &fakeStore{}, log: &fakeJournal{grew: make(chan struct{}, 1)}}
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	for _, tenant := range []string{acme, rival} {
		for _, role := range []auth.Role{auth.RoleViewer, auth.RoleAnalyst, auth.RoleModerator, auth.RoleAdmin, auth.RoleAuditor, auth.RoleExecutor, auth.RoleIngest, auth.RoleMember} {
			name := tenant + "/" + string(role)
			token, err := auth.Generate(file, auth.Principal{Name: strings.ReplaceAll(name, "/", "-"), Tenant: tenant, Roles: []auth.Role{role}}, 0)
			if err != nil {
				t.Fatal(err)
			}
			r.tokens[name] = token
		}
	}
	tokens, err := auth.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	o := api.Options{
		Require: tokens.Require, Operator: acme, Store: r.store.store(), Append: r.log.append, Own: own, Open: r.log.open,
		DeadLetters: api.DeadLetters{List: r.store.deadLetters, Get: r.store.deadLetter},
		Ledger:      r.store.ledger,
		CheckReplay: func(_ context.Context, c schemas.Control) error {
			switch {
			case c.Target != "soc":
				return api.ErrNotFound
			case c.Args["from"] == "old" && c.Args["misdated"] == "":
				return fmt.Errorf("%w: the receiver would date these events today", api.ErrConsent)
			}
			return nil
		},
		Cursors: api.Cursors{List: r.store.cursors, Remove: r.store.removeCursor},
		Status: func(context.Context) (api.Status, error) {
			return api.Status{Started: now, Stages: []api.Stage{{Name: "received", Events: 7}}, Consumers: []api.ConsumerStage{{Name: "store", Lag: 3}}}, nil
		},
		Survey: api.Survey{Sources: r.log.sources, Busiest: r.log.busiest, AgentName: func(tenant, agent string) string {
			return tenant + "'s " + agent
		}},
		OffsetAt: func(_ context.Context, t time.Time) (uint64, error) { return r.log.offsetAt(t) },
		Ready:    func(context.Context) []string { return r.ready },
		Notes:    func() []string { return []string{"alerting: soc could not be told"} },
		Metrics:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "agentrail_up 1\n") }),
		Version:  "test", Now: func() time.Time { return now }, Head: r.log.head, Heartbeat: 20 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	h, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	r.url = srv.URL
	r.doc, r.router = loadDoc(t)
	return r
}

func loadDoc(t *testing.T) (*openapi3.T, routers.Router) {
	t.Helper()
	for _, kind := range []string{"application/x-ndjson", "text/event-stream"} {
		openapi3filter.RegisterBodyDecoder(kind, func(body io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
			b, err := io.ReadAll(body)
			return string(b), err
		})
	}
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

// answer is a response that was held against the OpenAPI document.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request as the principal ("" for none) and validates the response.
func (r *rig) do(who, method, path, body string, header ...string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if who != "" {
		req.Header.Set("Authorization", "Bearer "+r.tokens[who])
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	r.validate(method, path, resp, b)
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func (r *rig) validate(method, path string, resp *http.Response, body []byte) {
	r.t.Helper()
	req := httptest.NewRequest(method, path, nil)
	route, params, err := r.router.FindRoute(req)
	if err != nil {
		return // a path or method that the document does not have
	}
	in := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route}
	err = openapi3filter.ValidateResponse(r.t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
	if err != nil {
		r.t.Errorf("%s %s: answer %d does not fit the document: %v", method, path, resp.StatusCode, err)
	}
}

func (a answer) into(t *testing.T, doc any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), doc); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
}

// code returns the code of a problem.
func (a answer) code(t *testing.T) string {
	t.Helper()
	var p struct{ Code string }
	a.into(t, &p)
	return p.Code
}

// own stands in for decode.Own.
func own(tenant string, class schemas.Class, kind string, received int64, docs ...any) (*schemas.Batch, error) {
	b := &schemas.Batch{Header: schemas.Header{Tenant: tenant, Source: "agentrail", Class: class, Received: received, Flags: schemas.BatchSelf}}
	for i, d := range docs {
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		start := len(b.Body)
		b.Body = append(append(b.Body, raw...), '\n')
		b.Records = append(b.Records, schemas.Record{Start: uint32(start), Length: uint32(len(raw))})
		b.Events = append(b.Events, schemas.Event{ID: schemas.ID{1, byte(i)}, Tenant: tenant, Class: class, Kind: kind, Raw: raw, Time: received, Received: received})
	}
	return b, nil
}

// fakeStore holds the same things for each tenant.
type fakeStore struct {
	mu      sync.Mutex
	queries []api.Query
	asked   api.LedgerQuery
	fail    error
	rows    int // events of each tenant; 0 means 3
	failAt  int // row at which Events fails
	removed []string
}

func (s *fakeStore) store() api.Store {
	return api.Store{Events: s.events, Event: s.event, Runs: s.runs, Alerts: s.alerts, Alert: s.alert}
}

func eventID(n int) string { return fmt.Sprintf("%032x", n+1) }

func fakeEvent(tenant string, n int) api.Event {
	ev := schemas.Event{
		Time: now.UnixNano(), Received: now.UnixNano(), Class: schemas.ClassActivity, Kind: "api_call", Source: tenant + "-audit",
		Actor: tenant + "-user", ActorEmail: "=cmd|'/c calc'!A0", Action: "tool.execute", Outcome: schemas.OutcomeDenied, Status: 403,
	}
	e := api.EventOf(&ev)
	e.ID = eventID(n)
	return e
}

func (s *fakeStore) saw(q api.Query) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = append(s.queries, q)
	return s.fail
}

func (s *fakeStore) events(_ context.Context, q api.Query, yield func(api.Event) error) error {
	if err := s.saw(q); err != nil {
		return err
	}
	rows := s.rows
	if rows == 0 {
		rows = 3
	}
	for n := range min(rows, q.Limit) {
		if s.failAt > 0 && n == s.failAt {
			return errors.New("engine died")
		}
		if err := yield(fakeEvent(q.Tenant, n)); err != nil {
			return err
		}
	}
	return nil
}

func (s *fakeStore) event(_ context.Context, tenant, id string) (api.Event, error) {
	n := slices.Index([]string{eventID(0), eventID(1)}, id)
	if n < 0 {
		return api.Event{}, api.ErrNotFound
	}
	e := fakeEvent(tenant, n)
	e.Time = e.Time.Add(time.Duration(n) * time.Second)
	raw := `{"secret":"` + tenant + `-content"}`
	e.Raw = &raw
	return e, s.fail
}

func (s *fakeStore) runs(_ context.Context, q api.Query) ([]api.Run, error) {
	return []api.Run{{ID: q.Tenant + "-run", Initiator: "human", Outcome: "ok", Started: now, Ended: now}}, s.saw(q)
}

func (s *fakeStore) alerts(_ context.Context, q api.Query) ([]schemas.Alert, error) {
	all, _ := s.alert(context.Background(), q.Tenant, "a1")
	return all[1:], s.saw(q)
}

func (s *fakeStore) alert(_ context.Context, tenant, id string) ([]schemas.Alert, error) {
	if id != "a1" {
		return nil, api.ErrNotFound
	}
	usual := 3.0
	a := schemas.Alert{
		ID: "a1", Seq: 1, Transition: schemas.TransitionOpen, Tenant: tenant, Rule: "burst", Title: "burst", Severity: schemas.SeverityHigh,
		Confidence: "high", Entity: schemas.Entity{Kind: "agent", ID: tenant + "-agent"}, FirstSeen: now, LastSeen: now, DecidedAt: now,
		Count: 12, Observed: 12, Usual: &usual, Reason: "12 writes", Evidence: []schemas.Evidence{{ID: eventID(1), Time: now}, {ID: eventID(0), Time: now}, {ID: eventID(9), Time: now}},
	}
	b := a
	b.Seq, b.Transition = 2, schemas.TransitionUpdate
	return []schemas.Alert{a, b}, s.fail
}

func (s *fakeStore) deadLetters(_ context.Context, tenant, consumer string, limit int) ([]schemas.DeadLetter, error) {
	d, _ := s.deadLetter(context.Background(), tenant, "d1")
	return []schemas.DeadLetter{d}, s.saw(api.Query{Tenant: tenant, Limit: limit})
}

func (s *fakeStore) ledger(_ context.Context, q api.LedgerQuery) ([]api.LedgerRow, error) {
	s.asked = q
	return []api.LedgerRow{
		{Sink: q.Tenant + "-sink", Hour: now, From: 3, To: 9, Seen: 10, Filtered: 4, Accepted: 5, Indexed: 5, Waiting: 1},
		{Sink: q.Tenant + "-sink", Hour: now.Add(-time.Hour), From: 1, To: 3, Seen: 4, Accepted: 3, Dead: 1, Replayed: 2, Difference: -1, Closed: true},
	}, s.saw(api.Query{Tenant: q.Tenant})
}

func (s *fakeStore) deadLetter(_ context.Context, tenant, id string) (schemas.DeadLetter, error) {
	if id != "d1" {
		return schemas.DeadLetter{}, api.ErrNotFound
	}
	return schemas.DeadLetter{ID: "d1", Tenant: tenant, Consumer: tenant + "-sink", Code: "bad_json", Reason: "no", Bytes: []byte("{"), Size: 1, At: now}, nil
}

func (s *fakeStore) cursors(context.Context) ([]api.Cursor, error) {
	return []api.Cursor{{Name: "store", Offset: 5, Updated: now}, {Name: "old", Offset: 1, Updated: now, Abandoned: true}}, s.fail
}

func (s *fakeStore) removeCursor(_ context.Context, name string) error {
	s.removed = append(s.removed, name)
	return nil
}

// fakeJournal keeps batches in memory.
type fakeJournal struct {
	mu      sync.Mutex
	batches []*schemas.Batch
	fail    error
	grew    chan struct{}
}

func (j *fakeJournal) append(_ context.Context, b *schemas.Batch) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return 0, j.fail
	}
	for _, old := range j.batches {
		if old.Header.ID == b.Header.ID && !b.Header.ID.IsZero() {
			return old.Offset, nil
		}
	}
	b.Offset = uint64(len(j.batches))
	for i := range b.Events {
		b.Events[i].Offset = b.Offset
	}
	j.batches = append(j.batches, b)
	select {
	case j.grew <- struct{}{}:
	default:
	}
	return b.Offset, nil
}

func (j *fakeJournal) head() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return uint64(len(j.batches))
}

// add appends n activity events of the tenant as one batch.
func (j *fakeJournal) add(tenant string, class schemas.Class, docs ...any) {
	b, err := own(tenant, class, "api_call", now.UnixNano(), docs...)
	if err != nil {
		panic(err)
	}
	_, _ = j.append(context.Background(), b)
}

func (j *fakeJournal) open(_ context.Context, _ int, from journal.From) (api.Reader, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := &fakeReader{j: j}
	switch from {
	case journal.FromNow():
		r.next = uint64(len(j.batches))
	case journal.FromStart():
	default:
		for from != journal.FromOffset(r.next) {
			r.next++
		}
	}
	return r, nil
}

// sources reports one source for each tenant.
func (j *fakeJournal) sources(tenant string) []api.SourceReport {
	odd := []survey.Strange{{Name: tenant + ".kind", Count: 3, First: now, Last: now, Example: eventID(0)}}
	return []api.SourceReport{
		{Name: "audit", Kind: "audit", Path: "/v1/audit", Configured: true},
		{Name: tenant + "-audit", Configured: true, Delivered: &survey.Source{Name: tenant + "-audit", Kinds: odd, Endpoints: odd, Fields: odd, Codes: odd}},
	}
}

func (j *fakeJournal) busiest(tenant string, _ time.Time, n int) survey.Busiest {
	usual := 2.5
	keys := []survey.Key{{Key: tenant + "-agent", Name: "Bot", PerMinute: 9, Usual: &usual}, {Key: "other", PerMinute: 1}}
	return survey.Busiest{Agents: keys[:min(n, 2)]}
}

// offsetAt returns the first batch that was received then.
func (j *fakeJournal) offsetAt(t time.Time) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, b := range j.batches {
		if b.Received >= t.UnixNano() {
			return b.Offset, j.fail
		}
	}
	return uint64(len(j.batches)), j.fail
}

type fakeReader struct {
	j    *fakeJournal
	next uint64
}

func (r *fakeReader) Next(ctx context.Context) (*schemas.Batch, error) {
	for {
		r.j.mu.Lock()
		if r.next < uint64(len(r.j.batches)) {
			b := r.j.batches[r.next]
			r.next++
			r.j.mu.Unlock()
			return b, nil
		}
		r.j.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.j.grew:
		}
	}
}

func (r *fakeReader) Close() error { return nil }
