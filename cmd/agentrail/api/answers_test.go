package api_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

func TestDocumentHasEveryRoute(t *testing.T) {
	doc, _ := loadDoc(t)
	var documented, open []string
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			documented = append(documented, method+" "+path)
			if op.Security != nil && len(*op.Security) == 0 {
				open = append(open, method+" "+path)
			}
		}
	}
	slices.Sort(documented)
	slices.Sort(open)
	others := []string{ // the collector's, with its defaults, sqlread's and the console's
		"POST /v1/audit", "POST /v1/workflowrun", "GET " + api.Prefix + "/sql", "POST " + api.Prefix + "/sql", "POST " + api.Prefix + "/alerts/{id}/case",
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(append(api.Patterns(), others...))), documented); diff != "" {
		t.Errorf("routes and document differ (-routes +document):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(api.PublicPatterns())), open); diff != "" {
		t.Errorf("open routes and document differ (-routes +document):\n%s", diff)
	}
}

func TestRolesDecideWhoMayAsk(t *testing.T) {
	r := newRig(t, nil)
	const id = "00000000000000000000000000000001"
	f := func(method, path, who string, want int) {
		t.Helper()
		if got := r.do(who, method, path, ""); got.status != want {
			t.Errorf("%s %s as %q: %d, want %d: %s", method, path, who, got.status, want, got.body)
		}
	}
	for _, path := range []string{"/events", "/events/" + id, "/runs", "/alerts", "/alerts/a1", "/dlq", "/ledger", "/cursors", "/status", "/doctor", "/busiest"} {
		f("GET", api.Prefix+path, "", 401)
		f("GET", api.Prefix+path, "acme/ingest", 403)
		f("GET", api.Prefix+path, "acme/member", 403)
		f("GET", api.Prefix+path, "acme/viewer", 200)
		f("GET", api.Prefix+path, "acme/auditor", 200)
	}
	f("GET", api.Prefix+"/dlq/d1", "acme/viewer", 403)
	f("GET", api.Prefix+"/dlq/d1", "acme/analyst", 200)
	f("GET", api.Prefix+"/cursors", "rival/admin", 403)
	f("GET", api.Prefix+"/status", "rival/admin", 403)
	f("GET", api.Prefix+"/doctor", "rival/admin", 200)
	f("GET", "/metrics", "rival/admin", 403)
	f("GET", "/metrics", "", 401)
	f("GET", "/metrics", "acme/viewer", 200)
	f("GET", "/livez", "", 200)
	f("GET", "/readyz", "", 200)
	f("GET", api.Prefix+"/openapi.json", "", 200)
	f("POST", api.Prefix+"/control", "acme/viewer", 403)
	f("POST", api.Prefix+"/cursors/rm", "acme/analyst", 403)
	f("DELETE", api.Prefix+"/events", "acme/admin", 405)
	f("GET", api.Prefix+"/control", "acme/admin", 405)
	f("GET", api.Prefix+"/nothing", "acme/admin", 404)
}

