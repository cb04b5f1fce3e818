package sample_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/schemas"
)

// hours is how long TestLiveTrafficIsQuiet goes on.
var hours = flag.Int("hours", 8, "hours of live traffic to make")

// TestLiveTrafficIsQuiet goes on where the day ended, as `agentrail up` does at
// once and at each later start: hours of live traffic raise nothing that is
// worth telling, at whatever hour they begin and however long nothing ran.
func TestLiveTrafficIsQuiet(t *testing.T) {
	for seed, after := range []time.Duration{time.Minute, 61 * time.Hour} {
		t.Run(fmt.Sprintf("after %s", after), func(t *testing.T) {
			t.Parallel()
			d := day(uint64(seed))
			w := newWatched(t)
			for i := range d.Deliveries {
				w.feed(&d.Deliveries[i], d.End)
			}
			begin, before, records := d.End.Add(after), len(w.alerts), 0
			for dl := range sample.Live(d.Options, begin, 20) {
				if dl.At.After(begin.Add(time.Duration(*hours) * time.Hour)) {
					break
				}
				w.feed(&dl, dl.At)
				records += len(dl.Records)
			}
			for _, a := range w.alerts[before:] {
				if a.Transition != schemas.TransitionResolve && a.Severity != schemas.SeverityInformational {
					t.Errorf("%s %s of %s: %s", a.LastSeen.Format(time.TimeOnly), a.Severity, a.Rule, a.Reason)
				}
			}
			if want := *hours * 3600 * 19; records < want {
				t.Errorf("%d records of live traffic, want %d at least", records, want)
			}
		})
	}
}

// TestDemosAreTold plants every demo three times in a row into live traffic,
// after a day and where no day ever was. Each planting raises an alert of its
// own, about somebody or something that is in its label.
func TestDemosAreTold(t *testing.T) {
	f := func(seed uint64, d *sample.Day, begin time.Time) {
		t.Helper()
		w := newWatched(t)
		o := sample.Options{Seed: seed}
		if d != nil {
			o = d.Options
			for i := range d.Deliveries {
				w.feed(&d.Deliveries[i], d.End)
			}
		}
		now := begin
		for dl := range sample.Live(o, begin, 20) {
			if dl.At.After(begin.Add(5 * time.Minute)) {
				break
			}
			w.feed(&dl, dl.At)
			now = dl.At
		}
		seen := map[string]bool{}
		for _, demo := range sample.Demos() {
			if demo.What == "" {
				t.Errorf("%s does not say what happens", demo.Name)
			}
			for nth := range uint64(3) {
				now = now.Add(2 * time.Second)
				of := len(w.alerts)
				dls, label, err := sample.Plant(o, demo.Name, now, nth)
				if err != nil {
					t.Fatal(err)
				}
				for i := range dls {
					w.feed(&dls[i], now)
				}
				if told := tells(w.alerts[of:], &label); told == nil {
					t.Errorf("seed %d at %s: %s, planted the %d. time, raised nothing: %v", seed, begin.Format(time.TimeOnly), demo.Name, nth+1, brief(w.alerts[of:]))
				} else if seen[told.ID] {
					t.Errorf("%s raised the same alert again", demo.Name)
				} else {
					seen[told.ID] = true
				}
			}
		}
	}
	d := theDay()
	f(d.Options.Seed, d, d.End.Add(5*time.Minute))
	f(9, nil, thursday)
	f(10, nil, thursday.Add(9*time.Hour))
	if _, _, err := sample.Plant(sample.Options{}, "flood", thursday, 0); err == nil {
		t.Error("an unknown demo was planted")
	}
}

// tells returns the first alert that is worth telling and about the label.
func tells(alerts []schemas.Alert, l *sample.Label) *schemas.Alert {
	for i := range alerts {
		a := &alerts[i]
		if a.Transition == schemas.TransitionOpen && !a.Backfill && a.Severity != schemas.SeverityInformational && l.Concerns(a) {
			return a
		}
	}
	return nil
}

func brief(alerts []schemas.Alert) (out []string) {
	for _, a := range alerts {
		out = append(out, fmt.Sprint(a.Transition, " ", a.Severity, " ", a.Rule, " ", a.Entity.Kind, " ", a.Reason))
	}
	return out
}
