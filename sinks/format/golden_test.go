package format_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

var update = flag.Bool("update", false, "write the golden files anew")

// examples are the events of the golden files, by what they show.
func examples() (names []string, evs []schemas.Event) {
	add := func(name string, ev schemas.Event) {
		names, evs = append(names, name), append(evs, ev)
	}
	base := schemas.Event{
		ID: schemas.ID{1, 2, 3}, Digest: schemas.Digest{4, 5, 6}, Class: schemas.ClassActivity, Time: 1_764_000_000_123_456_789, Received: 1_764_000_001_000_000_000,
		Tenant: "default", Source: "audit", Kind: "api_call", Actor: "u-1", ActorEmail: "ann@example.com", Agent: "wf-7", Run: "r-1",
		Action: "tool.execute", Access: schemas.AccessWrite, Initiator: schemas.InitiatorSchedule, Outcome: schemas.OutcomeOK, Tool: "jira", Target: "PROJ-1",
		Status: 200, Duration: 1_500_000, Shard: 1, Offset: 42, Index: 7, Flags: schemas.FlagCaseTwin | schemas.FlagNoSourceID,
	}
	add("activity", base)
	content, hostile, denied, changed, sealed := base, base, base, base, base
	content.Raw = []byte("{\"prompt\":\n\"buy\u202e low\"}")
	add("content", content)
	hostile.Target, hostile.Time = "a\nb\x00\"},{|=\\\u202e\u2028\xff", -1<<63
	add("hostile", hostile)
	denied.Outcome, denied.Denial, denied.Reason, denied.Status = schemas.OutcomeDenied, schemas.DenialPolicy, "insufficient_permissions", 403
	denied.Endpoint, denied.Method, denied.IP, denied.UserAgent = "/api/v1/executeactiontool", "POST", "203.0.113.24", "agent/1.0"
	denied.Trace, denied.Span, denied.Session, denied.SourceID = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "s-1", "9z8y7x6w5v"
	denied.ActorType, denied.Department, denied.Name, denied.Owner, denied.SourceAction = "SERVICE", "Support", "Ticket Digest", "u-9", "EXECUTE"
	add("denied", denied)
	changed.Action, changed.Access, changed.Subscription, changed.Tool, changed.Target = "subscription.edit", schemas.AccessAdmin, "trg-5", "", ""
	add("subscription", changed)
	alert := schemas.Event{
		ID: base.ID, Digest: base.Digest, Class: schemas.ClassAlert, Kind: "alert", Time: base.Time, Received: base.Received, Tenant: "default", Source: "agentrail", Offset: 43,
		Raw: []byte(`{"id":"a0011223344556677","seq":1,"transition":"open","tenant":"default","rule":"denial","title":"Agent is turned down again and again","severity":"high",` +
			`"confidence":"medium","entity":{"kind":"agent","id":"wf-7","name":"Ticket Digest"},"actor":"u-1","actor_email":"ann@example.com","agent":"wf-7","agent_name":"Ticket Digest",` +
			`"first_seen":"2025-11-24T15:50:00Z","last_seen":"2025-11-24T16:00:00.5Z","decided_at":"2025-11-24T16:00:01Z","count":23,"observed":23,"usual":0.5,"threshold":10,` +
			`"reason":"23 calls were turned down in 10 minutes; usual is 0.5.","evidence":[{"id":"01020300000000000000000000000000","shard":1,"offset":42,"index":7,"time":"2025-11-24T16:00:00.123Z"}],` +
			`"tags":["attack.atlas.aml.t0053","owasp.asi02"]}`),
	}
	alert.Head = &schemas.Head{
		Origin: "agentrail/default", Offset: 40, Digest: "7d0000000000000000000000000000000000000000000000000000000000000a", At: time.Unix(1_763_999_990, 0).UTC(),
		KeyID: "agentrail/default+0a1b2c3d", Signature: "Chss",
	}
	add("alert", alert)
	add("head", schemas.Event{
		ID: base.ID, Digest: base.Digest, Class: schemas.ClassEvidence, Kind: "head", Time: base.Time, Received: base.Received, Tenant: "default", Source: "agentrail", Offset: 44,
		Raw: []byte(`{"origin":"agentrail/default","shard":0,"offset":43,"digest":"7e0000000000000000000000000000000000000000000000000000000000000b","at":"2025-11-24T16:00:01Z","key_id":"agentrail/default+0a1b2c3d","signature":"Chst"}`),
	})
	health := schemas.Event{
		ID: base.ID, Digest: base.Digest, Class: schemas.ClassHealth, Kind: "health", Time: base.Time, Received: base.Received, Tenant: "default", Source: "agentrail",
		Reason: "hec_4", Raw: []byte(`{"kind":"sink.auth","consumer":"soc","reason":"hec_4","at":"2025-11-24T16:00:01Z"}`),
	}
	add("health", health)
	sealed.Flags, sealed.Raw = schemas.FlagSealed, []byte("cipher")
	add("sealed", sealed)
	return names, evs
}

// TestGolden holds each format to testdata/NAME.txtar, one event a section.
func TestGolden(t *testing.T) {
	names, evs := examples()
	for _, name := range format.Names() {
		write, _ := format.Lookup(name)
		got := &txtar.Archive{}
		for i := range evs {
			got.Files = append(got.Files, txtar.File{Name: names[i], Data: append(write(nil, &evs[i]), '\n')})
		}
		file := filepath.Join("testdata", name+".txtar")
		if *update {
			if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(txtar.Format(got))); diff != "" {
			t.Errorf("%s (go test ./sinks/format -update writes it anew):\n%s", name, diff)
		}
	}
}
