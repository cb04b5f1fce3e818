package sqlread_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentrail/agentrail/collector/store/sqlread"
)

// heard is a record of reads.
type heard struct {
	mu    sync.Mutex
	reads []sqlread.Read
}

func (h *heard) note(_ context.Context, r sqlread.Read) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads = append(h.reads, r)
	return nil
}

// take returns what was heard since the last take.
func (h *heard) take() []sqlread.Read {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.reads
	h.reads = nil
	return out
}

// TestContentIsNoted: each statement that reads a table of contents is told of,
// by what the engine understood, with the rows of its answer; no other is.
func TestContentIsNoted(t *testing.T) {
	f := open(t)
	var on heard
	srv := f.serve(sqlread.Caller{Tenant: "acme", Content: true, Note: on.note}, sqlread.Options{})
	var said []sqlread.Read
	g := func(status, rows int, columns, stmt string, settings ...string) {
		t.Helper()
		code, got := ask(t, srv, stmt, settings...)
		if code != status && status != 0 {
			t.Errorf("%s: %d %s", stmt, code, got)
		}
		said = on.take()
		if columns == "" {
			if len(said) != 0 {
				t.Errorf("%s reads no content: %+v", stmt, said)
			}
			return
		}
		if len(said) != 1 || strings.Join(said[0].Columns, " ") != columns || int(said[0].Rows) != rows || said[0].Status != code || said[0].More || said[0].Again {
			t.Errorf("%s: %+v, want %d rows of %s", stmt, said, rows, columns)
		}
	}
	g(200, 0, "", "SELECT count() FROM events")
	g(200, 0, "", "SELECT * FROM events FORMAT JSON")
	g(200, 0, "", "SELECT SpanName FROM spans")
	g(200, 0, "", "SELECT 'raw', 'otel_traces' FROM runs")
	g(403, 0, "", "SELECT file('/etc/passwd')") // nothing was read before it was refused
	g(200, 3, "raw.content", "SELECT content FROM raw LIMIT 3")
	g(200, 3, "raw.content", "SELECT substring(content, {n:UInt8}) FROM default.raw LIMIT 3 FORMAT JSON", "param_n", "2")
	if want := []sqlread.Read{{Tables: []string{"raw"}, Parameters: map[string]string{"n": "2"}, Statement: "SELECT substring(content, {n:UInt8}) FROM default.raw LIMIT 3 "}}; !cmp.Equal(want, said,
		cmpopts.IgnoreFields(sqlread.Read{}, "Columns", "Status", "Rows", "Bytes")) || said[0].Bytes < 100 {
		t.Errorf("said %+v, want %+v", said, want)
	}
	g(200, 10, "raw.content raw.digest raw.id raw.kind raw.part raw.received raw.tenant raw.time", "SELECT * FROM raw")
	g(200, 1, "raw.content", "SELECT count() FROM events WHERE id IN (SELECT id FROM runs) OR 1 IN (SELECT 1 FROM raw WHERE content LIKE '%words%')")
	g(200, 10, "raw.content raw.id", "WITH r AS (SELECT id, content AS c FROM raw) SELECT e.actor, r.c FROM events AS e JOIN r ON r.id = e.id")
	g(200, 0, "otel_traces.SpanAttributes.key_gen_ai.prompt otel_traces.TraceId", "SELECT SpanAttributes['gen_ai.prompt'] FROM otel_traces WHERE TraceId != ''")
	g(200, 20, "raw.content", "SELECT actor FROM events UNION ALL SELECT content FROM raw")
	g(200, 1, "raw.*", "WITH raw AS (SELECT 1 AS a) SELECT a FROM raw") // a name is enough
	g(0, 0, "raw.content", "SELECT toUInt8(content) FROM raw")          // the error quotes it

	if _, got := ask(t, srv, "SELECT count() FROM raw"); got != "10\n" { // of no column
		t.Error(got)
	}
	if said := on.take(); len(said) != 1 || len(said[0].Columns) != 0 || said[0].Tables[0] != "raw" || said[0].Rows != 1 {
		t.Errorf("a count: %+v", said)
	}
	// The analyzer works constants out before it says what they are made of.
	if _, got := ask(t, srv, "SELECT (SELECT any(toUInt8(content)) FROM raw)"); !strings.Contains(got, "words of acme") {
		t.Errorf("the error does not quote: %s", got)
	}
	if said := on.take(); len(said) != 1 || said[0].Columns[0] != "raw.*" || said[0].Status == http.StatusOK {
		t.Errorf("a constant: %+v", said)
	}
}

