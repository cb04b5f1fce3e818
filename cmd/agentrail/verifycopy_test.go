package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/notary"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
	"github.com/agentrail/agentrail/sinks/format"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

// archived is a journal with events of all classes, closed, and its public key.
type archived struct {
	t       *testing.T
	dir     string // of the journal
	key     string // file
	batches []*schemas.Batch
}

func newArchived(t *testing.T) *archived {
	t.Helper()
	a := &archived{t: t, dir: filepath.Join(t.TempDir(), "journal"), key: filepath.Join(t.TempDir(), "keys", "head.key")}
	set, err := decode.Open("")
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.OpenDisk(t.Context(), journal.Options{Dir: a.dir, Decode: set.Decode, Own: decode.Own, ReserveBytes: -1, Tick: -1})
	if err != nil {
		t.Fatal(err)
	}
	key, err := notary.OpenKey(a.key, filepath.Dir(a.dir), "acme/journal")
	if err != nil {
		t.Fatal(err)
	}
	n, err := notary.New(notary.Options{Key: key, Append: j.Append, Own: decode.Own, Tenant: "default"})
	if err != nil {
		t.Fatal(err)
	}
	a.append(j, a.activity(set))
	a.append(j, a.own("alert", schemas.ClassAlert, schemas.Alert{ID: "a1", Tenant: "default", Rule: "burst", Title: "Too many | calls", Severity: schemas.SeverityHigh, Agent: "wf-1", ActorEmail: "ann@example.com", Reason: "50 calls", FirstSeen: time.Unix(1, 0), LastSeen: time.Unix(2, 0), Count: 50}))
	a.append(j, a.own("control", schemas.ClassControl, schemas.Control{ID: "c1", Tenant: "default", Verb: "agent.pause", Target: "wf-1", Reason: "burst", Author: "ann"}))
	a.append(j, a.own("health", schemas.ClassHealth, schemas.Health{Kind: "sink.auth", Consumer: "soc", Reason: "401"}))
	a.read(set)
	if err := n.Consume(t.Context(), a.batches); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.append(j, a.own("alert", schemas.ClassAlert, schemas.Alert{ID: "a2", Tenant: "default", Rule: "denial", Title: "Turned down", Severity: schemas.SeverityLow, FirstSeen: time.Unix(1, 0), LastSeen: time.Unix(2, 0)}))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	a.read(set)
	return a
}

func (a *archived) append(j *journal.Disk, b *schemas.Batch) {
	a.t.Helper()
	if _, err := j.Append(a.t.Context(), b); err != nil {
		a.t.Fatal(err)
	}
}

