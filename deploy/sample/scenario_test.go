package sample_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
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
			played := func(i int) time.Time { return d.End.Add(time.Duration(i) * 10 * time.Millisecond) }
			check(t, d, watch(t, d, played))
		})
	}
	t.Run("as it happens", func(t *testing.T) {
		t.Parallel()
		d := theDay()
		check(t, d, watch(t, d, func(i int) time.Time { return d.Deliveries[i].At }))
	})
}

func check(t *testing.T, d *sample.Day, w *watched) {
	t.Helper()
	s := sample.Judge(d, w.alerts, w.name)
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

// TestLiveTrafficIsQuiet goes on where the day ended: half an hour of live
// traffic raises nothing, an incident that is planted into it is found.
func TestLiveTrafficIsQuiet(t *testing.T) {
	d := theDay()
	w := newWatched(t)
	for i := range d.Deliveries {
		w.feed(&d.Deliveries[i], d.Deliveries[i].At)
	}
	of := len(w.alerts)
	begin := d.End.Add(5 * time.Minute)
	for dl := range sample.Live(d.Options, begin, 20) {
		if dl.At.After(begin.Add(30 * time.Minute)) {
			break
		}
		w.feed(&dl, dl.At)
	}
	live := &sample.Day{Records: 30 * 60 * 20}
	s := sample.Judge(live, w.alerts[of:], nil)
	for _, a := range s.False {
		t.Errorf("live traffic raised %s %s: %s", a.Severity, a.Rule, a.Reason)
	}
	for i, name := range []string{"runaway-agent", "subscription-deleted", "actor-probing"} {
		of = len(w.alerts)
		now := begin.Add(time.Duration(31+i) * time.Minute)
		dls, label, err := sample.Incident(d.Options, name, now)
		if err != nil {
			t.Fatal(err)
		}
		for i := range dls {
			w.feed(&dls[i], now)
		}
		s := sample.Judge(&sample.Day{Labels: []sample.Label{label}, Records: len(label.Records)}, w.alerts[of:], w.name)
		if s.Found() != 1 {
			t.Errorf("%s, planted into live traffic, was not found", name)
		}
	}
}

// watched is an engine in memory and what it made of the deliveries so far.
type watched struct {
	*reader
	engine *detectors.Engine
	alerts []schemas.Alert
	names  map[string]string // event id -> insertId

	offset uint64
	now    int64
	back   []*schemas.Batch // alerts on their way back to the engine
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{reader: newReader(t), names: map[string]string{}}
	var configs []plug.Config
	for _, kind := range []string{"subscription", "burst", "denial"} {
		c, err := plug.NewConfig(kind, kind, "")
		if err != nil {
			t.Fatal(err)
		}
		configs = append(configs, c)
	}
	zone, err := time.LoadLocation(sample.Zone)
	if err != nil {
		t.Fatal(err)
	}
	w.engine, err = detectors.NewEngine(detectors.Options{
		Detectors: configs, Append: w.append, Own: decode.Own, Vocabulary: w.set.Vocabulary(), Tools: w.set.Tool, Zone: func(string) *time.Location { return zone },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// watch plays the whole day; delivery i is taken at received(i).
func watch(t *testing.T, d *sample.Day, received func(i int) time.Time) *watched {
	t.Helper()
	w := newWatched(t)
	for i := range d.Deliveries {
		w.feed(&d.Deliveries[i], received(i))
	}
	return w
}

// feed gives one delivery to the engine, and before it the alerts that the
// engine has appended since. What was taken before is flagged as the journal
// would.
func (w *watched) feed(dl *sample.Delivery, received time.Time) {
	w.t.Helper()
	b := w.read(dl)
	w.now = max(w.now, received.UnixNano())
	b.Received, b.Offset = w.now, w.offset
	w.offset++
	for i := range b.Events {
		ev := &b.Events[i]
		ev.Received, ev.Offset = b.Received, b.Offset
		id := ev.ID.String()
		if w.names[id] != "" {
			b.Records[i].Flags |= schemas.FlagDuplicate
			ev.Flags |= schemas.FlagDuplicate
		}
		w.names[id] = ev.SourceID
	}
	batches := append(w.back, b)
	w.back = nil
	if err := w.engine.Consume(w.t.Context(), batches); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) append(_ context.Context, b *schemas.Batch) (uint64, error) {
	for _, r := range b.Records {
		var a schemas.Alert
		if err := json.Unmarshal(b.Body[r.Start:r.Start+r.Length], &a); err != nil {
			return 0, err
		}
		w.alerts = append(w.alerts, a)
	}
	b.Offset = w.offset
	w.offset++
	w.back = append(w.back, b)
	return b.Offset, nil
}

func (w *watched) name(eventID string) string { return w.names[eventID] }
