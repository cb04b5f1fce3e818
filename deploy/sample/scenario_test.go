package sample_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// mostFalse bounds the false alerts per 10,000 benign records.
const mostFalse = 1.0

// TestIncidentsAreFound reads the day of several seeds with the shipped
// mappings and detectors at their defaults. Every incident has to be found and
// every twin left in peace. With -v it prints the tables.
func TestIncidentsAreFound(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			d := day(seed)
			played := func(i int) time.Time { return d.End.Add(time.Duration(i) * 10 * time.Millisecond) }
			check(t, d, watch(t, d, played))
		})
	}
	t.Run("as it happens", func(t *testing.T) {
		d := theDay()
		check(t, d, watch(t, d, func(i int) time.Time { return d.Deliveries[i].At }))
	})
}

func check(t *testing.T, d *sample.Day, w *watched) {
	t.Helper()
	s := sample.Judge(d, w.alerts, func(id string) string { return w.names[id] })
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

// watched is what the detectors made of a day.
type watched struct {
	alerts []schemas.Alert
	names  map[string]string // event id -> insertId
}

// watch plays the day into an engine in memory. Delivery i is taken at
// received(i); what was taken before is flagged as the journal would.
func watch(t *testing.T, d *sample.Day, received func(i int) time.Time) *watched {
	t.Helper()
	w := &watched{names: map[string]string{}}
	var engine *detectors.Engine
	var offset uint64
	var back []*schemas.Batch // alerts on their way back to the engine
	appendAlerts := func(_ context.Context, b *schemas.Batch) (uint64, error) {
		for _, r := range b.Records {
			var a schemas.Alert
			if err := json.Unmarshal(b.Body[r.Start:r.Start+r.Length], &a); err != nil {
				return 0, err
			}
			w.alerts = append(w.alerts, a)
		}
		b.Offset = offset
		offset++
		back = append(back, b)
		return b.Offset, nil
	}
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
	engine, err = detectors.NewEngine(detectors.Options{
		Detectors: configs, Append: appendAlerts, Own: decode.Own, Zone: func(string) *time.Location { return zone },
	})
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t)
	var last int64
	for i := range d.Deliveries {
		b := r.read(&d.Deliveries[i])
		last = max(last, received(i).UnixNano())
		b.Received, b.Offset = last, offset
		offset++
		w.flagDuplicates(b)
		batches := append(back, b)
		back = nil
		if err := engine.Consume(t.Context(), batches); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *watched) flagDuplicates(b *schemas.Batch) {
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
}
