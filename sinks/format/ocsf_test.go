package format_test

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/deploy/sample/watch"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// sampleDay returns all events of the labelled day as the shipped mappings
// read it, and all alerts that the detectors raise in it; for all tests, which
// only read them.
func sampleDay(t testing.TB) []schemas.Event {
	t.Helper()
	evs, err := playDay()
	if err != nil {
		t.Fatal(err)
	}
	return evs
}

var playDay = sync.OnceValues(func() (evs []schemas.Event, err error) {
	w, err := watch.New()
	if err != nil {
		return nil, err
	}
	day := sample.Generate(sample.Options{Seed: 1, End: time.Date(2026, 8, 21, 18, 0, 0, 0, time.UTC)})
	for i := range day.Deliveries {
		dl := &day.Deliveries[i]
		b, err := w.Read(dl)
		if err != nil {
			return nil, err
		}
		evs = append(evs, b.Events...)
		if err := w.Feed(context.Background(), dl, dl.At); err != nil {
			return nil, err
		}
	}
	for i := range w.Alerts {
		b, err := decode.Own("acme", schemas.ClassAlert, "alert", day.End.UnixNano(), &w.Alerts[i])
		if err != nil {
			return nil, err
		}
		evs = append(evs, b.Events...)
	}
	return evs, nil
})

// TestOCSFOfTheDay holds all of the labelled day to the published schema, with
// content and without.
func TestOCSFOfTheDay(t *testing.T) {
	evs := sampleDay(t)
	f := func(name, version string, schema *ocsfSchema) {
		t.Helper()
		write, ok := format.Lookup(name)
		if !ok {
			t.Fatalf("no format %s", name)
		}
		classes := map[int]int{}
		var line []byte
		for i := range evs {
			bare := evs[i]
			if bare.Class == schemas.ClassActivity {
				bare.Raw = nil
			}
			for _, ev := range []*schemas.Event{&evs[i], &bare} {
				line = write(line[:0], ev)
				if err := schema.validate(line, version); err != nil {
					t.Fatalf("%s: %v\n%s", name, err, line)
				}
				if bare.Raw != nil { // the same as the first
					break
				}
			}
			var got struct {
				Class int `json:"class_uid"`
			}
			if err := json.Unmarshal(line, &got); err != nil {
				t.Fatal(err)
			}
			classes[got.Class]++
		}
		if classes[6003] < 1000 || classes[3004] < 5 || classes[2004] < 5 {
			t.Errorf("%s: the day holds too little to show anything: %v", name, classes)
		}
		t.Logf("%s: events of the day by class: %v", name, classes)
	}
	f("ocsf", "1.8.0", loadOCSF(t))
	f("ocsf-1.9-dev", "1.9.0-dev", loadOCSF(t, "ocsf-1.9-dev.json"))
}

// TestOCSFOfAnything holds what no day brings to the schema: events of every
// class with each field alone and with all of them, in good and in bad form.
func TestOCSFOfAnything(t *testing.T) {
	schema := loadOCSF(t)
	for class := schemas.ClassActivity; class <= schemas.ClassHealth; class++ {
		for _, action := range []string{"", "tool.execute", "agent.list", "subscription.create", "subscription.edit", "agent.delete", "unknown"} {
			for _, text := range append([]string{"GET", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "a.b+c@example.com", "sha256:00", "service"}, naughty...) {
				for only := range len(texts) + 1 {
					ev := schemas.Event{Class: class, Action: action, Time: -1, Received: 1, Status: -7, Duration: -1, Outcome: schemas.Outcome(only % 5), Raw: []byte(`{"first_seen":"x"}`)}
					for i, set := range texts {
						if i == only || only == len(texts) {
							*set(&ev) = text
						}
					}
					if ev.Kind == "" {
						ev.Kind = "x"
					}
					ev.Action = action
					if err := schema.validate(format.OCSF(nil, &ev), "1.8.0"); err != nil {
						t.Fatalf("%v of %+v: %s", err, ev, format.OCSF(nil, &ev))
					}
				}
			}
		}
	}
}

func TestOCSFSpan(t *testing.T) {
	schema := loadOCSF(t)
	ev := schemas.Event{Class: schemas.ClassActivity, Kind: schemas.KindSpan, Trace: "t1", Span: "s1", Time: 5e9, Duration: 2e9}
	line := format.OCSF(nil, &ev)
	if err := schema.validate(line, "1.8.0"); err != nil {
		t.Error(err)
	}
	if want := `"trace":{"uid":"t1","span":{"uid":"s1","start_time":5000,"end_time":7000}}`; !bytes.Contains(line, []byte(want)) {
		t.Errorf("%s is not in %s", want, line)
	}
}

func TestOCSFActivities(t *testing.T) {
	f := func(action string, access schemas.Access, class, activity int) {
		t.Helper()
		var got struct {
			Class    int `json:"class_uid"`
			Activity int `json:"activity_id"`
		}
		ev := schemas.Event{Class: schemas.ClassActivity, Action: action, Access: access}
		if err := json.Unmarshal(format.OCSF(nil, &ev), &got); err != nil {
			t.Fatal(err)
		}
		if got.Class != class || got.Activity != activity {
			t.Errorf("%s is %d.%d, want %d.%d", action, got.Class, got.Activity, class, activity)
		}
	}
	f("subscription.create", schemas.AccessAdmin, 3004, 1)
	f("subscription.edit", schemas.AccessAdmin, 3004, 3)
	f("subscription.delete", schemas.AccessAdmin, 3004, 4)
	f("agent.edit", schemas.AccessAdmin, 3004, 3)
	f("agent.run", schemas.AccessWrite, 6003, 99)
	f("trigger.list", schemas.AccessRead, 6003, 2)
	f("unknown.create", schemas.AccessWrite, 6003, 1)
	f("unknown", schemas.AccessUnknown, 6003, 0)
	f("", schemas.AccessUnknown, 6003, 0)
}
