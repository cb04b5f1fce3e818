package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestSQLBackend asks a ClickHouse elsewhere as the user of sql.url, with
// nothing of the caller's.
func TestSQLBackend(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-ClickHouse-User")+" "+r.Header.Get("X-ClickHouse-Key")+" "+r.Header.Get("Authorization")+r.URL.RawQuery)
	}))
	t.Cleanup(srv.Close)
	ask, database, err := sqlBackend(nil, strings.Replace(srv.URL, "http://", "http://reader:k%40y@", 1)+"/trail")
	if err != nil || database != "trail" {
		t.Fatalf("database %q, %v", database, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/?readonly=1", strings.NewReader("SELECT 1"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := ask(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "reader k@y readonly=1" {
		t.Errorf("ClickHouse was asked as %s", b)
	}
	for _, bad := range []string{"clickhouse://reader:sesame@host:9000/trail", "http://host:8123/trail", "reader:sesame", "http://reader:ses\x00ame@host"} {
		if _, _, err := sqlBackend(nil, bad); err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestSQLConfig reads faults of the section sql.
func TestSQLConfig(t *testing.T) {
	for text, want := range map[string]string{
		"store: {kind: none}\nsql: {enabled: true}":                                        "there are no tables to read",
		"store: {kind: clickhouse, dsn_file: dsn}\nsql: {enabled: true}":                   "sql.url is empty",
		"sql: {enabled: true, url_file: dsn}":                                              "the embedded engine needs none",
		"sql: {enabled: true, rows: -1}":                                                   "a limit is below zero",
		"store: {kind: clickhouse, dsn_file: dsn}\nsql: {enabled: true, url_file: dsn}":    "",
		"sql: {enabled: true, time: 5s, rows: 10, bytes: 1MiB, memory: 64MiB, at_once: 2}": "",
	} {
		s := &served{t: t, dir: t.TempDir()}
		s.write("dsn", "http://reader:key@host:8123/trail")
		cfg := s.write("agentrail.yaml", strings.ReplaceAll("version: 1\n"+text+"\n", "_file: dsn", "_file: "+s.dir+"/dsn"))
		_, err := loadConfig(cfg)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %q", text, err, want)
		}
	}
}
