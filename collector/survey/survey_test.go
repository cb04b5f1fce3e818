package survey_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/collector/survey"
	"github.com/agentrail/agentrail/schemas"
)

var start = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// batch is one delivery of the tenant's source "audit" at a second after start.
func batch(tenant string, second int, events ...schemas.Event) *schemas.Batch {
	at := start.Add(time.Duration(second) * time.Second).UnixNano()
	b := &schemas.Batch{Header: schemas.Header{Tenant: tenant, Source: "audit", Class: schemas.ClassActivity, Received: at}}
	for i, ev := range events {
		ev.Tenant, ev.Received, ev.Index = tenant, at, uint32(i)
		ev.ID = schemas.ID{byte(second), byte(i), 1}
		if ev.Time == 0 {
			ev.Time = at
		} else {
			ev.Time += at // given as a difference
		}
		b.Events = append(b.Events, ev)
		b.Records = append(b.Records, schemas.Record{})
	}
	return b
}

func whole() schemas.Event {
	return schemas.Event{Actor: "u1", Agent: "a1", Tool: "gmail.send", Action: "tool.execute", Initiator: schemas.InitiatorSchedule, Outcome: schemas.OutcomeOK}
}

func consume(t testing.TB, s *survey.Survey, batches ...*schemas.Batch) {
	t.Helper()
	if err := s.Consume(t.Context(), batches); err != nil {
		t.Fatal(err)
	}
}

func the(t testing.TB, s *survey.Survey, tenant string) survey.Source {
	t.Helper()
	list := s.Sources(tenant)
	if len(list) != 1 {
		t.Fatalf("%d sources of %s, want 1", len(list), tenant)
	}
	return list[0]
}

