package sinks

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
)

func TestDatadogLog(t *testing.T) {
	s, _ := datadogRig(t, rigOptions{}).open(t, nil, "", nil)
	ev := testBatch(1, 1).Events[0]
	ev.Tool, ev.Target, ev.Status, ev.Raw = "jira", "P-1", 500, nil
	var got map[string]any
	if err := json.Unmarshal(s.(*datadog).encode(nil, &ev), &got); err != nil {
		t.Fatal(err)
	}
	if nested, _ := got["agentrail"].(map[string]any); nested["status"] != 500.0 || nested["tool"] != "jira" {
		t.Errorf("nested: %v", nested)
	}
	delete(got, "agentrail")
	want := map[string]any{
		"ddsource": "agentrail", "service": "agentrail", "hostname": "h1", "ddtags": "env:test,team:soc", "timestamp": 1_764_000_000_123.0,
		"message": "activity tool.execute jira P-1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestDatadogLine: a line of text is the message itself.
func TestDatadogLine(t *testing.T) {
	s, _ := datadogRig(t, rigOptions{}).open(t, nil, "format: cef", nil)
	var got struct {
		Message   string          `json:"message"`
		Agentrail json.RawMessage `json:"agentrail"`
	}
	ev := testBatch(1, 1).Events[0]
	if err := json.Unmarshal(s.(*datadog).encode(nil, &ev), &got); err != nil || !strings.HasPrefix(got.Message, "CEF:0|") || got.Agentrail != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestDatadogLimits holds even to a config that asks for more.
func TestDatadogLimits(t *testing.T) {
	r := datadogRig(t, rigOptions{})
	_, fw := r.open(t, nil, "in_flight: 1\nbatch: {max_events: 30000, max_bytes: 64MiB}", nil)
	b := testBatch(1, 5000)
	for i := range b.Events {
		b.Events[i].Target = strings.Repeat("x", 6000)
	}
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), r.ids(t))
	if n := r.shelf.Requests(); n < 7 { // 32 MB
		t.Errorf("%d requests", n)
	}
}

func TestDatadogAddress(t *testing.T) {
	f := func(fields, intake, probe string) {
		t.Helper()
		s, _ := openTest(t, "datadog", "api_key: k\n"+fields, nil)
		if d := s.(*datadog); d.in.url != intake || d.probe != probe {
			t.Errorf("%s: %s, %s", fields, d.in.url, d.probe)
		}
	}
	f("", "https://http-intake.logs.datadoghq.com/api/v2/logs", "https://api.datadoghq.com/api/v1/validate")
	f("site: us5.datadoghq.com", "https://http-intake.logs.us5.datadoghq.com/api/v2/logs", "https://api.us5.datadoghq.com/api/v1/validate")
	f("url: https://proxy.example.com", "https://proxy.example.com/api/v2/logs", "")
}

func TestDatadogWrongKey(t *testing.T) {
	_, fw := datadogRig(t, rigOptions{allow: func(int) bool { return false }}).open(t, nil, "", nil)
	if err := fw.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "check api_key") {
		t.Errorf("got %v", err)
	}
}

func TestDatadogConfig(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		if err := openFault(t, "datadog", fields); !strings.Contains(err, want) {
			t.Errorf("%s: got %q, want %q", fields, err, want)
		}
	}
	f("", "api_key: is missing")
	f("api_key: \"a\\nb\"", "header")
	f("api_key: k\nsite: evil.example/", "site:")
	f("api_key: k\nurl: http://169.254.169.254", "link-local")
	f("api_key: k\napi_url: x", "api_url")
	f("api_key: k\ntimeout: 0s", "timeout")
}
