package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/agentrail/agentrail/collector/store"
	"github.com/agentrail/agentrail/collector/store/engine"
	"github.com/agentrail/agentrail/schemas"
)

// TestMain makes the test binary its own engine child.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "engine" {
		if err := engine.ServeChild(context.Background(), os.Stdin, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// fixture is a store on an engine of its own.
type fixture struct {
	*store.Store
	engine *engine.Supervisor
	conn   driver.Conn
	o      store.Options
}

func open(t testing.TB, o store.Options) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	lib, err := engine.Fetch(ctx, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	e, err := engine.Start(ctx, engine.SupervisorOptions{Engine: engine.Options{Data: t.TempDir(), Library: lib}, Args: []string{"engine"}, Log: log, Backoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	o.Engine, o.Log = e, log
	f := &fixture{engine: e, o: o}
	f.reopen(t)
	f.conn = direct(t, e)
	return f
}

// reopen opens the store again on the same engine.
func (f *fixture) reopen(t testing.TB) {
	t.Helper()
	f.o.Reg = prometheus.NewRegistry()
	s, err := store.Open(context.Background(), f.o)
	if err != nil {
		t.Fatal(err)
	}
	f.Store = s
	t.Cleanup(func() { s.Close() })
}

// direct is a connection beside the store's.
func direct(t testing.TB, e *engine.Supervisor) driver.Conn {
	t.Helper()
	c, err := clickhouse.Open(&clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{"engine:80"},
		Auth:        clickhouse.Auth{Username: engine.UserWriter, Password: e.Secret(engine.UserWriter)},
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) { return e.Dial(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (f *fixture) count(t testing.TB, sql string) uint64 {
	t.Helper()
	var n uint64
	if err := f.conn.QueryRow(context.Background(), sql).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// day is when the test's events happen.
var day = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

// batch makes a batch of n events at the offset, as a decoder would.
func batch(offset uint64, n int, change func(i int, ev *schemas.Event)) *schemas.Batch {
	b := &schemas.Batch{Header: schemas.Header{Offset: offset, Tenant: "acme", Source: "audit", Class: schemas.ClassActivity, Received: day.UnixNano()}}
	b.ID = schemas.ProducerID("test", offset, 0)
	for i := range n {
		ev := schemas.Event{
			ID: schemas.ProducerID("event", offset, uint32(i)), Digest: schemas.Digest{byte(i), byte(i >> 8), byte(offset)},
			Time: day.Add(time.Duration(offset)*time.Second + time.Duration(i)*time.Millisecond).UnixNano(), Received: day.UnixNano(),
			Offset: offset, Index: uint32(i), Class: schemas.ClassActivity, Tenant: "acme", Source: "audit", Kind: "api_call",
			Action: "tool.execute", Access: schemas.AccessWrite, Outcome: schemas.OutcomeOK, Initiator: schemas.InitiatorSchedule,
			Actor: "u" + strconv.Itoa(i%200), ActorEmail: "user" + strconv.Itoa(i%200) + "@acme.example", ActorType: "USER", Department: "Finance",
			Agent: "agent-" + strconv.Itoa(i%40), Subscription: "sub-" + strconv.Itoa(i%60), Run: fmt.Sprintf("run-%d-%d", offset, i/10),
			Trace: fmt.Sprintf("%032x", offset*1000+uint64(i)/10), Span: fmt.Sprintf("%016x", i), Endpoint: "/rest/api/v1/executeactiontool",
			Method: "POST", Tool: "jira.create_issue", Target: "PROJ-" + strconv.Itoa(i%500), OutcomeText: "SUCCESS", Status: 200, Duration: 12_345_678,
			IP: "10.0." + strconv.Itoa(i%256) + ".7", UserAgent: "agent-platform/1.0 (background)", SourceID: fmt.Sprintf("ins-%d-%d", offset, i), SourceAction: "EXECUTE_ACTION_TOOL",
		}
		if change != nil {
			change(i, &ev)
		}
		if ev.Raw == nil {
			ev.Raw = fmt.Appendf(nil, `{"insertId":%q,"timestamp":%q,"jsonPayload":{"type":"AUDIT","user":{"id":%q,"email":%q},"agentId":%q,"runId":%q,`+
				`"request":{"method":"POST","path":"/rest/api/v1/executeactiontool","tool":"jira.create_issue","arguments":{"project":"PROJ","summary":"Weekly report number %d","labels":["auto","finance"]}},`+
				`"response":{"status":200,"durationMs":12},"traceId":%q,"userAgent":"agent-platform/1.0 (background)","ip":%q,"department":"Finance"}}`,
				ev.SourceID, ev.When().Format(time.RFC3339Nano), ev.Actor, ev.ActorEmail, ev.Agent, ev.Run, i, ev.Trace, ev.IP)
		}
		b.Records = append(b.Records, schemas.Record{Start: uint32(len(b.Body)), Length: uint32(len(ev.Raw)), Flags: ev.Flags, ID: ev.ID, Digest: ev.Digest})
		b.Body = append(b.Body, ev.Raw...)
		b.Events = append(b.Events, ev)
	}
	return b
}

// alert makes the event of one transition.
func alert(t testing.TB, ev *schemas.Event, a schemas.Alert) {
	t.Helper()
	raw, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	ev.Class, ev.Kind, ev.Source, ev.Action, ev.Raw = schemas.ClassAlert, "alert", "agentrail", "alert."+string(a.Transition), raw
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-tick.C
	}
}

// server makes the engine answer on TCP, as a ClickHouse server does, and
// returns its DSN.
func server(t testing.TB, e *engine.Supervisor) string {
	t.Helper()
	srv := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "engine"}) },
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Dial(ctx) },
			DisableKeepAlives: true,
		},
	})
	t.Cleanup(srv.Close)
	return fmt.Sprintf("http://%s:%s@%s/default", engine.UserWriter, e.Secret(engine.UserWriter), srv.Listener.Addr())
}
