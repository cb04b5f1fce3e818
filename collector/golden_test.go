package collector_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

var update = flag.Bool("update", false, "write what the sources make into testdata")

// TestGolden sends the input of each archive in testdata/<source>/ to that
// source and compares the answer and the events. The archive's first file is
// the input; its name says how it is sent (.ndjson, .json or .csv). Tables are
// sent to the source audit.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d archives: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimPrefix(file, "testdata/"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := a.Files[0]
			status, answer, events := golden(t, filepath.Base(filepath.Dir(file)), in.Name, in.Data)
			got := &txtar.Archive{Comment: a.Comment, Files: []txtar.File{in, {Name: "answer." + status, Data: answer}, {Name: "events.json", Data: events}}}
			if *update {
				write(t, file, string(txtar.Format(got)))
				return
			}
			if diff := cmp.Diff(string(txtar.Format(a)), string(txtar.Format(got))); diff != "" {
				t.Errorf("-want +got; run with -update to take it over\n%s", diff)
			}
		})
	}
}

// golden sends the input and returns the answer and the events.
func golden(t *testing.T, kind, name string, input []byte) (status string, answer, events []byte) {
	t.Helper()
	set, err := mappings()
	if err != nil {
		t.Fatal(err)
	}
	media := "application/x-ndjson"
	switch filepath.Ext(name) {
	case ".json":
		media = "application/json"
	case ".csv":
		kind, media = "audit", "text/csv; zone=America/New_York"
	}
	c, err := plug.NewConfig(kind, kind, "")
	if err != nil {
		t.Fatal(err)
	}
	j := &memory{}
	s, err := collector.Open(t.Context(), c, collector.Deps{
		Append: j.Append, Decode: set, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Reg: prometheus.NewRegistry(),
		Now: func() time.Time { return time.Date(2026, 8, 21, 9, 16, 0, 0, time.UTC) },
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := serve(t, s)
	resp, err := srv.Client().Post(srv.URL+"/v1/"+kind, media, bytes.NewReader(input))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		t.Fatalf("answer %q: %v", text, err)
	}
	var list bytes.Buffer
	enc := json.NewEncoder(&list)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	for _, b := range j.activity() {
		again := &schemas.Batch{Header: b.Header, Body: b.Body, Records: b.Records}
		if err := set.Decode(again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b.Events, again.Events); diff != "" {
			t.Errorf("read again from the frame it is another: %s", diff)
		}
		for i := range b.Events {
			published(t, kind, &b.Events[i])
			if err := enc.Encode(view(&b.Events[i])); err != nil {
				t.Fatal(err)
			}
		}
	}
	return strings.Fields(resp.Status)[0], out.Bytes(), list.Bytes()
}

// odd is what intake takes and flags although no JSON Schema could allow it.
const odd = schemas.FlagRejected | schemas.FlagDuplicateKey | schemas.FlagCaseTwin | schemas.FlagBadUTF8

// published holds an accepted record against the JSON Schema of its source.
func published(t *testing.T, kind string, e *schemas.Event) {
	t.Helper()
	if e.Flags&odd != 0 || e.RawText {
		return
	}
	s, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "schemas", "json", kind+".schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(e.Raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(doc); err != nil {
		t.Errorf("%s is accepted and not as its schema says: %s\n%v", kind, e.Raw, err)
	}
}

// view is an event with what is set in it, for reading.
func view(e *schemas.Event) any {
	autonomous := e.Autonomous.String()
	if e.Autonomous == schemas.TriUnknown {
		autonomous = ""
	}
	return struct {
		Kind         string   `json:"kind,omitempty"`
		Time         string   `json:"time"`
		Flags        []string `json:"flags,omitempty"`
		SourceID     string   `json:"source_id,omitempty"`
		Actor        string   `json:"actor,omitempty"`
		ActorEmail   string   `json:"actor_email,omitempty"`
		ActorType    string   `json:"actor_type,omitempty"`
		Department   string   `json:"department,omitempty"`
		Agent        string   `json:"agent,omitempty"`
		Name         string   `json:"name,omitempty"`
		Owner        string   `json:"owner,omitempty"`
		Subscription string   `json:"subscription,omitempty"`
		Run          string   `json:"run,omitempty"`
		Session      string   `json:"session,omitempty"`
		Trace        string   `json:"trace,omitempty"`
		Span         string   `json:"span,omitempty"`
		Initiator    string   `json:"initiator"`
		Autonomous   string   `json:"autonomous,omitempty"`
		Action       string   `json:"action,omitempty"`
		SourceAction string   `json:"source_action,omitempty"`
		Access       string   `json:"access"`
		Endpoint     string   `json:"endpoint,omitempty"`
		Method       string   `json:"method,omitempty"`
		Tool         string   `json:"tool,omitempty"`
		Target       string   `json:"target,omitempty"`
		Outcome      string   `json:"outcome"`
		OutcomeText  string   `json:"outcome_text,omitempty"`
		Reason       string   `json:"reason,omitempty"`
		Status       int32    `json:"status,omitempty"`
		Duration     string   `json:"duration"`
		IP           string   `json:"ip,omitempty"`
		UserAgent    string   `json:"user_agent,omitempty"`
		Bytes        int      `json:"bytes"`
	}{
		e.Kind, e.When().Format(time.RFC3339Nano), e.Flags.Names(), e.SourceID, e.Actor, e.ActorEmail, e.ActorType, e.Department,
		e.Agent, e.Name, e.Owner, e.Subscription, e.Run, e.Session, e.Trace, e.Span, e.Initiator.String(), autonomous,
		e.Action, e.SourceAction, e.Access.String(), e.Endpoint, e.Method, e.Tool, e.Target, e.Outcome.String(), e.OutcomeText,
		e.Reason, e.Status, time.Duration(e.Duration).String(), e.IP, e.UserAgent, len(e.Raw),
	}
}