func TestSurveyCountsWhatArrives(t *testing.T) {
	s := survey.New(survey.Options{NameOf: func(schemas.Digest) string { return "audit" }})
	dup, bad, late, early, old := whole(), whole(), whole(), whole(), whole()
	dup.Flags, bad.Flags = schemas.FlagDuplicate, schemas.FlagRejected
	late.Time, early.Time = -int64(20*time.Second), int64(90*time.Second)
	old.Time, old.Flags = -1<<62, schemas.FlagTimeSaturated
	first := batch("acme", 0, whole(), schemas.Event{}, dup, bad)
	first.Header.Mapping = schemas.Digest{1}
	second := batch("acme", 10, late, early, old, whole())
	second.Header.Mapping = first.Header.Mapping
	back := batch("acme", 40, whole())
	back.Header.Flags |= schemas.BatchBackfill
	consume(t, s, first, second, back)

	got := the(t, s, "acme")
	want := survey.Source{
		Name: "audit", Mapping: "audit", First: start, Last: start.Add(40 * time.Second), NewestEvent: start.Add(100 * time.Second),
		PerMinute: 9, UsualGap: 20, LongestGap: 30, Batches: 3, Events: 7, Duplicates: 1, Rejected: 1, Backfill: 1,
		NoInitiator: 1, NoAgent: 1, NoActor: 1, NoOutcome: 1, NoAction: 1, TimeMissing: 1,
		Late50: 1 << 30 / 1e9, Late90: 32 << 30 / 1e9, Early: 1, EarlyMost: 128 << 30 / 1e9,
		Kinds: []survey.Strange{}, Endpoints: []survey.Strange{}, Fields: []survey.Strange{}, Codes: []survey.Strange{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("source (-want +got):\n%s", diff)
	}
}

func TestSurveyNamesWhatWasNotUnderstood(t *testing.T) {
	s := survey.New(survey.Options{Unmapped: func(_ schemas.Digest, record []byte, yield func(string)) { yield(string(record)) }})
	kind, call, other := whole(), whole(), whole()
	kind.Kind, kind.Flags, kind.Raw = "robot_call", schemas.FlagUnknownKind, []byte("principal.id")
	call.Endpoint, call.Method, call.Flags = "/api/v1/widgets/4711/spin", "POST", schemas.FlagUnknownEndpoint
	other.Endpoint, other.Method, other.Flags = "/api/v1/widgets/4712/spin", "POST", schemas.FlagUnknownEndpoint
	consume(t, s, batch("acme", 0, kind, kind), batch("acme", 5, call, other))
	letters := batch("acme", 6)
	letters.Class, letters.Source = schemas.ClassHealth, "agentrail"
	letters.Events = []schemas.Event{{Tenant: "acme", Class: schemas.ClassHealth, Kind: "dead_letter", Received: letters.Received, Raw: []byte(`{"consumer":"audit","code":"bad_json"}`)}}
	stranger := *letters
	stranger.Events = []schemas.Event{{Tenant: "acme", Class: schemas.ClassHealth, Kind: "dead_letter", Received: letters.Received, Raw: []byte(`{"consumer":"soc","code":"rejected_by_receiver"}`)}}
	consume(t, s, letters, &stranger)

	got := the(t, s, "acme")
	at := func(second int) time.Time { return start.Add(time.Duration(second) * time.Second) }
	f := func(what string, got, want []survey.Strange) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	f("kinds", got.Kinds, []survey.Strange{{Name: "robot_call", Count: 2, First: at(0), Last: at(0), Example: schemas.ID{0, 0, 1}.String()}})
	f("endpoints", got.Endpoints, []survey.Strange{{Name: "/api/v1/widgets/{id}/spin", Method: "POST", Count: 2, First: at(5), Last: at(5), Example: schemas.ID{5, 0, 1}.String()}})
	f("codes", got.Codes, []survey.Strange{{Name: "bad_json", Count: 1, First: at(6), Last: at(6), Example: schemas.ID{}.String()}})
	if got.SampledAgents != 4 || got.Nameless != 4 {
		t.Errorf("%d sampled with an agent, %d without a name", got.SampledAgents, got.Nameless)
	}
	if got.Sampled != 4 || got.Fields[0].Name != "principal.id" && got.Fields[1].Name != "principal.id" {
		t.Errorf("%d sampled, fields %+v", got.Sampled, got.Fields)
	}
}

// TestSurveyIsBounded sends names that never come again and one that does.
func TestSurveyIsBounded(t *testing.T) {
	calls := 0
	s := survey.New(survey.Options{Unmapped: func(schemas.Digest, []byte, func(string)) { calls++ }})
	for n := range 1500 {
		odd, often := whole(), whole()
		odd.Kind, odd.Flags = fmt.Sprint("kind", n), schemas.FlagUnknownKind
		odd.Agent, odd.Tool = fmt.Sprint("agent", n), strings.Repeat("x", 500)
		often.Kind, often.Flags = "often", schemas.FlagUnknownKind
		consume(t, s, batch("acme", n/100, odd, often))
		lone := batch("acme", n/100, whole())
		lone.Source = fmt.Sprint("source", n)
		consume(t, s, lone)
	}
	list := s.Sources("acme")
	if len(list) != 1000 {
		t.Errorf("%d sources are kept, want 1000", len(list))
	}
	got := list[0]
	if got.Name != "audit" || len(got.Kinds) != 100 || got.Forgotten != 1401 || got.Kinds[0].Name != "often" || got.Kinds[0].Count < 1500 || got.Kinds[0].Over > 15 {
		t.Errorf("%s: %d kinds, %d forgotten, first %+v", got.Name, len(got.Kinds), got.Forgotten, got.Kinds[0])
	}
	if before, most := calls, 8; most > 0 {
		big := make([]schemas.Event, 5000)
		for i := range big {
			big[i] = whole()
		}
		consume(t, s, batch("acme", 20, big...))
		if calls-before > most {
			t.Errorf("%d records of one call are sampled", calls-before)
		}
	}
}

func TestTenantsSeeTheirOwn(t *testing.T) {
	s := survey.New(survey.Options{})
	named := whole()
	named.Name, named.Tool = "Acme's bot", ""
	consume(t, s, batch("acme", 0, named), batch("rival", 0, whole(), whole()))
	if a, r := the(t, s, "acme"), the(t, s, "rival"); a.Events != 1 || r.Events != 2 {
		t.Errorf("acme %d, rival %d events", a.Events, r.Events)
	}
	if got := s.Sources("nobody"); got != nil {
		t.Errorf("nobody has sources: %+v", got)
	}
	if s.AgentName("acme", "a1") != "Acme's bot" || s.AgentName("rival", "a1") != "" {
		t.Errorf("names: %q, %q", s.AgentName("acme", "a1"), s.AgentName("rival", "a1"))
	}
	busy := s.Busiest("rival", start, 5)
	if len(busy.Agents) != 1 || busy.Agents[0].PerMinute != 2 || busy.Agents[0].Name != "" {
		t.Errorf("rival's busiest: %+v", busy)
	}
}

func TestBusiestAreOfTheLastMinute(t *testing.T) {
	s := survey.New(survey.Options{})
	for minute := range 12 {
		quiet := whole()
		quiet.Agent = "quiet"
		consume(t, s, batch("acme", 60*minute, whole(), whole(), whole(), quiet))
	}
	flood := make([]schemas.Event, 1000)
	for i := range flood {
		flood[i] = whole()
	}
	now := start.Add(11*time.Minute + 30*time.Second)
	consume(t, s, batch("acme", 11*60+30, flood...))
	got := s.Busiest("acme", now, 5).Agents
	if len(got) != 2 || got[0].Key != "a1" || got[0].PerMinute != 1003 || got[0].Usual == nil || *got[0].Usual < 2 || *got[0].Usual > 4 || got[1].PerMinute != 1 {
		t.Errorf("busiest %+v", got)
	}
	if got := s.Busiest("acme", now.Add(2*time.Minute), 5); len(got.Agents) != 0 {
		t.Errorf("two minutes later: %+v", got)
	}
	if got := s.Busiest("acme", now, 1); len(got.Agents) != 1 {
		t.Errorf("asked for one: %+v", got)
	}
}

func principal(_ schemas.Digest, _ []byte, yield func(string)) { yield("principal.id") }

func filled(t testing.TB) *survey.Survey {
	s := survey.New(survey.Options{Unmapped: principal})
	odd, named := whole(), whole()
	odd.Kind, odd.Endpoint, odd.Flags = "k\xff", "/x", schemas.FlagUnknownKind|schemas.FlagUnknownEndpoint
	named.Name, named.Tool = "Bot", ""
	consume(t, s, batch("acme", 0, odd, named), batch("rival", 3, whole()))
	return s
}

func TestSnapshotRestoresTheWhole(t *testing.T) {
	s := filled(t)
	var saved, again bytes.Buffer
	if _, err := s.WriteTo(&saved); err != nil {
		t.Fatal(err)
	}
	other := survey.New(survey.Options{Unmapped: principal})
	consume(t, other, batch("gone", 0, whole()))
	if _, err := other.ReadFrom(bytes.NewReader(saved.Bytes())); err != nil {
		t.Fatal(err)
	}
	if _, err := other.WriteTo(&again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(saved.String(), again.String()); diff != "" {
		t.Errorf("restored (-saved +again):\n%s", diff)
	}
	if other.Sources("gone") != nil || other.AgentName("acme", "a1") != "Bot" {
		t.Error("the state before was not replaced as a whole")
	}
	consume(t, s, batch("acme", 9, whole()))
	consume(t, other, batch("acme", 9, whole()))
	want, got := the(t, s, "acme"), the(t, other, "acme")
	want.PerMinute, got.PerMinute = 0, 0 // of this minute, and not saved
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("goes on (-original +restored):\n%s", diff)
	}
}

func TestSnapshotThatIsNotWholeIsRefused(t *testing.T) {
	f := func(doc, want string) {
		t.Helper()
		s := filled(t)
		if _, err := s.ReadFrom(strings.NewReader(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", doc, err, want)
		}
		if the(t, s, "acme").Events != 2 {
			t.Errorf("%s: the state before is gone", doc)
		}
	}
	f(`{"version":2}`, "reads version 1")
	f(`{"version":1`, "unexpected end")
	f(`{"version":1,"sources":[{"tenant":"a","source":"s"}]}`, `source "s" is empty`)
	f(`{"version":1,"sources":[{"tenant":"a","source":"s","state":{}}]}`, "is not whole")
	f(`{"version":1,"sources":[{"state":{"Kinds":{"Items":{"k":null}},"Endpoints":{"Items":{}},"Fields":{"Items":{}},"Codes":{"Items":{}}}}]}`, "is not whole")
}

func FuzzReadFrom(f *testing.F) {
	var saved bytes.Buffer
	if _, err := filled(f).WriteTo(&saved); err != nil {
		f.Fatal(err)
	}
	f.Add(saved.Bytes())
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		s := survey.New(survey.Options{})
		if _, err := s.ReadFrom(bytes.NewReader(doc)); err != nil {
			return
		}
		odd := whole()
		odd.Kind, odd.Flags = "new", schemas.FlagUnknownKind
		consume(t, s, batch("acme", 1, odd))
		if _, err := json.Marshal(s.Sources("acme")); err != nil {
			t.Errorf("restored survey cannot be reported: %v", err)
		}
		if _, err := s.WriteTo(&bytes.Buffer{}); err != nil {
			t.Errorf("restored survey cannot be saved: %v", err)
		}
	})
}

func BenchmarkConsume(b *testing.B) {
	f := func(name string, events int, spoil func(i int, ev *schemas.Event)) {
		b.Run(name, func(b *testing.B) {
			s := survey.New(survey.Options{Unmapped: func(schemas.Digest, []byte, func(string)) {}})
			all := make([]schemas.Event, events)
			for i := range all {
				all[i] = whole()
				all[i].Agent, all[i].Tool = fmt.Sprint("agent", i%50), fmt.Sprint("tool", i%20)
				spoil(i, &all[i])
			}
			group := []*schemas.Batch{batch("acme", 1, all...)}
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Consume(b.Context(), group); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
		})
	}
	f("batch of 500", 500, func(int, *schemas.Event) {})
	f("batch of 5", 5, func(int, *schemas.Event) {})
	f("nothing understood", 500, func(i int, ev *schemas.Event) {
		ev.Flags, ev.Kind, ev.Endpoint = schemas.FlagUnknownKind|schemas.FlagUnknownEndpoint, fmt.Sprint("k", i%40), "/x"
	})
}