func TestBadParametersAreNamed(t *testing.T) {
	r := newRig(t, nil)
	f := func(query, want string) {
		t.Helper()
		got := r.do("acme/viewer", "GET", api.Prefix+query, "")
		if got.status != http.StatusBadRequest || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d %s; want 400 with %q", query, got.status, got.body, want)
		}
	}
	f("/events?tenant=rival", `unknown query parameter \"tenant\"; known: since, until`)
	f("/events?actor=a&actor=b", "given 2 times")
	f("/events?since=yesterday", "RFC 3339")
	f("/events?since=-3h", "RFC 3339")
	f("/events?since=99999999999d", "RFC 3339")
	f("/events?since=1h&until=2h", "is not before until")
	f("/events?outcome=good", "known: ok, denied")
	f("/events?limit=0", "from 1 to 10000")
	f("/events?limit=10001", "from 1 to 10000")
	f("/events?format=csv&limit=1000001", "from 1 to 1000000")
	f("/events?%zz", "cannot be read")
	f("/events?after=12", "write the value of next")
	f("/events?after=x.00000000000000000000000000000001", "write the value of next")
	f("/runs?after=1.00", "write the value of next")
	f("/runs?action=x", "unknown query parameter")
	f("/alerts?severity=bad", "known: informational")
	f("/alerts?state=closed", "known: open, acknowledged, silenced, reopened, resolved, unresolved")
	f("/stream?from=-1", "now, start or an offset")
	f("/stream?class=secret", "known: activity")
	f("/stream?outcome=good", "known: ok, denied")
	f("/stream?since=yesterday", "RFC 3339")
	f("/stream?since=1h&from=start", "both from and since")
	f("/stream?content=some", "yes or no")
	f("/busiest?limit=51", "from 1 to 50")
	f("/dlq?limit=x", "limit")
	f("/ledger?limit=0", "limit")
	f("/ledger?since=soon", "since")
	f("/ledger?tenant=rival", "tenant")
	f("/status?x=1", "takes none")
	if got := r.do("acme/viewer", "GET", api.Prefix+"/stream", "", "Last-Event-ID", "x"); got.status != 400 {
		t.Errorf("bad Last-Event-ID: %d", got.status)
	}
}

func TestFiltersReachTheStore(t *testing.T) {
	r := newRig(t, nil)
	r.do("acme/viewer", "GET", api.Prefix+"/events?since=7d&until=1h&actor=a&agent=g&action=x&tool=t&subscription=s&outcome=ok&class=activity&kind=k&run=r&trace=c&after=9."+eventID(1)+"&limit=5", "")
	want := api.Query{
		Tenant: acme, Since: now.Add(-7 * 24 * time.Hour), Until: now.Add(-time.Hour), Actor: "a", Agent: "g", Action: "x",
		Tool: "t", Subscription: "s", Outcome: "ok", Class: "activity", Kind: "k", Run: "r", Trace: "c", After: "9." + eventID(1), Limit: 6,
	}
	if diff := cmp.Diff([]api.Query{want}, r.store.queries); diff != "" {
		t.Errorf("query (-want +got):\n%s", diff)
	}
}

func TestEventsSayWhetherThereAreMore(t *testing.T) {
	r := newRig(t, nil)
	f := func(limit string, rows int, more bool) {
		t.Helper()
		var list api.EventList
		r.do("acme/viewer", "GET", api.Prefix+"/events?limit="+limit, "").into(t, &list)
		next := ""
		if more {
			next = fmt.Sprintf("%d.%s", now.UnixNano(), eventID(rows-1))
		}
		if len(list.Events) != rows || list.More != more || list.Next != next {
			t.Errorf("limit %s: %d rows, more %v, next %q", limit, len(list.Events), list.More, list.Next)
		}
	}
	f("2", 2, true)
	f("3", 3, false)
	f("4", 3, false)
}

// TestEventsAsCSVAreNoFormulas holds S21: what is filtered is exported, and safe to open.
func TestEventsAsCSVAreNoFormulas(t *testing.T) {
	r := newRig(t, nil)
	got := r.do("acme/viewer", "GET", api.Prefix+"/events", "", "Accept", "text/csv")
	rows, err := csv.NewReader(strings.NewReader(got.body)).ReadAll()
	if err != nil || len(rows) != 4 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if col := slices.Index(rows[0], "actor_email"); rows[1][col] != "'=cmd|'/c calc'!A0" {
		t.Errorf("formula was not quoted: %q", rows[1][col])
	}
	for _, cell := range []string{"=1", "+1", "-1", "@x", "\tx", "\rx"} {
		if got := api.SafeCell(cell); got != "'"+cell {
			t.Errorf("SafeCell(%q) = %q", cell, got)
		}
	}
	if got := api.SafeCell("a=1"); got != "a=1" {
		t.Errorf("harmless cell was changed: %q", got)
	}
}

