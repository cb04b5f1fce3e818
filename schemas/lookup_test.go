package schemas_test

import (
	"testing"

	"github.com/agentrail/agentrail/schemas"
	"github.com/google/go-cmp/cmp"
)

func TestLookup(t *testing.T) {
	ev := full()
	ev.Reason = ""
	ev.Raw = []byte(`{"Reason":"shadowed","jsonPayload":{"WorkflowRun":{"Feature":"AGENT","Steps":[{"Id":"s1"},{"Id":"s2","Status":"ER\u0052OR"}]},"big":1e400,"no":null,"yes":true},"twice":1,"Twice":2,"k\u0065y":"escaped"}`)
	f := func(path string, want schemas.Value) {
		t.Helper()
		got, ok := ev.Lookup(path)
		if d := cmp.Diff(want, got); d != "" || ok != (want.Kind != schemas.ValueNone) {
			t.Errorf("Lookup(%q) found %v (-want +got):\n%s", path, ok, d)
		}
	}
	text := func(s string) schemas.Value { return schemas.Value{Kind: schemas.ValueString, Str: s} }
	number := func(s string, n float64) schemas.Value {
		return schemas.Value{Kind: schemas.ValueNumber, Str: s, Num: n}
	}
	f("actor_email", text("value of ActorEmail"))
	f("outcome", text("denied"))
	f("status", number("403", 403))
	f("background", schemas.Value{Kind: schemas.ValueBool, Str: "true", Bool: true})
	f("reason", schemas.Value{}) // empty, and it hides the key in the record
	f("jsonpayload.workflowrun.FEATURE", text("AGENT"))
	f("jsonPayload.WorkflowRun.Steps.1.Status", text("ERROR"))
	f("jsonPayload.WorkflowRun.Steps[].Status", text("ERROR"))
	f("jsonPayload.WorkflowRun.Steps.Id", text("s1"))
	f("jsonPayload.WorkflowRun.Steps.0", schemas.Value{Kind: schemas.ValueJSON, Str: `{"Id":"s1"}`})
	f("jsonPayload.WorkflowRun.Steps.2", schemas.Value{})
	f("jsonPayload.no", schemas.Value{Kind: schemas.ValueNull})
	f("jsonPayload.yes", schemas.Value{Kind: schemas.ValueBool, Str: "true", Bool: true})
	f("twice", number("2", 2))
	f("key", text("escaped"))
	f("jsonPayload.absent", schemas.Value{})
	f("", schemas.Value{Kind: schemas.ValueJSON, Str: string(ev.Raw)})

	ev.Flags |= schemas.FlagSealed
	f("twice", schemas.Value{})
}

func FuzzLookup(f *testing.F) {
	f.Add([]byte(`{"a":[{"b":1},{"c":"x"}]}`), "a.c")
	f.Add([]byte(`{"a":"\ud800`), "a")
	f.Add([]byte(`[[[[[[`), "x.y.z")
	f.Fuzz(func(_ *testing.T, raw []byte, path string) {
		ev := schemas.Event{Raw: raw}
		ev.Lookup(path) // must end and stay inside
	})
}

func BenchmarkLookup(b *testing.B) {
	ev := full()
	ev.Raw = []byte(`{"insertId":"1a2b3c4d5e6f7g","timestamp":"2026-08-21T09:15:04.512Z","jsonPayload":{"Type":"WORKFLOW_RUN","User":{"UserId":"u_7f3c9a"},"WorkflowRun":{"RunId":"run_01J9ZQ7M2V","Feature":"AGENT"}}}`)
	b.Run("typed", func(b *testing.B) {
		get := schemas.FieldOf("actor_email")
		b.ReportAllocs()
		for b.Loop() {
			get(&ev)
		}
	})
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := ev.Lookup("jsonPayload.WorkflowRun.Feature"); !ok {
				b.Fatal("not found")
			}
		}
	})
}