func (a *archived) own(kind string, class schemas.Class, doc any) *schemas.Batch {
	a.t.Helper()
	b, err := decode.Own("default", class, kind, time.Now().UnixNano(), doc)
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

// activity are calls, some with texts that the formats have to escape.
func (a *archived) activity(set *decode.Set) *schemas.Batch {
	a.t.Helper()
	audit, err := set.Mapping("audit")
	if err != nil {
		a.t.Fatal(err)
	}
	var body strings.Builder
	for i, text := range []string{"plain", "a|b=c\\d", "line\nbreak\ttab", "\u202eevil", `\u0041 is text`, "Zürich 😍", "\x00\x7f"} {
		doc, err := json.Marshal(map[string]any{
			"insertId": fmt.Sprint(i), "timestamp": time.Unix(1_790_000_000+int64(i), 0).UTC(), "endpoint": "/rest/api/v1/agents", "method": "POST", "actor": map[string]any{"userId": "user-77", "email": "ann@example.com"},
			"workflowId": "wf-1", "toolName": "mail.send", "statusCode": 200, "target": map[string]any{"id": text}, "request": map[string]any{"prompt": text + " hunter2"},
		})
		if err != nil {
			a.t.Fatal(err)
		}
		body.Write(append(doc, '\n'))
	}
	b := &schemas.Batch{
		Header: schemas.Header{Tenant: "default", Source: "audit", Log: "audit", Class: schemas.ClassActivity, ContentType: "application/x-ndjson", Received: time.Now().UnixNano()},
		Body:   []byte(body.String()),
	}
	if rejects, err := audit.Read(b, decode.Limits{RecordBytes: 1 << 20, Keys: 100, Records: 100}); err != nil || len(rejects) > 0 {
		a.t.Fatal(rejects, err)
	}
	return b
}

func (a *archived) read(set *decode.Set) {
	a.t.Helper()
	a.batches = nil
	err := journal.Walk(a.dir, 0, math.MaxUint64, func(b *schemas.Batch) error {
		if b.Gap != nil || b.Tick() {
			return nil
		}
		a.batches = append(a.batches, b)
		return set.Decode(b)
	})
	if err != nil {
		a.t.Fatal(err)
	}
}

const allClasses = "classes: [activity, alert, control, evidence, health]\n"

// send delivers the journal to a sink of that kind.
func (a *archived) send(kind, fields string) {
	a.t.Helper()
	c, err := plug.NewConfig(kind, "soc", allClasses+fields)
	if err != nil {
		a.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s, common, err := sinks.Open(a.t.Context(), c, sinks.Deps{Log: log})
	if err != nil {
		a.t.Fatal(err)
	}
	fw, err := sinks.NewForwarder(sinks.Options{Name: "soc", Sink: s, Common: common, Log: log})
	if err != nil {
		a.t.Fatal(err)
	}
	if err := fw.Consume(a.t.Context(), a.batches); err != nil {
		a.t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		a.t.Fatal(err)
	}
}

// lines are what a sink of kind file writes.
func (a *archived) lines(fields string) []string {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), "events")
	a.send("file", "path: "+path+"\n"+fields)
	text, err := os.ReadFile(path)
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// verify runs the verb on lines or, if there are none, on what args name.
func (a *archived) verify(lines []string, args ...string) (int, string) {
	a.t.Helper()
	var out strings.Builder
	c := &console{in: strings.NewReader(strings.Join(lines, "\n")), out: &out, err: &out, env: func(string) string { return "" }, now: time.Now}
	if lines != nil {
		args = append(args, "--copy", "-")
	}
	code := run(a.t.Context(), append([]string{"verify", "--key", a.key + ".pub"}, args...), c)
	return code, out.String()
}

// config writes one with the sink soc.
func (a *archived) config(fields string) string {
	a.t.Helper()
	file := filepath.Join(a.t.TempDir(), "agentrail.yaml")
	text := "version: 1\nsinks:\n  - kind: file\n    name: soc\n    path: /nowhere\n    " + strings.ReplaceAll(strings.TrimSpace(allClasses+fields), "\n", "\n    ") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return file
}

// TestVerifyCopyInEveryFormat writes a copy in each format with several settings
// and holds it to everything that there is; then it is tampered with.
func TestVerifyCopyInEveryFormat(t *testing.T) {
	a := newArchived(t)
	for _, name := range format.Names() {
		for _, more := range []string{"content: true\n", "", "content: true\nredact: [actor_email, {field: request.prompt, action: mask}, {field: agent, action: drop}]\n"} {
			t.Run(name+"/"+strings.ReplaceAll(more, "\n", " "), func(t *testing.T) {
				t.Parallel()
				a := &archived{t: t, dir: a.dir, key: a.key, batches: a.batches}
				fields := "format: " + name + "\n" + more
				lines, config := a.lines(fields), a.config(fields)
				if len(lines) != 12 {
					t.Fatalf("%d lines", len(lines))
				}
				sound := func(l []string, args ...string) string {
					t.Helper()
					code, text := a.verify(l, args...)
					if code != exitOK || !strings.Contains(text, "-: sound") {
						t.Errorf("%v: exit code %d\n%s", args, code, text)
					}
					return text
				}
				broken := func(l []string, want string, args ...string) {
					t.Helper()
					if code, text := a.verify(l, args...); code != exitFailure || !strings.Contains(text, want) {
						t.Errorf("%v: exit code %d without %q\n%s", args, code, want, text)
					}
				}
				byJournal := []string{"--data", a.dir}
				bySink := append([]string{"--config", config, "--sink", "soc"}, byJournal...)
				for _, args := range [][]string{nil, byJournal, bySink} {
					text := sound(lines, args...)
					if !strings.Contains(text, "heads are genuine") || args != nil && !strings.Contains(text, "12 of the events are in it") {
						t.Errorf("%v:\n%s", args, text)
					}
					if args != nil && strings.Contains(text, "are claims") {
						t.Errorf("fields of events in the journal are not compared:\n%s", text)
					}
				}
				swapped := slices.Clone(lines)
				slices.Reverse(swapped)
				if text := sound(swapped, bySink...); !strings.Contains(text, "stand behind a later one") {
					t.Errorf("order:\n%s", text)
				}
				removed := slices.Delete(slices.Clone(lines), 4, 5)
				sound(removed, byJournal...) // a filter would look the same
				broken(removed, "should have been sent and is not there", bySink...)

				forged := slices.Clone(lines)
				forged[0] = strings.ReplaceAll(lines[0], "user-77", "user-78")
				if forged[0] == lines[0] {
					t.Fatalf("no actor in %s", lines[0])
				}
				broken(forged, "user-78", byJournal...)
				broken(forged, "user-78", bySink...)
				if strings.HasPrefix(more, "content: true\n") && !strings.Contains(more, "redact") {
					broken(forged, "changed in line 1") // the record is in the copy
				}
				twin := slices.Clone(lines) // an event is turned into another
				twin[1] = strings.NewReplacer(a.id(0), a.id(1)).Replace(lines[0])
				broken(twin, "conflict", byJournal...)
				foreign := append(slices.Clone(lines), `{"event":"nothing of ours"}`)
				broken(foreign, "unreadable in line 13")
				moved := slices.Clone(lines)
				moved[2] = strings.NewReplacer(a.id(2), a.id(0)).Replace(lines[2])
				broken(moved, "is another one in the journal", byJournal...)
			})
		}
	}
}

// id is the id of an event of the first frame.
func (a *archived) id(i int) string { return a.batches[0].Events[i].ID.String() }

// TestVerifyCopyOfSinks reads what other sinks leave: gzipped objects, Parquet,
// messages of syslog, and exports that put something around.
func TestVerifyCopyOfSinks(t *testing.T) {
	a := newArchived(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, more := range map[string]string{"lines": "", "lake": "layout: security_lake\nlake: {account: \"123456789012\"}\n"} {
		bucket := &sinktest.S3{Bucket: "evidence", AccessKey: func(int) string { return "AK" }}
		srv := httptest.NewServer(bucket)
		a.send("s3", "content: true\nbucket: evidence\nregion: us-east-1\npath_style: true\naccess_key: AK\nsecret_key_file: "+secret+"\nendpoint: "+srv.URL+"\n"+more)
		srv.Close()
		dir := t.TempDir()
		for key, object := range bucket.Objects() {
			file := filepath.Join(dir, filepath.FromSlash(key))
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, object, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		code, text := a.verify(nil, "--copy", dir, "--data", a.dir)
		if code != exitOK || !strings.Contains(text, "12 of the events are in it") || strings.Contains(text, "are claims") {
			t.Errorf("%s: exit code %d\n%s", name, code, text)
		}
		if code, text := a.verify(nil, "--copy", dir, "--data", a.dir, "--each"); code != exitOK || strings.Count(text, `"place":"journal","fields":"same"`) != 12 {
			t.Errorf("%s: exit code %d\n%s", name, code, text)
		}
	}

	lines := a.lines("content: true\n")
	message := func(doc, id string) string {
		return fmt.Sprintf(`<110>1 2026-11-26T00:00:00Z h agentrail - activity [agentrail@32473 event_id="%s" tenant="a{b" shard="0" offset="0" index="0"] %s`, id, doc)
	}
	quoted, err := json.Marshal(lines[0])
	if err != nil {
		t.Fatal(err)
	}
	wrapped := []string{
		message(lines[0], a.id(0)), `{"event":` + lines[1] + `,"time":1}`, `{"_index":"x","_source":` + lines[2] + `}`, `{"preview":false,"result":{"_raw":` + string(quoted) + `}}`,
		`[` + lines[3] + `,` + lines[4] + `]`, `{"ddsource":"agentrail","message":"x","agentrail":` + lines[5] + `}`, string(quoted),
	}
	if code, text := a.verify(wrapped, "--data", a.dir); code != exitOK || !strings.Contains(text, "6, and 2 repeats") {
		t.Errorf("exit code %d\n%s", code, text)
	}
	if code, text := a.verify([]string{message(lines[0], a.id(1))}); code != exitFailure || !strings.Contains(text, "structured data") {
		t.Errorf("another id in the header: exit code %d\n%s", code, text)
	}
	added := strings.Replace(lines[0], `"tenant"`, `"denial":"policy","tenant"`, 1)
	if code, text := a.verify([]string{added}, "--data", a.dir); code != exitFailure || !strings.Contains(text, "the record says nothing of it") {
		t.Errorf("a field is added: exit code %d\n%s", code, text)
	}
	twice := strings.Replace(lines[0], `"tenant"`, `"actor":"x","tenant"`, 1)
	if code, text := a.verify([]string{twice}); code != exitFailure || !strings.Contains(text, "stands twice") {
		t.Errorf("a name twice: exit code %d\n%s", code, text)
	}
	if code, text := a.verify(lines, "--sink", "soc"); code != exitUsage {
		t.Errorf("a sink without a config: exit code %d\n%s", code, text)
	}
}