func TestEventsStreamAsNDJSON(t *testing.T) {
	r := newRig(t, nil)
	r.store.rows = 12_000
	before := len(r.log.batches)
	got := r.do("acme/viewer", "GET", api.Prefix+"/events?format=ndjson&limit=11000", "")
	if n := strings.Count(got.body, "\n"); n != 11_000 || got.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%d rows as %s", n, got.header.Get("Content-Type"))
	}
	var c schemas.Control
	if n := len(r.log.batches) - before; n != 1 || json.Unmarshal(r.log.batches[before].Events[0].Raw, &c) != nil || c.Verb != schemas.EventsExported || c.Author != "acme-viewer" || c.Args["rows"] != "11000" {
		t.Errorf("%d batches, the export is on record as %+v", n, c)
	}
	for _, accept := range []string{"application/x-ndjson", "text/csv"} {
		before := len(r.log.batches)
		r.do("acme/viewer", "GET", api.Prefix+"/events?limit=1", "", "Accept", accept)
		if len(r.log.batches) != before+1 {
			t.Errorf("an export of one row as %s is not on record", accept)
		}
	}
	before = len(r.log.batches)
	r.do("acme/viewer", "GET", api.Prefix+"/events?format=csv&actor=nobody", "")
	if len(r.log.batches) != before+1 {
		t.Error("an export that found nothing is not on record")
	}
	r.do("acme/viewer", "GET", api.Prefix+"/events?limit=10000", "", "Accept", "application/json")
	if len(r.log.batches) != before+1 {
		t.Error("a list that was read is on record as an export")
	}
	if got := r.do("acme/viewer", "GET", api.Prefix+"/events", "", "Accept", "image/png"); got.status != 406 {
		t.Errorf("image/png: %d", got.status)
	}
}

func TestExportThatFailsIsCutOff(t *testing.T) {
	r := newRig(t, nil)
	r.store.rows, r.store.failAt = 12_000, 11_000
	req, _ := http.NewRequestWithContext(t.Context(), "GET", r.url+api.Prefix+"/events?format=ndjson&limit=12000", nil)
	req.Header.Set("Authorization", "Bearer "+r.tokens["acme/viewer"])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("an export that failed in the middle ended like a whole one")
	}
	r.store.fail = errors.New("engine died")
	if got := r.do("acme/viewer", "GET", api.Prefix+"/events?format=ndjson", ""); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("an export that failed at once: %d", got.status)
	}
}

func TestContentIsForSomeRoles(t *testing.T) {
	r := newRig(t, nil)
	for who, want := range map[string]bool{"viewer": false, "analyst": true, "admin": true, "auditor": true} {
		got := r.do("acme/"+who, "GET", api.Prefix+"/events/"+eventID(0), "")
		if has := strings.Contains(got.body, "acme-content"); has != want {
			t.Errorf("%s sees content: %v", who, has)
		}
		got = r.do("acme/"+who, "GET", api.Prefix+"/alerts/a1", "")
		if has := strings.Contains(got.body, "acme-content"); has != want {
			t.Errorf("%s sees content of evidence: %v", who, has)
		}
	}
	if got := r.do("acme/admin", "GET", api.Prefix+"/events/none", ""); got.status != 400 {
		t.Errorf("an id that is none: %d %s", got.status, got.body)
	}
	if got := r.do("acme/admin", "GET", api.Prefix+"/events/"+eventID(7), ""); got.status != 404 || got.code(t) != "not_found" {
		t.Errorf("unknown event: %d %s", got.status, got.body)
	}
}

// TestContentGoesOnRecordFirst: each path that shows content says so first, and
// shows nothing where that fails.
func TestContentGoesOnRecordFirst(t *testing.T) {
	var told []string
	var fault error
	r := newRig(t, func(o *api.Options) {
		o.NoteRead = func(q *http.Request, ids ...string) error {
			told = append(told, q.URL.Path)
			return fault
		}
	})
	paths := []string{api.Prefix + "/events/" + eventID(1), api.Prefix + "/alerts/a1", api.Prefix + "/dlq/d1"}
	for _, path := range paths {
		if got := r.do("acme/analyst", "GET", path, ""); got.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
		r.do("acme/viewer", "GET", path, "")
	}
	if diff := cmp.Diff(paths, told); diff != "" {
		t.Errorf("on record (-want +got):\n%s", diff)
	}
	fault = errors.New("the journal is full")
	for _, path := range append(paths, api.Prefix+"/stream?class=activity") {
		if got := r.do("acme/analyst", "GET", path, ""); got.status != http.StatusServiceUnavailable || strings.Contains(got.body, "raw") {
			t.Errorf("%s without a record of it: %d %s", path, got.status, got.body)
		}
	}
}

