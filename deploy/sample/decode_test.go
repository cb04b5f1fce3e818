package sample_test

import (
	"testing"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/schemas"
)

// reader reads deliveries as the server's intake does.
type reader struct {
	t   *testing.T
	set *decode.Set
}

func newReader(t *testing.T) *reader {
	t.Helper()
	set, err := decode.Open("")
	if err != nil {
		t.Fatal(err)
	}
	return &reader{t: t, set: set}
}

// read returns the delivery as a batch that was received when the source
// handed it over.
func (r *reader) read(dl *sample.Delivery) *schemas.Batch {
	r.t.Helper()
	m, err := r.set.Mapping(dl.Source)
	if err != nil {
		r.t.Fatal(err)
	}
	b := &schemas.Batch{Body: dl.Body()}
	b.Tenant, b.Source, b.Class = "acme", dl.Source, schemas.ClassActivity
	b.Received, b.ContentType = dl.At.UnixNano(), "application/x-ndjson"
	if dl.History {
		b.Flags |= schemas.BatchBackfill
	}
	rejects, err := m.Read(b, decode.Limits{})
	if err != nil || len(rejects) > 0 {
		r.t.Fatalf("read delivery of %s: %v, %d rejected: %+v", dl.Source, err, len(rejects), rejects)
	}
	return b
}

// TestRecordsAreKnownToTheMappings reads every record with the shipped
// mappings. Only the ten records that are planted for it are of a kind or an
// endpoint that the mappings do not know.
func TestRecordsAreKnownToTheMappings(t *testing.T) {
	d, r := theDay(), newReader(t)
	unknown := map[string]int{}
	initiators := map[schemas.Initiator]int{}
	denials := map[schemas.Denial]int{}
	for i := range d.Deliveries {
		dl := &d.Deliveries[i]
		b := r.read(dl)
		if len(b.Events) != len(dl.Records) {
			t.Fatalf("%d events of %d records", len(b.Events), len(dl.Records))
		}
		for j := range b.Events {
			ev, rec := &b.Events[j], &dl.Records[j]
			if ev.SourceID != rec.ID || ev.Time != rec.Time.UnixNano() {
				t.Fatalf("record %s of %s was read as %s of %s", rec.ID, rec.Time, ev.SourceID, ev.When())
			}
			if ev.Flags&schemas.FlagUnknownKind != 0 {
				unknown[ev.Kind]++
			}
			if ev.Flags&schemas.FlagUnknownEndpoint != 0 {
				unknown[ev.Endpoint]++
			}
			if f := ev.Flags &^ (schemas.FlagUnknownKind | schemas.FlagUnknownEndpoint | schemas.FlagScrubbed); f != 0 {
				t.Fatalf("record has the flags %v:\n%s", f.Names(), ev.Raw)
			}
			if ev.Subscription != "" || ev.Owner != "" {
				t.Fatalf("record names subscription %q and owner %q:\n%s", ev.Subscription, ev.Owner, ev.Raw)
			}
			if ev.Actor == "" {
				if ev.Action != "inventory.snapshot" {
					t.Fatalf("record names nobody:\n%s", ev.Raw)
				}
			}
			if ev.Action == "tool.execute" && dl.Source == sample.SourceAudit && ev.Access == schemas.AccessUnknown {
				unknown["tool "+ev.Tool]++
			}
			initiators[ev.Initiator]++
			denials[ev.Denial]++
		}
	}
	for what, n := range unknown {
		if what != "agent_memory" && what != "/api/v1/getagentmemory" {
			t.Errorf("%d records of unknown %s", n, what)
		} else if n != 5 {
			t.Errorf("%d records of %s, want 5", n, what)
		}
	}
	for _, i := range []schemas.Initiator{schemas.InitiatorHuman, schemas.InitiatorSchedule, schemas.InitiatorContent} {
		if initiators[i] < 100 {
			t.Errorf("%d records name the initiator %s", initiators[i], i)
		}
	}
	for _, n := range []schemas.Denial{schemas.DenialPolicy, schemas.DenialExpired, schemas.DenialThrottled, schemas.DenialSpend} {
		if denials[n] < 20 {
			t.Errorf("%d records were denied by %v", denials[n], n)
		}
	}
}
