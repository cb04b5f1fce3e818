package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/dashboards/grafana"
	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// boards is a server with the embedded engine and the sample day in it, as
// Grafana finds it.
type boards struct {
	*served
	key string // of the role sql alone
	eye string // of the roles sql and analyst
}

func newBoards(t *testing.T) *boards {
	t.Helper()
	b := &boards{served: newServed(t)}
	if err := os.Mkdir(filepath.Join(b.dir, "config.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.write("config.d/sql.yaml", `version: 1
store: {kind: embedded}
sql: {enabled: true}
sources:
  - {kind: otlp, grpc: 127.0.0.1:0, http: 127.0.0.1:0}
`)
	b.key = strings.TrimSpace(b.cli("token", "new", "--file", filepath.Join(b.dir, "tokens.yaml"), "--name", "grafana", "--roles", "sql"))
	b.eye = strings.TrimSpace(b.cli("token", "new", "--file", filepath.Join(b.dir, "tokens.yaml"), "--name", "eye", "--roles", "sql,analyst"))
	b.seen.Reset()
	b.start("max_record: 1MiB")
	day := sample.Generate(sample.Options{Seed: 1, End: time.Now()})
	day.Deliveries = slices.DeleteFunc(day.Deliveries, func(dl sample.Delivery) bool { return dl.History })
	sent, err := (&sample.Sender{URL: b.url, Token: b.token}).Play(t.Context(), day, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.await("the store is open and holds the day", func() bool {
		code, got := b.sql("SELECT count() FROM events WHERE class = 'activity'", "")
		return code == http.StatusOK && got == fmt.Sprintf("%d\n", sent.Accepted)
	})
	b.responded()
	b.await("alerts of agents are in the store", func() bool {
		_, got := b.sql("SELECT count() > 20 AND countIf(open) > 0 AND countIf(agent != '' AND agent IN (SELECT agent FROM runs)) > 0 FROM alerts_latest", "")
		return got == "1\n"
	})
	return b
}

// responded sends what an executor records of a pause.
func (b *boards) responded() {
	b.t.Helper()
	who := trail.Who{Program: "agentrail-executor", Log: "agentrail/logs/response", User: "agentrail-response", UserType: "SERVICE", Initiator: trail.InitiatorAPI, Subscription: "sub_1"}
	at := time.Now().Add(-time.Minute)
	var body []byte
	for i, status := range []string{"requested", "confirmed"} {
		r := who.Response(trail.Response{
			ID: fmt.Sprintf("resp_1_%d", i+1), Response: "resp_1", Status: status, At: at.Add(time.Duration(i) * time.Second), Text: "read back from executor", Action: "subscription.pause",
			Target: "sub_1", Policy: "runaway", Author: "policy runaway", Reason: "writes", Mode: "enforce", Via: "executor", Alert: "a1", Rule: "burst", Asked: at, Until: at.Add(time.Hour),
		})
		body = append(append(body, r.Body...), '\n')
	}
	if r := b.do(http.MethodPost, "/v1/audit", b.token, string(body)); r.StatusCode != http.StatusAccepted {
		b.t.Fatalf("records of a response: %s", r.Status)
	}
	b.await("the response is in the store", func() bool {
		_, got := b.sql("SELECT seq, status, target, until - time > 3500 FROM responses WHERE id = 'resp_1' ORDER BY seq", "")
		return got == "1\trequested\tsub_1\t1\n2\tconfirmed\tsub_1\t1\n"
	})
}

// sql asks the endpoint as ClickHouse's clients do, by Basic.
func (b *boards) sql(stmt, format string) (int, string) {
	b.t.Helper()
	return b.sqlBy(b.key, stmt, format)
}

func (b *boards) sqlBy(key, stmt, format string) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+sqlPath+"?default_format="+url.QueryEscape(format), strings.NewReader(stmt))
	if err != nil {
		b.t.Fatal(err)
	}
	if format == "" {
		req.URL.RawQuery = ""
	}
	req.SetBasicAuth("grafana", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(got)
}

// table is an answer in FORMAT JSON.
type table struct {
	Meta []struct{ Name, Type string }
	Data []map[string]any
}

func (b *boards) table(stmt string) (out table) {
	b.t.Helper()
	code, got := b.sql(stmt, "JSON")
	if code != http.StatusOK {
		b.t.Errorf("%s\n%d %s", stmt, code, got)
		return table{}
	}
	if err := json.Unmarshal([]byte(got), &out); err != nil {
		b.t.Fatal(err)
	}
	return out
}

// one returns the first value of a statement.
func (b *boards) one(stmt string) string {
	b.t.Helper()
	code, got := b.sql(stmt, "")
	if code != http.StatusOK || strings.TrimSpace(got) == "" {
		b.t.Fatalf("%s: %d %s", stmt, code, got)
	}
	return strings.TrimSpace(got)
}

var (
	macroFilter   = regexp.MustCompile(`\$__timeFilter\(([^)]*)\)`)
	macroInterval = regexp.MustCompile(`\$__timeInterval\(([^)]*)\)`)
)

// expand puts in what Grafana and its ClickHouse plugin put in: macros as the
// plugin writes them, variables as the format sqlstring does.
func expand(sql string, values map[string]string) string {
	from, to := time.Now().Add(-8*24*time.Hour).Unix(), time.Now().Add(time.Minute).Unix()
	sql = macroFilter.ReplaceAllString(sql, fmt.Sprintf("$1 >= toDateTime(%d) AND $1 <= toDateTime(%d)", from, to))
	sql = macroInterval.ReplaceAllString(sql, "toStartOfInterval(toDateTime($1), INTERVAL 60 second)")
	for name, value := range values {
		sql = strings.ReplaceAll(sql, "${"+name+":sqlstring}", value)
	}
	return sql
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// TestPanels runs every SQL query of every dashboard through the endpoint, with
// All and with one value chosen, and looks for the columns and rows that the
// panel shows.
// It holds S36.
func TestPanels(t *testing.T) {
	b := newBoards(t)
	trace := b.one("SELECT trace FROM events WHERE trace != '' AND access = 'write' AND run IN (SELECT run FROM runs) ORDER BY time DESC LIMIT 1")
	b.spans(trace)
	picks := map[string]string{
		"tenant": literal("default"),
		"run":    literal(b.one("SELECT run FROM events WHERE trace = " + literal(trace) + " LIMIT 1")),
		"agent":  literal(b.one("SELECT agent FROM alerts_latest WHERE agent != '' AND agent IN (SELECT agent FROM runs) GROUP BY agent ORDER BY count() DESC LIMIT 1")),
	}
	all := map[string]string{"tenant": "tenant", "agent": "agent", "actor": "actor", "run": picks["run"]}
	counts := b.tallied(strings.Trim(picks["agent"], "'"), strings.Trim(picks["run"], "'"), trace)
	counts.spans = []string{row("agent-platform", "invoke_agent", 5, "Unset", trace), row("agent-platform", "execute_tool", 5, "Unset", trace)}
	should := counts.panels()
	for _, d := range grafana.All() {
		for _, v := range d.Variables {
			if v.Query != "" {
				if got := b.table(expand(v.Query, picks)); len(got.Data) == 0 || len(got.Meta) != 1 {
					t.Errorf("%s: variable %s lists nothing", d.UID, v.Name)
				}
			}
		}
		for _, p := range d.Panels {
			if p.Source != "" {
				continue
			}
			values := all
			if d.UID == "agentrail-agent" {
				values = picks
			}
			got := b.table(expand(p.Query, values))
			name := d.UID + ": " + p.Title
			w, known := should[name]
			if delete(should, name); !known {
				t.Errorf("%s: nothing says what it should show", name)
			}
			why, tries := w.differs(p, got), 0
			if strings.Contains(p.Query, "alerts_latest") { // alerts go on meanwhile
				b.await(name+" shows what was counted", func() bool {
					if why != "" {
						counts.readAlerts()
						w, got = counts.panels()[name], b.table(expand(p.Query, values))
						why = w.differs(p, got)
					}
					tries++
					return why == "" || tries > 500
				})
			}
			if why != "" {
				t.Errorf("%s %s", name, why)
			}
			var names []string
			for _, m := range got.Meta {
				names = append(names, m.Name)
			}
			if !slices.Equal(names, p.Shows) {
				t.Errorf("%s: %s shows %v, its query returns %v", d.UID, p.Title, p.Shows, names)
			}
			if len(got.Data) == 0 {
				t.Errorf("%s: %s shows nothing", d.UID, p.Title)
			}
			if p.Kind == "timeseries" && (len(got.Meta) == 0 || !strings.HasPrefix(got.Meta[0].Type, "DateTime")) {
				t.Errorf("%s: %s has no time in its first column", d.UID, p.Title)
			}
			if p.Kind == "stat" && (len(got.Data) != 1 || fmt.Sprint(got.Data[0][p.Shows[0]]) == "0" && p.Title != "Runs") {
				t.Errorf("%s: %s is %v", d.UID, p.Title, got.Data)
			}
			one := map[string]string{"tenant": picks["tenant"], "agent": picks["agent"], "actor": literal("it's nobody"), "run": picks["run"]}
			b.table(expand(p.Query, one))
		}
	}
	for name := range should {
		t.Errorf("there is no panel %s", name)
	}
	b.strangers()
	b.contentOnRecord()
}

// contentOnRecord reads records as received: who also has a role for content gets
// them, and that is an event; dashboards, which have not, leave none.
func (b *boards) contentOnRecord() {
	b.t.Helper()
	const short = "SELECT content FROM raw ORDER BY time DESC LIMIT 3"
	long := "SELECT count() FROM raw WHERE content != '" + strings.Repeat("x", 3000) + "'"
	for _, stmt := range []string{short, long} {
		if code, got := b.sqlBy(b.eye, stmt, ""); code != http.StatusOK || strings.TrimSpace(got) == "" {
			b.t.Errorf("%.100s: %d %s", stmt, code, got)
		}
	}
	var said []schemas.Control
	b.streamed("control", func(ev api.Event) bool {
		var c schemas.Control
		if ev.Action == auth.VerbContentRead && ev.Raw != nil && json.Unmarshal([]byte(*ev.Raw), &c) == nil && c.Target == sqlPath {
			said = append(said, c)
		}
		return len(said) == 2
	})
	for i, want := range []map[string]string{
		{"rows": "3", "columns": "raw.content raw.time", "query": short, "query_sha256": ""},
		{"rows": "1", "columns": "raw.content", "query": long[:maxStatementShown], "query_sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(long)))},
	} {
		for name, value := range want {
			if said[i].Args[name] != value {
				b.t.Errorf("%s on record is %s, want %s", name, said[i].Args[name], value)
			}
		}
		if said[i].Author != "eye" || said[i].Tenant != "default" || said[i].Args["tables"] != "raw" || said[i].Args["address"] != "127.0.0.1" || said[i].Args["status"] != "200" {
			b.t.Errorf("on record: %+v", said[i])
		}
	}
}

// spans sends two spans of the trace by OTLP.
func (b *boards) spans(trace string) {
	b.t.Helper()
	var addr string
	b.await("the receiver of traces listens", func() bool {
		m := regexp.MustCompile(`Starting HTTP server.*?(127\.0\.0\.1:\d+)`).FindStringSubmatch(b.log.String())
		if m != nil {
			addr = m[1]
		}
		return addr != ""
	})
	at := time.Now().Add(-time.Minute).UnixNano()
	span := func(id, parent, name string) string {
		return fmt.Sprintf(`{"traceId":%q,"spanId":%q,"parentSpanId":%q,"name":%q,"kind":1,"startTimeUnixNano":"%d","endTimeUnixNano":"%d","status":{}}`, trace, id, parent, name, at, at+5e6)
	}
	body := `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"agent-platform"}}]},"scopeSpans":[{"spans":[` +
		span("00000000000000a1", "", "invoke_agent") + "," + span("00000000000000a2", "00000000000000a1", "execute_tool") + `]}]}]}`
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, "http://"+addr+"/v1/traces", bytes.NewReader([]byte(body)))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+b.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	if said, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		b.t.Fatalf("spans: %s %s", resp.Status, said)
	}
	b.await("the spans are in the store", func() bool {
		_, got := b.sql("SELECT count() FROM spans WHERE TraceId = "+literal(trace), "")
		return got == "2\n"
	})
}

// strangers asks without the role, without a token and for another tenant.
func (b *boards) strangers() {
	b.t.Helper()
	if r := b.do(http.MethodPost, sqlPath, b.token, "SELECT 1"); r.StatusCode != http.StatusForbidden {
		b.t.Errorf("an admin without the role sql: %s", r.Status)
	}
	if r := b.do(http.MethodPost, sqlPath, "x", "SELECT 1"); r.StatusCode != http.StatusUnauthorized {
		b.t.Errorf("without a token: %s", r.Status)
	}
	if code, got := b.sql("SELECT content FROM raw", ""); code != http.StatusForbidden {
		b.t.Errorf("records as received: %d %s", code, got)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+sqlPath+"?user=grafana&password="+b.key+"&query=SELECT+1", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		b.t.Errorf("a token in the address, which logs keep: %s", resp.Status)
	}
}

// TestGrafanaVerb writes the provisioning files as an operator does.
func TestGrafanaVerb(t *testing.T) {
	b := &served{t: t, dir: t.TempDir()}
	b.write("sql.token", "ar_secret\n")
	out := filepath.Join(b.dir, "grafana")
	said := b.cli("grafana", "--sql-token", filepath.Join(b.dir, "sql.token"), "--tempo", "http://tempo:3200", "--out", out)
	for path := range strings.Lines(said) {
		info, err := os.Stat(strings.TrimSpace(path))
		if err != nil || strings.Contains(path, "datasources") && info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s: %v", path, err)
		}
	}
	if n := strings.Count(said, "\n"); n != 2+len(grafana.All()) {
		t.Errorf("%d files: %s", n, said)
	}
	provider, err := os.ReadFile(filepath.Join(out, "provisioning", "dashboards", "agentrail.yaml"))
	if err != nil || !strings.Contains(string(provider), "path: "+filepath.Join(out, "dashboards")) {
		t.Errorf("the provider: %s, %v", provider, err)
	}
	if got := b.cli("grafana", "--sql-token-file", "/run/secrets/sql.token"); !strings.Contains(got, "$__file{/run/secrets/sql.token}") {
		t.Errorf("printed: %s", got)
	}
}
