package sample_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/deploy/sample/watch"
	"github.com/agentrail/agentrail/schemas"
)

// seeds is how many days TestIncidentsAreFound makes.
var seeds = flag.Uint64("seeds", 5, "seeds of the labelled day to try")

// mostFalse bounds the false alerts per 10,000 benign records.
const mostFalse = 0.6

// TestIncidentsAreFound reads the day of several seeds with the shipped
// mappings and detectors at their defaults. Every incident has to be found and
// every twin left in peace. With -v it prints the tables.
func TestIncidentsAreFound(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			d := day(seed)
			at := func(i int) time.Time { return d.End.Add(time.Duration(i) * 10 * time.Millisecond) }
			check(t, d, played(t, d, at))
		})
	}
	t.Run("as it happens", func(t *testing.T) {
		t.Parallel()
		d := theDay()
		check(t, d, played(t, d, func(i int) time.Time { return d.Deliveries[i].At }))
	})
}

// TestWeeks plays weeks as they happen, with traces: what does not come is told,
// and what is unusual about a trace.
func TestWeeks(t *testing.T) {
	t.Parallel()
	d := sample.Weeks(sample.Options{Seed: 1, End: time.Date(2026, 11, 20, 23, 0, 0, 0, time.UTC)})
	w := newWatched(t, append([]string{"trace"}, watch.Default...)...)
	if err := w.Happen(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	w.alerts = w.Alerts
	check(t, d, w)
}

// TestOnlyTheseTell: without the detectors that they were made for, nothing tells
// of the incidents of an agent's or a person's regular ways.
func TestOnlyTheseTell(t *testing.T) {
	t.Parallel()
	d := theDay()
	w := newWatched(t, "subscription", "burst", "denial", "sigma", "gatecheck", "tampering")
	for i := range d.Deliveries {
		w.feed(&d.Deliveries[i], d.End.Add(time.Duration(i)*10*time.Millisecond))
	}
	s := sample.Judge(d, w.alerts, w.Name)
	missed := map[string]bool{}
	for _, r := range s.Results {
		missed[r.Incident] = !r.Found
	}
	for _, name := range []string{"run-drift", "search-crawl", "step-added", "run-bloated", "shadow-runs", "unaudited-runs"} {
		if was, known := missed[name]; !was || !known {
			t.Errorf("%s is told by other detectors, or is not there", name)
		}
	}
}

func check(t *testing.T, d *sample.Day, w *watched) {
	t.Helper()
	s := sample.Judge(d, w.alerts, w.Name)
	t.Logf("%d records, %d alerts on history\n%s", d.Records, s.History, s)
	for _, a := range s.False {
		t.Logf("false: %s %s %s %q at %s: %s", a.Severity, a.Rule, a.Entity.Kind, a.Entity.Name, a.LastSeen.Format(time.TimeOnly), a.Reason)
	}
	for _, r := range s.Results {
		if !r.Found {
			t.Errorf("%s was not found: %s", r.Incident, r.What)
		}
		if !r.TwinQuiet {
			t.Errorf("the twin of %s raised an alert of %s: %s", r.Incident, r.TwinRule, r.Twin)
		}
	}
	if got := s.FalsePer10k(); got > mostFalse {
		t.Errorf("%.2f false alerts per 10,000 benign records, want at most %.1f", got, mostFalse)
	}
}

// watched is a watch whose faults end the test.
type watched struct {
	*watch.Watch
	t      *testing.T
	alerts []schemas.Alert // so far
}

func newWatched(t *testing.T, kinds ...string) *watched {
	t.Helper()
	w, err := watch.New(kinds...)
	if err != nil {
		t.Fatal(err)
	}
	return &watched{Watch: w, t: t}
}

func (w *watched) feed(dl *sample.Delivery, received time.Time) {
	w.t.Helper()
	if err := w.Feed(w.t.Context(), dl, received); err != nil {
		w.t.Fatal(err)
	}
	w.alerts = w.Alerts
}

// played plays the whole day; delivery i is taken at received(i).
func played(t *testing.T, d *sample.Day, received func(i int) time.Time) *watched {
	t.Helper()
	w := newWatched(t)
	for i := range d.Deliveries {
		w.feed(&d.Deliveries[i], received(i))
	}
	return w
}
