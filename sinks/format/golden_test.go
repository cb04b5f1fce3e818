package format_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden holds each format to testdata/NAME.golden, one event a line:
// activity without and with content, hostile text, an alert, a sealed record.
func TestGolden(t *testing.T) {
	base := schemas.Event{
		ID: schemas.ID{1, 2, 3}, Digest: schemas.Digest{4, 5, 6}, Class: schemas.ClassActivity, Time: 1_764_000_000_123_456_789, Received: 1_764_000_001_000_000_000,
		Tenant: "default", Source: "audit", Kind: "api_call", Actor: "u-1", ActorEmail: "ann@example.com", Agent: "wf-7", Run: "r-1",
		Action: "tool.execute", Access: schemas.AccessWrite, Initiator: schemas.InitiatorSchedule, Outcome: schemas.OutcomeOK, Tool: "jira", Target: "PROJ-1",
		Status: 200, Duration: 1_500_000, Shard: 1, Offset: 42, Index: 7, Flags: schemas.FlagCaseTwin | schemas.FlagNoSourceID,
	}
	content, hostile, alert, sealed := base, base, base, base
	content.Raw = []byte("{\"prompt\":\n\"buy\u202e low\"}")
	hostile.Target, hostile.Time = "a\nb\x00\"},{\u202e\u2028\xff", -1<<63
	alert.Class, alert.Kind, alert.Raw = schemas.ClassAlert, "alert", []byte(`{"id":"a1","severity":"high"}`)
	sealed.Flags, sealed.Raw = schemas.FlagSealed, []byte("cipher")
	for _, name := range format.Names() {
		write, _ := format.Lookup(name)
		var got []byte
		for _, ev := range []*schemas.Event{&base, &content, &hostile, &alert, &sealed} {
			got = append(write(got, ev), '\n')
		}
		file := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (go test ./sinks/format -update writes it anew):\n%s", name, diff)
		}
	}
}
