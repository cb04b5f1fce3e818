package collector_test

import (
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/grpc/metadata"

	"github.com/agentrail/agentrail/schemas"
)

// logs makes one request of these bodies.
func logs(t *testing.T, bodies ...any) plog.Logs {
	t.Helper()
	ld := plog.NewLogs()
	sl := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	for _, b := range bodies {
		if err := sl.LogRecords().AppendEmpty().Body().FromRaw(b); err != nil {
			t.Fatal(err)
		}
	}
	return ld
}

func TestOTLPLogs(t *testing.T) {
	j := &memory{}
	srv := startOTLP(t, "logs: audit", j.Append)
	pretty := "{\n \"insertId\": \"b\",\n \"endpoint\": \"/api/v1/search\"\n}"
	ld := logs(t, record("a"), pretty, "no JSON", map[string]any{"insertId": "c", "endpoint": "/api/v1/chat"}, []byte(record("d")), nil)
	req := plogotlp.NewExportRequestFromLogs(ld)
	proto, err := req.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := req.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}

	check := func(way string, n int64, why string) {
		t.Helper()
		if n != 2 || !strings.Contains(why, "2 of 6 records") || !strings.Contains(why, "log record 3") {
			t.Errorf("%s: %d rejected, %q; want the third and the sixth", way, n, why)
		}
	}
	code, _, text := srv.send(t, "/v1/logs", proto)
	resp := plogotlp.NewExportResponse()
	if err := resp.UnmarshalProto(text); err != nil || code != 200 {
		t.Fatalf("http: %d %q, %v", code, text, err)
	}
	check("http", resp.PartialSuccess().RejectedLogRecords(), resp.PartialSuccess().ErrorMessage())
	code, _, text = srv.send(t, "/v1/logs", asJSON, "Content-Type: application/json")
	if code != 200 || !strings.Contains(string(text), `"rejectedLogRecords":"2"`) {
		t.Errorf("http json: %d %s", code, text)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer good")
	resp, err = plogotlp.NewGRPCClient(srv.dial(t)).Export(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	check("grpc", resp.PartialSuccess().RejectedLogRecords(), resp.PartialSuccess().ErrorMessage())

	want := []string{record("a"), pretty, `{"endpoint":"/api/v1/chat","insertId":"c"}`, record("d")}
	if got := j.accepted(); !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q once", got, want)
	}
	b := j.activity()[0]
	if e := b.Events[0]; e.Action == "" || e.Kind == "span" || b.Decoder != "json" || b.ContentType != "application/json" {
		t.Errorf("event %+v of %s, want one of the audit mapping", e, b.Decoder)
	}
	if n := len(slices.DeleteFunc(slices.Clone(b.Records), func(r schemas.Record) bool { return r.Flags&schemas.FlagRejected == 0 })); n != 2 {
		t.Errorf("%d records are flagged rejected, want 2", n)
	}
	// Traces go on beside them.
	if _, err := srv.export(t, agentRun(), "good"); err != nil {
		t.Error(err)
	}
	code, _, text = srv.send(t, "/v1/logs", nil, "Authorization: Bearer viewer")
	if code != 401 {
		t.Errorf("without the role: %d %s", code, text)
	}
	empty, err := plogotlp.NewExportRequest().MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	if code, _, text = srv.send(t, "/v1/logs", empty); code != 200 {
		t.Errorf("empty: %d %s", code, text)
	}
}