func TestAlertShowsTransitionsAndEvidence(t *testing.T) {
	r := newRig(t, nil)
	var d api.AlertDetail
	r.do("acme/analyst", "GET", api.Prefix+"/alerts/a1", "").into(t, &d)
	if d.Alert.Seq != 2 || len(d.Transitions) != 2 || len(d.Evidence) != 2 || d.Evidence[0].ID != eventID(0) || len(d.Missing) != 1 || d.Missing[0] != eventID(9) {
		t.Errorf("alert: %+v", d)
	}
	if got := r.do("acme/analyst", "GET", api.Prefix+"/alerts/a2", ""); got.status != 404 {
		t.Errorf("unknown alert: %d", got.status)
	}
}

func TestReadyzNamesWhatIsNotReady(t *testing.T) {
	r := newRig(t, nil)
	got := r.do("", "GET", "/readyz", "")
	if got.status != 200 || !strings.Contains(got.body, "agentrail log cursors rm old") || !strings.Contains(got.body, "soc could not be told") || strings.Contains(got.body, "cursor store") {
		t.Errorf("ready: %d %s", got.status, got.body)
	}
	r.ready = []string{"journal: disk is full"}
	got = r.do("", "GET", "/readyz", "")
	if got.status != 503 || !strings.Contains(got.body, "journal: disk is full") {
		t.Errorf("not ready: %d %s", got.status, got.body)
	}
	var s api.Status
	r.do("acme/viewer", "GET", api.Prefix+"/status", "").into(t, &s)
	if s.Ready || len(s.NotReady) != 1 || s.Version != "test" || s.Stages[0].Events != 7 {
		t.Errorf("status: %+v", s)
	}
}

