package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/store/engine"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

// TestLakeReadByClickHouse: the Parquet files of the layout security_lake are
// read by ClickHouse, whose reader we did not write. Every event of some hours
// that the journal gave to the other sinks is in them once, with the values that it
// has there.
func TestLakeReadByClickHouse(t *testing.T) {
	bucket := &sinktest.S3{Bucket: "lake", AccessKey: func(int) string { return "AK" }}
	srv := httptest.NewServer(bucket)
	defer srv.Close()
	s := newServed(t)
	native, ocsf := filepath.Join(s.dir, "native.ndjson"), filepath.Join(s.dir, "ocsf.ndjson")
	const both = "classes: [activity, alert], from: start"
	s.more = fmt.Sprintf("  - {kind: s3, name: lake, bucket: lake, region: us-east-1, path_style: true, endpoint: %q, access_key: AK, secret_key_file: %q, layout: security_lake, lake: {account: \"123456789012\"}, %s}\n", srv.URL, s.write("s3.secret", "secret"), both) +
		fmt.Sprintf("  - {kind: file, name: native, path: %q, %s}\n  - {kind: file, name: ocsf, path: %q, format: ocsf, %s}\n", native, both, ocsf, both)
	s.start("max_record: 1MiB")
	s.cli("sample", filepath.Join(s.dir, "day"), "--end", "2026-11-20T18:00:00Z")
	day, err := os.ReadFile(filepath.Join(s.dir, "day", "audit.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]bool{}
	lines := strings.SplitAfter(string(day), "\n")[:4000]
	for _, line := range lines {
		sent[line] = true
	}
	s.post("/v1/audit", strings.Join(lines, ""))
	s.await("every consumer has read everything", func() bool {
		var st api.Status
		if err := json.Unmarshal(s.answer(s.do(http.MethodGet, api.Prefix+"/status", s.token, "")), &st); err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(st.Consumers, func(c api.ConsumerStage) bool { return c.Lag > 0 })
	})
	s.stop()

	held := map[string]map[string]any{} // as the journal has it, by id
	classes := map[string]int{}
	for _, ev := range ndjson(t, native) {
		held[ev["event_id"].(string)] = ev
		classes[ev["class"].(string)]++
	}
	if classes["activity"] != len(sent) || classes["alert"] == 0 {
		t.Fatalf("%v for %d records", classes, len(sent))
	}
	want := map[string]map[string]any{} // as the format has it
	for _, doc := range ndjson(t, ocsf) {
		want[doc["metadata"].(map[string]any)["uid"].(string)] = doc
	}

	l := newLakeReader(t)
	got := 0
	for _, class := range l.keep(bucket.Objects()) {
		columns := l.columns(class)
		for name, kind := range map[string]string{"time": "Int64", "class_uid": "Int32", "type_uid": "Int64"} {
			if columns[name] != kind {
				t.Errorf("%s: column %s is %q, want %s", class, name, columns[name], kind)
			}
		}
		for _, row := range l.rows(class) {
			got++
			id := row["metadata"].(map[string]any)["uid"].(string)
			ev, doc := held[id], want[id]
			if ev == nil || doc == nil {
				t.Fatalf("%s: event %s is not there, or there twice", class, id)
			}
			delete(held, id)
			if sum := row["raw_data_hash"].(map[string]any)["value"]; sum != ev["raw_sha256"] {
				t.Errorf("event %s has the digest %v, in the journal %v", id, sum, ev["raw_sha256"])
			}
			for name := range doc {
				if columns[name] == "" {
					t.Errorf("%s: there is no column %s", class, name)
				}
			}
			if text, ok := row["unmapped"].(string); ok { // JSON in a column of text
				row["unmapped"] = decodeJSON(t, text)
			}
			if said, read := saying(doc), saying(row); !reflect.DeepEqual(said, read) {
				t.Fatalf("%s, event %s (-format +ClickHouse):\n%s", class, id, cmp.Diff(said, read))
			}
		}
	}
	if len(held) != 0 || got != len(want) {
		t.Errorf("%d events of %d are in no file; ClickHouse counts %d", len(held), len(want), got)
	}
	for _, v := range bucket.Violations() {
		t.Errorf("not as documented: %s", v)
	}
}

// lakeReader is an embedded engine that reads Parquet files from its folder.
type lakeReader struct {
	t      *testing.T
	data   string
	secret string
	client *http.Client
}

func newLakeReader(t *testing.T) *lakeReader {
	t.Helper()
	library, err := engine.Fetch(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &lakeReader{t: t, data: t.TempDir()}
	e, err := engine.Start(t.Context(), engine.SupervisorOptions{
		Engine: engine.Options{Data: l.data, Library: library}, Path: "agentrail", Args: []string{"engine"}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	l.secret = e.Secret(engine.UserWriter)
	l.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Dial(ctx) }}}
	t.Cleanup(func() {
		l.client.CloseIdleConnections()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// keep puts the files before the engine, in a folder for each class of event,
// and returns the folders.
func (l *lakeReader) keep(files map[string][]byte) []string {
	l.t.Helper()
	var folders []string
	for key, file := range files {
		source := strings.Split(key, "/")[1] // ext/SOURCE/region=…
		folder := filepath.Join(l.data, "lake", source)
		if !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
		path := filepath.Join(folder, strings.ReplaceAll(key, "/", "_"))
		if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(path, file, 0o600)); err != nil {
			l.t.Fatal(err)
		}
	}
	return folders
}

// columns are those of the files in the folder, with their types.
func (l *lakeReader) columns(folder string) map[string]string {
	l.t.Helper()
	out := map[string]string{}
	for _, row := range l.ask("DESCRIBE TABLE file('" + folder + "/*.parquet', 'Parquet')") {
		out[row["name"].(string)] = row["type"].(string)
	}
	return out
}

func (l *lakeReader) rows(folder string) []map[string]any {
	l.t.Helper()
	return l.ask("SELECT * FROM file('" + folder + "/*.parquet', 'Parquet')")
}

func (l *lakeReader) ask(sql string) []map[string]any {
	l.t.Helper()
	sql += " FORMAT JSONEachRow SETTINGS output_format_json_quote_64bit_integers = 0"
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodPost, "http://engine/", strings.NewReader(sql))
	if err != nil {
		l.t.Fatal(err)
	}
	req.SetBasicAuth(engine.UserWriter, l.secret)
	resp, err := l.client.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		l.t.Fatalf("%s: %s %s %v", sql, resp.Status, text, err)
	}
	return jsonLines(l.t, text)
}

func ndjson(t *testing.T, path string) []map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return jsonLines(t, text)
}

func jsonLines(t *testing.T, text []byte) (out []map[string]any) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		out = append(out, decodeJSON(t, lines.Text()).(map[string]any))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func decodeJSON(t *testing.T, text string) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// saying is the value without what says nothing: a group of columns cannot be
// null in ClickHouse, so one that is left out has null, "" and 0 in its columns.
func saying(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if e = saying(e); e != nil {
				out[k] = e
			}
		}
		if len(out) > 0 {
			return out
		}
		return nil
	case []any:
		var out []any
		for _, e := range v {
			if e = saying(e); e != nil {
				out = append(out, e)
			}
		}
		if out != nil {
			return out
		}
		return nil
	case json.Number:
		if v == "0" {
			return nil
		}
	case string:
		if v == "" {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}
