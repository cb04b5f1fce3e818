package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
)

// TestSinkPlanOfServer: what a server's stream shows of the past is what its
// folder shows.
func TestSinkPlanOfServer(t *testing.T) {
	s := newServed(t)
	s.start("")
	defer s.stop()
	var body strings.Builder
	for i := range 60 {
		doc, err := json.Marshal(map[string]any{
			"insertId": fmt.Sprint(i), "timestamp": "2026-11-23T08:00:00Z", "endpoint": "/rest/api/v1/runworkflow", "method": "POST", "actor": map[string]any{"userId": fmt.Sprint("u-", i%3), "email": "ann@example.com"},
			"workflowId": "wf-1", "statusCode": 200 + i%2*203, "target": map[string]any{"id": "a|b\n\u202e\x00"}, "request": map[string]any{"prompt": "hunter2"}, "initiator": "SCHEDULE", "errorCode": []string{"", "insufficient_permissions"}[i%2],
		})
		if err != nil {
			t.Fatal(err)
		}
		body.Write(append(doc, '\n'))
	}
	s.post("/v1/audit", body.String())
	plan := func(then string, args ...string) (p []sinks.Plan) {
		t.Helper()
		file := s.write("then.yaml", "version: 1\nsinks:\n  - {kind: webhook, name: hook, url: \"http://127.0.0.1:1\", secret_file: "+filepath.Join(s.dir, "hook.secret")+", classes: [activity, alert], "+then+"}\n")
		out := s.cli(append([]string{"sink", "plan", "hook", "--config", file, "--now", filepath.Join(s.dir, "agentrail.yaml"), "--since", "1h", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &p); err != nil || len(p) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		p[0].Looked, p[0].First, p[0].Last = 0, time.Time{}, time.Time{} // signed heads come meanwhile
		return p
	}
	for _, then := range []string{
		"content: true, redact: [{field: request.prompt, action: mask}, actor_email]", `filter: 'record["request.prompt"] == "hunter2" && status == 403'`, "format: ocsf, content: true", "format: cef, redact: [target]", `filter: 'denial == "policy" || autonomous == "yes"'`,
	} {
		var server []sinks.Plan
		s.await("nothing more is raised while both are asked", func() bool {
			before := asJSON(t, plan(then, "--data", filepath.Join(s.dir, "data")))
			server = plan(then, "--server", s.url)
			if after := asJSON(t, plan(then, "--data", filepath.Join(s.dir, "data"))); before != after {
				return false
			}
			if d := cmp.Diff(before, asJSON(t, server)); d != "" {
				t.Errorf("%s (-folder +server):\n%s", then, d)
			}
			return true
		})
		if server[0].Now.Events < 60 || server[0].Then.Events == 0 || server[0].Now.Bytes == 0 {
			t.Errorf("%s: %+v", then, server[0])
		}
		if strings.Contains(then, "mask") && (len(server[0].Samples) != 2 || !strings.Contains(server[0].Samples[0].Then, `"prompt":"***"`)) {
			t.Errorf("samples: %+v", server[0].Samples)
		}
	}
	s.fails(exitUsage, "from a folder or from a server", "sink", "plan", "--config", filepath.Join(s.dir, "then.yaml"), "--now", filepath.Join(s.dir, "agentrail.yaml"), "--server", s.url, "--data", s.dir)
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// FuzzEventOf: what a server shows, or something that poses as one.
func FuzzEventOf(f *testing.F) {
	ev := schemas.Event{Class: schemas.ClassActivity, Action: "x", Flags: schemas.FlagScrubbed, Autonomous: schemas.TriYes, Raw: []byte("a,b")}
	doc, err := json.Marshal(api.EventOf(&ev))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Add([]byte(`{"id":"00","digest":"zz","class":"none"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var e api.Event
		if json.Unmarshal(doc, &e) != nil {
			return
		}
		ev, err := eventOf(&e)
		if err != nil {
			return
		}
		if back := api.EventOf(&ev); back.ID != strings.ToLower(e.ID) || back.Class != e.Class || back.Action != e.Action {
			t.Fatalf("%+v came back as %+v", e, back)
		}
	})
}
