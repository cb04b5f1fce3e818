package collector_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// warehouse answers as BigQuery's jobs.query and jobs.getQueryResults do: it
// checks the token, the form of the query and its parameters, is not done at
// first, and gives pages of so many rows.
type warehouse struct {
	t      *testing.T
	mu     sync.Mutex
	rows   map[string]time.Time // record -> time
	job    []string             // records of the query that is asked for
	faults []int                // statuses of the next answers
	asked  int
}

func (h *warehouse) put(record string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rows[record] = at
}

func (h *warehouse) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.URL.Path == "/token" {
		if err := r.ParseForm(); err != nil || strings.Count(r.Form.Get("assertion"), ".") != 2 {
			w.WriteHeader(400)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"t1","token_type":"Bearer","expires_in":3600}`))
		return
	}
	fail := func(status int, message string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "message": message}})
	}
	if r.Header.Get("Authorization") != "Bearer t1" {
		fail(401, "no token")
		return
	}
	if len(h.faults) > 0 {
		status := h.faults[0]
		h.faults = h.faults[1:]
		fail(status, "try again")
		return
	}
	h.asked++
	answer := map[string]any{"jobReference": map[string]string{"jobId": "job_1", "location": "EU", "projectId": "payer"}}
	switch {
	case r.Method == "POST" && r.URL.Path == "/bigquery/v2/projects/payer/queries":
		if !h.query(r) {
			fail(400, "bad query")
			return
		}
		answer["jobComplete"] = false
	case r.Method == "GET" && r.URL.Path == "/bigquery/v2/projects/payer/queries/job_1" && r.URL.Query().Get("location") == "EU":
		answer["jobComplete"] = true
		most, err := strconv.Atoi(r.URL.Query().Get("maxResults"))
		if err != nil {
			h.t.Error(err)
		}
		from := 0
		if p := r.URL.Query().Get("pageToken"); p != "" {
			from, _ = strconv.Atoi(strings.TrimPrefix(p, "page"))
		}
		to := min(len(h.job), from+most)
		rows := []any{}
		for _, rec := range h.job[from:to] {
			rows = append(rows, map[string]any{"f": []any{map[string]any{"v": rec}, map[string]any{"v": strconv.FormatInt(h.rows[rec].UnixMicro(), 10)}}})
		}
		answer["rows"] = rows
		if to < len(h.job) {
			answer["pageToken"] = "page" + strconv.Itoa(to)
		}
	default:
		fail(404, r.URL.String())
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// query runs the one query that there is.
func (h *warehouse) query(r *http.Request) bool {
	var q struct {
		Query           string
		UseLegacySQL    *bool `json:"useLegacySql"`
		ParameterMode   string
		QueryParameters []struct {
			Name           string
			ParameterType  struct{ Type string }
			ParameterValue struct{ Value string }
		}
	}
	const text = "SELECT TO_JSON_STRING(t) AS record, UNIX_MICROS(t.`timestamp`) AS at FROM `payer.logs.customer_event_*` AS t WHERE t.`timestamp` >= @from AND t.`timestamp` < @to ORDER BY at"
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Query != text || q.UseLegacySQL == nil || *q.UseLegacySQL || q.ParameterMode != "NAMED" || len(q.QueryParameters) != 2 {
		h.t.Errorf("query %+v, %v", q, err)
		return false
	}
	bounds := map[string]time.Time{}
	for _, p := range q.QueryParameters {
		at, err := time.Parse("2006-01-02 15:04:05.999999-07:00", p.ParameterValue.Value)
		if err != nil || p.ParameterType.Type != "TIMESTAMP" {
			h.t.Errorf("parameter %+v: %v", p, err)
			return false
		}
		bounds[p.Name] = at
	}
	h.job = nil
	for rec, at := range h.rows {
		if !at.Before(bounds["from"]) && at.Before(bounds["to"]) {
			h.job = append(h.job, rec)
		}
	}
	slices.SortFunc(h.job, func(a, b string) int { return h.rows[a].Compare(h.rows[b]) })
	return true
}

// account writes the key of a service account whose tokens come from the server.
func account(t *testing.T, server string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "agentrail@payer.iam.gserviceaccount.com", "private_key_id": "k",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": server + "/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestBigQuery(t *testing.T) {
	h := &warehouse{t: t, rows: map[string]time.Time{}}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	fields := "project: payer\ntable: payer.logs.customer_event_*\nevery: 1s\npage: 2\ncredentials_file: " + account(t, srv.URL) + "\nendpoint: " + srv.URL
	dir := t.TempDir()
	row := func(id string, at time.Time) string {
		rec := `{"insertid":"` + id + `","timestamp":"` + at.UTC().Format(time.RFC3339Nano) + `","jsonpayload":{"type":"WORKFLOW_RUN","workflowrun":{"runid":"` + id + `"}}}`
		h.put(rec, at)
		return rec
	}
	now := time.Now()
	want := []string{row("a", now.Add(-3*time.Hour)), row("b", now.Add(-2*time.Hour)), row("c", now.Add(-time.Minute)), row("d", now.Add(-2*time.Second)), row("e", now.Add(-time.Second))}
	row("old", now.Add(-48*time.Hour))
	h.faults = []int{503}
	j := newTold()
	if got := runSource(t, dir, "bigquery", fields, j, 5); !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
	if b := j.activity()[0]; b.Events[0].Run != "a" {
		t.Errorf("event %+v, want a run", b.Events[0])
	}

	// A new start reads what is new, also what appeared late, and nothing twice.
	want = []string{row("late", now.Add(-5*time.Minute)), row("f", now)}
	if got := runSource(t, dir, "bigquery", fields, newTold(), 2); !slices.Equal(got, want) {
		t.Errorf("the second time: %q, want %q", got, want)
	}
}

func TestBigQueryConfig(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		if _, err := openIn(t, t.TempDir(), "bigquery", fields, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", fields, err, want)
		}
	}
	f("table: a.b.c", "project")
	f("project: p\ntable: a.b", "project.dataset.table")
	f("project: p\ntable: 'a.b.c` WHERE'", "project.dataset.table")
	f("project: p\ntable: a.b.c\ntime: 'x y'", "column")
	f("project: p\ntable: a.b.c\npage: 0", "page")
	f("project: p\ntable: a.b.c\nendpoint: x", "URL")
	f("project: p\ntable: a.b.c\ncredentials_file: /none", "no such file")
	f("project: p\ntable: a.b.c\nmapping: none", "none")
}