func TestServerWithoutStoreSaysSo(t *testing.T) {
	r := newRig(t, func(o *api.Options) {
		o.Store, o.DeadLetters, o.Cursors, o.Ledger = api.Store{}, api.DeadLetters{}, api.Cursors{}, nil
	})
	for _, path := range []string{"/events", "/events/" + eventID(0), "/runs", "/alerts", "/alerts/x", "/dlq", "/dlq/x", "/ledger", "/cursors"} {
		if got := r.do("acme/admin", "GET", api.Prefix+path, ""); got.status != 501 || got.code(t) != "switched_off" {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

// TestDeadLettersBeforeTheyAreRestored: a letter that is not read back yet is not
// one that does not exist.
func TestDeadLettersBeforeTheyAreRestored(t *testing.T) {
	early := fmt.Errorf("%w: being read back", api.ErrStarting)
	r := newRig(t, func(o *api.Options) {
		o.DeadLetters = api.DeadLetters{
			List: func(context.Context, string, string, int) ([]schemas.DeadLetter, error) { return nil, early },
			Get:  func(context.Context, string, string) (schemas.DeadLetter, error) { return schemas.DeadLetter{}, early },
		}
	})
	f := func(method, path, body string) {
		t.Helper()
		if got := r.do("acme/admin", method, api.Prefix+path, body); got.status != 503 || got.code(t) != "starting" || got.header.Get("Retry-After") != "1" {
			t.Errorf("%s: %d %v %s", path, got.status, got.header, got.body)
		}
	}
	f("GET", "/dlq", "")
	f("GET", "/dlq/d1", "")
	f("POST", "/control", `{"verb":"dlq.retry","target":"d1","reason":"receiver is back"}`)
}

// TestAnswersFromMemory: where the store is absent, not open yet or behind,
// memory answers and says so.
func TestAnswersFromMemory(t *testing.T) {
	recent := &fakeStore{}
	for name, store := range map[string]api.Store{
		"no store": {},
		"not open": {
			Events: func(context.Context, api.Query, func(api.Event) error) error { return api.ErrNotOpen },
			Event:  func(context.Context, string, string) (api.Event, error) { return api.Event{}, api.ErrNotOpen },
			Alerts: func(context.Context, api.Query) ([]schemas.Alert, error) { return nil, api.ErrNotOpen },
			Alert:  func(context.Context, string, string) ([]schemas.Alert, error) { return nil, api.ErrNotOpen },
		},
		"behind": {
			Events: recent.events, Alerts: recent.alerts,
			Event: func(context.Context, string, string) (api.Event, error) { return api.Event{}, api.ErrNotFound },
			Alert: func(context.Context, string, string) ([]schemas.Alert, error) { return nil, api.ErrNotFound },
		},
	} {
		r := newRig(t, func(o *api.Options) {
			o.Store, o.Recent = store, api.Store{Events: recent.events, Event: recent.event, Alerts: recent.alerts, Alert: recent.alert}
			o.Record = func(_ context.Context, tenant string, at schemas.Evidence) (api.Event, error) {
				return recent.event(context.Background(), tenant, at.ID)
			}
		})
		for _, path := range []string{"/events", "/events?format=csv", "/events/" + eventID(0), "/alerts", "/alerts/a1"} {
			got := r.do("acme/analyst", "GET", api.Prefix+path, "")
			list := !strings.Contains(path, "s/")
			if want := name != "behind" || !list; got.status != 200 || (got.header.Get(api.AnsweredFrom) == "memory") != want {
				t.Errorf("%s, %s: %d from %q %s", name, path, got.status, got.header.Get(api.AnsweredFrom), got.body)
			}
		}
		var d api.AlertDetail
		r.do("acme/viewer", "GET", api.Prefix+"/alerts/a1", "").into(t, &d)
		if len(d.Evidence) != 2 || len(d.Missing) != 1 || d.Evidence[0].Raw != nil {
			t.Errorf("%s: evidence %+v, missing %v", name, d.Evidence, d.Missing)
		}
		if got := r.do("acme/viewer", "GET", api.Prefix+"/alerts/none", ""); got.status != 404 {
			t.Errorf("%s: unknown alert: %d", name, got.status)
		}
	}
}

func TestAmbiguousAlert(t *testing.T) {
	r := newRig(t, func(o *api.Options) {
		o.Store.Alert = func(context.Context, string, string) ([]schemas.Alert, error) {
			return nil, fmt.Errorf("%w: a12 and a13", api.ErrAmbiguous)
		}
	})
	if got := r.do("acme/viewer", "GET", api.Prefix+"/alerts/a1", ""); got.status != 400 || !strings.Contains(got.body, "a12 and a13; write more of it") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestControlIsAppended(t *testing.T) {
	r := newRig(t, nil)
	const body = `{"verb":"dlq.retry","target":"d1","reason":"receiver is back","ttl":"2h","args":{"a":"b"}}`
	got := r.do("acme/analyst", "POST", api.Prefix+"/control", body, "Idempotency-Key", "k1")
	var receipt api.ControlReceipt
	got.into(t, &receipt)
	c := receipt.Control
	if got.status != 201 || c.Tenant != acme || c.Author != "acme-analyst" || !c.At.Equal(now) || c.Verb != "dlq.retry" || c.TTL != 2*time.Hour {
		t.Errorf("receipt: %d %+v", got.status, receipt)
	}
	if b := r.log.batches[0]; b.Header.Tenant != acme || b.Header.Class != schemas.ClassControl || b.Events[0].Kind != "control" || b.Header.ID.String() != c.ID {
		t.Errorf("batch: %+v", b.Header)
	}
	r.do("acme/analyst", "POST", api.Prefix+"/control", body, "Idempotency-Key", "k1")
	if n := len(r.log.batches); n != 1 {
		t.Errorf("a repeat was appended: %d", n)
	}
	r.do("rival/analyst", "POST", api.Prefix+"/control", body, "Idempotency-Key", "k1")
	if n := len(r.log.batches); n != 2 || r.log.batches[1].Tenant != rival {
		t.Errorf("another tenant's key was taken for a repeat: %d", n)
	}
}

func TestControlIsRefused(t *testing.T) {
	r := newRig(t, nil)
	f := func(who, path, body string, status int, code string) {
		t.Helper()
		got := r.do(who, "POST", api.Prefix+path, body)
		if got.status != status || got.code(t) != code {
			t.Errorf("%s %s: %d %s; want %d %s", who, body, got.status, got.body, status, code)
		}
	}
	f("acme/admin", "/control", `{"verb":"dlq.retry","target":"d1","reason":"  "}`, 400, "bad_parameter")
	f("acme/admin", "/control", `{"verb":"dlq.retry","target":"","reason":"x"}`, 400, "bad_parameter")
	f("acme/admin", "/control", `{"verb":"format.disk","target":"d1","reason":"x"}`, 400, "bad_parameter")
	f("acme/admin", "/control", `{"verb":"dlq.retry","target":"d1","reason":"x","ttl":"soon"}`, 400, "bad_parameter")
	f("acme/admin", "/control", `{"verb":"dlq.retry","target":"d1","reason":"x","tenant":"rival"}`, 400, "bad_body")
	f("acme/admin", "/control", `{"verb":"dlq.retry"} {}`, 400, "bad_body")
	f("acme/admin", "/control", `[`, 400, "bad_body")
	f("acme/admin", "/control", `{"verb":"`+strings.Repeat("x", 70<<10)+`"}`, 413, "body_too_large")
	f("acme/admin", "/control", `{"verb":"dlq.retry","target":"none","reason":"x"}`, 404, "not_found")
	f("acme/analyst", "/control", `{"verb":"dlq.drop","target":"d1","reason":"x"}`, 403, "missing_role")
	f("acme/admin", "/cursors/rm", `{"name":"old"}`, 400, "bad_parameter")
	f("acme/admin", "/cursors/rm", `{"name":"none","reason":"x"}`, 404, "not_found")
	f("acme/admin", "/cursors/rm", `{"name":"store","reason":"x"}`, 409, "cursor_in_use")
	f("rival/admin", "/cursors/rm", `{"name":"old","reason":"x"}`, 403, "not_operator")
	if len(r.log.batches) != 0 || len(r.store.removed) != 0 {
		t.Errorf("a refused control had effect: %v %v", r.log.batches, r.store.removed)
	}
	r.log.fail = journal.ErrClosed
	f("acme/admin", "/control", `{"verb":"dlq.retry","target":"d1","reason":"x"}`, 503, "journal_unavailable")
	f("acme/admin", "/cursors/rm", `{"name":"old","reason":"x"}`, 503, "journal_unavailable")
	if len(r.store.removed) != 0 {
		t.Error("a cursor went without its control on record")
	}
}

func TestCursorRemovalIsOnRecord(t *testing.T) {
	r := newRig(t, nil)
	got := r.do("acme/admin", "POST", api.Prefix+"/cursors/rm", `{"name":"old","reason":"sink is gone"}`)
	if got.status != 200 || len(r.store.removed) != 1 || len(r.log.batches) != 1 || !strings.Contains(string(r.log.batches[0].Body), "cursor.rm") {
		t.Errorf("removal: %d %s", got.status, got.body)
	}
}

func TestPanicCostsOneRequest(t *testing.T) {
	r := newRig(t, func(o *api.Options) { o.Store.Runs = nil; o.Ready = func(context.Context) []string { panic("boom") } })
	if got := r.do("", "GET", "/readyz", ""); got.status != 500 || strings.Contains(got.body, "boom") {
		t.Errorf("panic: %d %s", got.status, got.body)
	}
}
