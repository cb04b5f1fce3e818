package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// A table is imported, interrupted, and imported again: nothing is taken twice,
// rows that look alike stay as many as they are, and what is wrong is named by
// its place in the file.
func TestImport(t *testing.T) {
	s := newServed(t)
	s.start("allow_backfill: true")
	defer s.quiet()
	defer s.stop()

	const rows = 120_000
	var b strings.Builder
	b.WriteString("\xef\xbb\xbfTimestamp;User;Endpoint;Status Code;Agent ID;Notes\r\n")
	for i := range rows { // without an id, and many alike
		fmt.Fprintf(&b, "21.08.2026 %02d:%02d:00;u%d;/api/v1/search;200;wf_1;\"\"\r\n", i/6000, i/100%60, i%7)
	}
	b.WriteString("21.08.2026 23:59:00;\"never closed;/api/v1/search;200;wf_1\r\n21.08.2026 23:59:01;short\r\n")
	b.WriteString("21.08.2026 23:59:02;u1;/api/v1/frobnicate;200;wf_1;n;more\r\n3/4/2026 9:15;u1;/api/v1/search;200;1.23E+15\r\n")
	text := b.String()

	// Standard input that ends its reader in the middle.
	ctx, cancel := context.WithCancel(t.Context())
	in := io.MultiReader(strings.NewReader(text[:len(text)*2/3]), readerFunc(func([]byte) (int, error) { cancel(); <-ctx.Done(); return 0, io.EOF }))
	code, out, errs := s.importing(ctx, in, "import", "-", "--zone", "Europe/Berlin")
	if code != exitFailure || !strings.Contains(errs, "import was interrupted in -") || !strings.Contains(errs, "--resume") {
		t.Fatalf("%d %s %s", code, out, errs)
	}

	code, out, errs = s.importing(t.Context(), strings.NewReader(text), "import", "-", "--zone", "Europe/Berlin", "--resume")
	want := []string{
		"source audit", "were sent before", "2 rejected",
		fmt.Sprintf("-: line %d, byte %d: bad_csv", rows+2, strings.Index(text, "21.08.2026 23:59:00;")),
		fmt.Sprintf("-: line %d, byte %d: short_row", rows+3, strings.Index(text, "21.08.2026 23:59:01;")),
		"unknown endpoints /api/v1/frobnicate 1", "columns not read Notes", "rows too long  1;", "rows too short 1;", "2 agents, 7 actors, 0 tools, 2 actions, by this program's mapping csv", "times not read 1;", "numbers destroyed 1 records",
		"detectors keep", "none on this history",
	}
	has(t, code, exitFailure, out+errs, want...)

	file := s.write("export.csv", text)
	code, out, errs = s.importing(t.Context(), nil, "import", file, "--zone", "Europe/Berlin")
	has(t, code, exitFailure, out+errs, fmt.Sprintf("0 accepted, %d duplicate, 2 rejected", rows+2))
	if got := s.counter(`agentrail_collector_records_total{outcome="accepted",source="audit"}`); got != rows+2 {
		t.Errorf("%v records taken, want %d", got, rows+2)
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "state", "agentrail", "import", "*")); err != nil || len(left) != 0 {
		t.Errorf("state of a finished import: %v, %v", left, err)
	}
	letters := s.letters(2)
	short := letters[slices.IndexFunc(letters, func(d api.DeadLetter) bool { return d.Code == "short_row" })]
	s.cli("dlq", "retry", short.ID, "--reason", "to see it rejected again")
	s.await("the row is rejected again with its header", func() bool {
		return slices.ContainsFunc(s.letters(2), func(d api.DeadLetter) bool { return d.Attempts == 1 && strings.Contains(d.Reason, "2 of 6 columns") })
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// importing runs the verb in this process.
func (s *served) importing(ctx context.Context, in io.Reader, args ...string) (code int, out, errs string) {
	s.t.Helper()
	var o, e bytes.Buffer
	env := map[string]string{"AGENTRAIL_SERVER": s.url, "AGENTRAIL_TOKEN_FILE": filepath.Join(s.dir, "token"), "XDG_STATE_HOME": filepath.Join(s.dir, "state")}
	c := &console{in: in, out: &o, err: &e, env: func(n string) string { return env[n] }, now: time.Now}
	code = run(ctx, args, c)
	return code, o.String(), e.String()
}

// counter reads one metric.
func (s *served) counter(name string) (v float64) {
	s.t.Helper()
	r := s.do("GET", "/metrics", s.token, "")
	text, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &v); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	return v
}

func has(t *testing.T, code, want int, text string, parts ...string) {
	t.Helper()
	squeezed := strings.Join(strings.Fields(text), " ")
	for _, p := range parts {
		if !strings.Contains(squeezed, strings.Join(strings.Fields(p), " ")) {
			t.Errorf("not said: %s", p)
		}
	}
	if code != want || t.Failed() {
		t.Fatalf("exit code %d, want %d:\n%s", code, want, text)
	}
}

// What the server does not allow is said with the line of its config.
func TestImportRefused(t *testing.T) {
	s := newServed(t)
	s.start("max_record: 1MiB")
	defer s.stop()
	file := s.write("audit.ndjson", record("c1", time.Now(), "search", "u1"))
	mine := s.write("mine.yaml", "version: 1\nname: mine\nfields: {actor: [jsonPayload.actor.userId]}\nkind: {const: x}\n")
	f := func(want string, args ...string) {
		t.Helper()
		code, out, errs := s.importing(t.Context(), nil, append([]string{"import"}, args...)...)
		if code == exitOK || !strings.Contains(errs, want) {
			t.Errorf("%q: %d %s %s", args, code, out, errs)
		}
	}
	f("add allow_backfill: true to the source audit under sources:", file)
	f("no source at /v1/nobody", "--live", "--source", "nobody", file)
	f("list the file under mappings:", "--live", "--mapping", mine, file)
	f("server does not have mapping mine", "--live", "--mapping", mine, file)
	f("known mappings", "--live", "--mapping", "nobody", file)
	f("no server answers", "--live", "--server", "http://127.0.0.1:1", file)
	f("no such file", filepath.Join(s.dir, "nothing"))
	f("is a folder", s.dir)
	f("a token with the role ingest is needed", "--token-file", filepath.Join(s.dir, "nothing"), file)

	code, out, errs := s.importing(t.Context(), nil, "import", "--live", file)
	has(t, code, exitOK, out+errs, "1 accepted, 0 duplicate, 0 rejected; source audit", "see: agentrail alerts")
	s.event("c1")
}

// The source is told by the records.
func TestImportTellsTheSource(t *testing.T) {
	s := newServed(t)
	s.cli("sample", filepath.Join(s.dir, "day"), "--end", "2026-11-23T08:00:00Z")
	code, out, errs := s.importing(t.Context(), nil, "import", "--dry-run", filepath.Join(s.dir, "day", "audit.ndjson"), filepath.Join(s.dir, "day", "workflowrun.ndjson"))
	has(t, code, exitOK, out+errs, "dry run: nothing was sent", "0 rejected; source audit", "0 rejected; source workflowrun", "2026-11-2", "tool.execute", "run.end")
	if _, err := os.Stat(filepath.Join(s.dir, "state")); err == nil {
		t.Error("a dry run leaves a state")
	}
}
