package decode_test

import (
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
	"github.com/google/go-cmp/cmp"
)

func TestOwn(t *testing.T) {
	s, when := open(t, ""), time.Unix(0, received).UTC().Add(-time.Minute)
	f := func(class schemas.Class, kind string, doc any, want schemas.Event) {
		t.Helper()
		b, err := decode.Own("acme", class, kind, received, doc)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			return
		}
		if b.Source != "agentrail" || b.Decoder != "agentrail" || b.Flags&schemas.BatchSelf == 0 || len(b.Records) != 1 {
			t.Errorf("%s: header %+v", kind, b.Header)
		}
		want.Tenant, want.Source, want.Class, want.Kind, want.Time = "acme", "agentrail", class, kind, when.UnixNano()
		if d := cmp.Diff(want, plain(b.Events[0])); d != "" {
			t.Errorf("%s (-want +got):\n%s", kind, d)
		}
		if d := cmp.Diff(b.Events, again(t, s, b)); d != "" {
			t.Errorf("%s (-first +second):\n%s", kind, d)
		}
	}
	f(schemas.ClassAlert, "alert", schemas.Alert{
		ID: "a1", Transition: schemas.TransitionOpen, Rule: "action_burst", Entity: schemas.Entity{Kind: "agent", ID: "wf1", Name: "Digest"},
		Agent: "wf1", AgentName: "Digest", Run: "r1", Actor: "u1", OnBehalfOf: "u2", Initiator: "schedule", DecidedAt: when,
	}, schemas.Event{
		Action: "alert.open", Access: schemas.AccessRead, SourceID: "a1", SourceAction: "action_burst", Target: "wf1", Agent: "wf1", Name: "Digest",
		Run: "r1", Actor: "u1", Owner: "u2", Initiator: schemas.InitiatorSchedule,
	})
	f(schemas.ClassControl, "control", schemas.Control{ID: "c1", Verb: "dlq.retry", Target: "d1", Author: "dana", At: when},
		schemas.Event{Action: "dlq.retry", Access: schemas.AccessAdmin, SourceID: "c1", Target: "d1", Actor: "dana"})
	f(schemas.ClassHealth, "dead_letter", schemas.DeadLetter{ID: "d1", Consumer: "in", Code: "bad_json", At: when},
		schemas.Event{Action: "dead_letter.add", Access: schemas.AccessRead, SourceID: "d1", SourceAction: "bad_json", Target: "in"})
	f(schemas.ClassHealth, "health", schemas.Health{Kind: "journal.gap", At: when},
		schemas.Event{Action: "journal.gap", Access: schemas.AccessRead})
	f(schemas.ClassEvidence, "head", schemas.Head{Origin: "o", At: when},
		schemas.Event{Action: "head.signed", Access: schemas.AccessRead})
	f(schemas.ClassEvidence, "statement", schemas.Statement{Sink: "soc", Hour: when.Add(-time.Hour), At: when},
		schemas.Event{Action: "sink.statement", Access: schemas.AccessRead, Target: "soc"})
	if _, err := decode.Own("acme", schemas.ClassHealth, "gossip", received, 1); err == nil {
		t.Error("an unknown kind is no error")
	}
	if _, err := decode.Own("acme", schemas.ClassHealth, "health", received, func() {}); err == nil {
		t.Error("a document that has no JSON is no error")
	}
}

// The same documents make the same ids, so that a replay adds nothing.
func TestOwnIdsComeFromContent(t *testing.T) {
	ids := func(received int64) []schemas.ID {
		open := schemas.Alert{ID: "a1", Seq: 1, Transition: schemas.TransitionOpen}
		update := schemas.Alert{ID: "a1", Seq: 2, Transition: schemas.TransitionUpdate}
		b, err := decode.Own("acme", schemas.ClassAlert, "alert", received, open, update)
		if err != nil {
			t.Fatal(err)
		}
		return []schemas.ID{b.Records[0].ID, b.Records[1].ID}
	}
	first, second := ids(received), ids(received+1e9)
	if first[0] == first[1] || first[0] != second[0] || first[1] != second[1] {
		t.Errorf("%v, then %v", first, second)
	}
}

func TestDeadLetters(t *testing.T) {
	b := batch(good1 + "\nnonsense\n" + `{"a":"` + string(make([]byte, 100_000)))
	rejects, err := mapped(t, "bench").Read(b, limits)
	if err != nil {
		t.Fatal(err)
	}
	b.Offset, b.Shard = 9, 1
	got := decode.DeadLetters(b, rejects)
	if len(got) != 2 {
		t.Fatalf("%d dead letters", len(got))
	}
	id := b.Records[1].ID.String()
	want := schemas.DeadLetter{
		ID: "d" + id, Tenant: "acme", Consumer: "in", Shard: 1, Offset: 9, Index: 1, Line: 2, EventID: id, Code: "bad_json",
		Reason: rejects[0].Reason, Bytes: []byte("nonsense"), Size: 8, At: time.Unix(0, received).UTC(),
	}
	if d := cmp.Diff(want, got[0]); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(got[1].Bytes) != decode.DeadLetterBytes || got[1].Size != 100_006 {
		t.Errorf("a long record: %d of %d bytes", len(got[1].Bytes), got[1].Size)
	}
	b.Body[len(good1)+1] = 'X'
	if string(got[0].Bytes) != "nonsense" {
		t.Error("the bytes are not a copy")
	}
}
