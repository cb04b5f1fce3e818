package detectors_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/detectors"
	_ "github.com/agentrail/agentrail/detectors/sigma" // the kind sigma
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// TestSampleDay runs labelled days of several seeds through the decoder and the
// detectors with their defaults: every incident is found, every twin is quiet.
func TestSampleDay(t *testing.T) {
	set, err := decode.Open("")
	if err != nil {
		t.Fatal(err)
	}
	seeds := []uint64{1, 2, 3}
	if testing.Short() {
		seeds = seeds[:1]
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			day := sample.Generate(sample.Options{Seed: seed, End: time.Date(2026, 11, 19, 15, 4, 5, 0, time.UTC)})
			read := func(source string, body []byte) ([]schemas.Event, error) {
				b, err := readSample(set, source, body, 0)
				if err != nil {
					return nil, err
				}
				return b.Events, nil
			}
			name, err := day.Names(read)
			if err != nil {
				t.Fatal(err)
			}
			score := sample.Judge(day, playSample(t, set, day), name)
			t.Logf("\n%s", score)
			for _, a := range score.False {
				t.Errorf("false alert %s %s on %s %s at %s: %s %q", a.Severity, a.Rule, a.Entity.Kind, a.Entity.ID, a.LastSeen.Format(time.TimeOnly), a.Reason, a.Why)
			}
			for _, r := range score.Results {
				if !r.Found {
					t.Errorf("incident %s was not found", r.Incident)
				}
				if !r.TwinQuiet {
					t.Errorf("twin of %s raised %s", r.Incident, r.TwinRule)
				}
			}
		})
	}
}

func readSample(set *decode.Set, source string, body []byte, received int64) (*schemas.Batch, error) {
	m, err := set.Mapping(source)
	if err != nil {
		return nil, err
	}
	b := &schemas.Batch{Header: schemas.Header{
		Tenant: "acme", Source: source, Class: schemas.ClassActivity, ContentType: "application/x-ndjson", Received: received,
	}, Body: body}
	if _, err := m.Read(b, decode.Limits{}); err != nil {
		return nil, err
	}
	return b, nil
}

// playSample gives the day to an engine as the journal would and returns the
// transitions that were appended.
func playSample(t *testing.T, set *decode.Set, day *sample.Day) []schemas.Alert {
	t.Helper()
	zone, err := time.LoadLocation(sample.Zone)
	if err != nil {
		t.Fatal(err)
	}
	j := newJournal(t, detectors.Options{
		Detectors: []plug.Config{config(t, "subscription", ""), config(t, "burst", ""), config(t, "denial", ""), config(t, "rateband", ""), config(t, "shape", ""), config(t, "sigma", ""), config(t, "gatecheck", ""), config(t, "joined", ""), config(t, "silence", ""), config(t, "tampering", "")},
		Own:       decode.Own, Zone: func(string) *time.Location { return zone },
	})
	seen := map[schemas.ID]bool{}
	received := day.End.UnixNano()
	for i := range day.Deliveries {
		dl := &day.Deliveries[i]
		received += int64(20 * time.Millisecond)
		b, err := readSample(set, dl.Source, dl.Body(), received)
		if err != nil {
			t.Fatal(err)
		}
		if dl.History {
			b.Flags |= schemas.BatchBackfill
		}
		for k := range b.Events {
			if id := b.Events[k].ID; seen[id] {
				b.Events[k].Flags |= schemas.FlagDuplicate
				b.Records[k].Flags |= schemas.FlagDuplicate
			} else {
				seen[id] = true
			}
		}
		j.append(b)
	}
	j.run(context.Background())
	return j.alerts()
}