// TestContentWithoutRecord: an answer, good or bad, that cannot be told of holds
// nothing of the content, and none comes without a record at all.
func TestContentWithoutRecord(t *testing.T) {
	f := open(t)
	deaf := func(context.Context, sqlread.Read) error { return errors.New("the disk is full") }
	srv := f.serve(sqlread.Caller{Tenant: "acme", Content: true, Note: deaf}, sqlread.Options{})
	for _, stmt := range []string{"SELECT content FROM raw", "SELECT toUInt8(content) FROM raw", "SELECT (SELECT any(toUInt8(content)) FROM raw)"} {
		if code, got := ask(t, srv, stmt); code == http.StatusOK || strings.Contains(got, "words of") || !strings.Contains(got, "cannot go on record") {
			t.Errorf("%s: %d %s", stmt, code, got)
		}
	}
	if code, got := ask(t, srv, "SELECT count() FROM events"); code != http.StatusOK || got != "10\n" {
		t.Errorf("no content: %d %s", code, got)
	}
	none := f.serve(sqlread.Caller{Tenant: "acme", Content: true}, sqlread.Options{})
	if code, got := ask(t, none, "SELECT 1"); code == http.StatusOK {
		t.Errorf("a reader of content without a record: %s", got)
	}
}

// TestLargeContent: an answer that is larger than what is held back is told of
// twice, before its first byte and behind its last, also if it breaks off.
func TestLargeContent(t *testing.T) {
	f := open(t)
	var on heard
	caller := sqlread.Caller{Tenant: "acme", Content: true, Note: on.note}
	const stmt = "SELECT content, repeat('x', 1000000) FROM raw"
	code, got := ask(t, f.serve(caller, sqlread.Options{}), stmt)
	said := on.take()
	if code != http.StatusOK || len(said) != 2 || !said[0].More || said[0].Rows != -1 || !said[1].Again || said[1].More || said[1].Rows != 10 || said[1].Bytes != int64(len(got)) {
		t.Errorf("%d, %d bytes: %+v", code, len(got), said)
	}
	_, got = ask(t, f.serve(caller, sqlread.Options{Bytes: 6 << 20}), stmt)
	if said := on.take(); !strings.HasPrefix(got, "broken off") || len(said) != 2 || said[1].Rows != -1 || said[1].Bytes < 6<<20 {
		t.Errorf("%.100s: %+v", got, said)
	}
}

// TestContentOfClickHouse: a ClickHouse elsewhere is asked to wait for its end
// and says before its answer how many rows that has.
func TestContentOfClickHouse(t *testing.T) {
	var on heard
	f := &tables{t: t, backend: func(r *http.Request) (*http.Response, error) {
		sql, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		answer, h := "a\nb\n", http.Header{"X-Clickhouse-Summary": {`{"read_rows":"7","result_rows":"2"}`}}
		switch {
		case strings.HasPrefix(string(sql), "EXPLAIN AST"):
			answer = `["    TableIdentifier raw"]` + "\n"
		case strings.HasPrefix(string(sql), "EXPLAIN QUERY"):
			answer = `["      COLUMN id: 2, column_name: content, result_type: String, source_id: 3"]` + "\n" + `["    TABLE id: 3, alias: __table1, table_name: default.raw"]` + "\n"
		case r.URL.Query().Get("wait_end_of_query") != "1":
			h = http.Header{}
		}
		return &http.Response{StatusCode: http.StatusOK, Header: h, Body: io.NopCloser(strings.NewReader(answer))}, nil
	}}
	code, got := ask(t, f.serve(sqlread.Caller{Tenant: "acme", Content: true, Note: on.note}, sqlread.Options{}), "SELECT content FROM raw")
	if said := on.take(); code != http.StatusOK || got != "a\nb\n" || len(said) != 1 || said[0].Rows != 2 || said[0].Columns[0] != "raw.content" {
		t.Errorf("%d %s: %+v", code, got, said)
	}
}
