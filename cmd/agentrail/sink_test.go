package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/sinks"
	"github.com/agentrail/agentrail/sinks/sinktest/receivers"
)

// sinkCLI runs `agentrail sink test` against a config with that sink and
// returns the exit code, the trial, and what was printed.
func sinkCLI(t *testing.T, dir, kind, fields string) (int, sinks.Trial, string) {
	t.Helper()
	file := filepath.Join(dir, "agentrail.yaml")
	text := "version: 1\nsinks:\n  - kind: " + kind + "\n    name: soc\n    " + strings.ReplaceAll(strings.TrimSpace(fields), "\n", "\n    ") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	c := &console{in: strings.NewReader(""), out: &out, err: &errs, env: func(string) string { return "" }, now: time.Now}
	code := run(t.Context(), []string{"sink", "test", "soc", "--config", file, "--timeout", "30s", "-o", "json"}, c)
	var trial sinks.Trial
	if code != exitUsage {
		_ = json.Unmarshal([]byte(out.String()), &trial) // what is none is told by the code
	}
	return code, trial, out.String() + errs.String()
}

// TestSinkTestOfEveryKind sends the marked event to a receiver of each kind, in
// the clear and by TLS, and looks for it there: once, and nothing else.
func TestSinkTestOfEveryKind(t *testing.T) {
	indexes := map[string]string{"splunk": "confirmed", "kafka": "confirmed", "elastic": "found", "s3": "found"} // the others do not say
	covered := []string{"file", "stdout", "tempo"}                                                               // have no receiver here; see below
	for _, k := range receivers.Kinds() {
		covered = append(covered, k.Sink)
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tls=%v", k.Name, secure), func(t *testing.T) {
				dir, caFile := t.TempDir(), ""
				front, err := receivers.NewFront()
				if err != nil {
					t.Fatal(err)
				}
				if secure {
					if front.TLS, err = receivers.NewCertificates(dir, slices.DeleteFunc([]string{k.ALPN}, func(s string) bool { return s == "" })...); err != nil {
						t.Fatal(err)
					}
					caFile = front.TLS.CAFile
				}
				r, err := k.Open(receivers.Options{Listener: front, Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				code, trial, said := sinkCLI(t, dir, k.Sink, r.Fields(front.Addr().String(), caFile))
				if code != exitOK || !trial.OK() || trial.Accepted <= 0 || trial.Bytes == 0 {
					t.Fatalf("exit code %d: %s", code, said)
				}
				if want := indexes[k.Sink]; trial.How != want || want != "" && trial.Indexed <= 0 {
					t.Errorf("indexed %q, want %q: %s", trial.How, want, said)
				}
				got, err := r.Events()
				if err != nil || len(got) != 1 || got[trial.EventID] != 1 || len(r.Violations()) > 0 {
					t.Errorf("the receiver has %v of %s (%v), violations %v", got, trial.EventID, err, r.Violations())
				}
			})
		}
	}
	slices.Sort(covered)
	if got := slices.Compact(covered); !slices.Equal(got, sinks.Kinds()) {
		t.Errorf("tested are %v, kinds are %v", got, sinks.Kinds())
	}
}

// TestSinkTestWithoutReceiver: of the kinds that write on this machine, and of
// the one that cannot be tried.
func TestSinkTestWithoutReceiver(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "events.ndjson")
	code, trial, said := sinkCLI(t, dir, "file", "path: "+path)
	doc, err := os.ReadFile(path)
	if code != exitOK || err != nil || !strings.Contains(string(doc), trial.EventID) {
		t.Errorf("file: exit code %d, %v: %s", code, err, said)
	}
	if code, trial, said = sinkCLI(t, dir, "tempo", "url: http://127.0.0.1:1"); code != exitFailure || trial.Code != "whole" {
		t.Errorf("tempo: exit code %d: %s", code, said)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, trial, said = sinkCLI(t, dir, "webhook", "url: http://127.0.0.1:1\nsecret_file: "+secret); code != exitFailure || trial.Code != "network" {
		t.Errorf("nobody listens: exit code %d: %s", code, said)
	}
}
