// Package sample makes a labelled day of agent-platform records: what some 40
// agents and 200 users do in 24 hours, with planted incidents and, for each of
// them, a benign twin. The records have the platform's real forms (Cloud
// Logging entries of its audit log and of its customer event log) and hold no
// field that the platform is not known to write. The labels lie apart from the
// records, so that nothing that reads the records can see them.
//
// The same options make the same bytes, on every machine.
package sample

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// Names of the sources that the sample's records belong to, as they stand in
// the path of the intake.
const (
	SourceAudit       = "audit"       // audited API calls
	SourceWorkflowRun = "workflowrun" // customer events
	SourceTraces      = "traces"      // OTLP requests, in Weeks only
)

// Zone is the time zone of the sample's tenant. Detectors that tell working
// hours from off-hours have to be given this zone.
const Zone = "America/New_York"

// Options say what day to make. The zero value of each field has the default
// named beside it.
type Options struct {
	Seed   uint64    // varies times, names and sizes; 0 is a seed like any other
	End    time.Time // when the day ends; default: now, to the second
	Agents int       // default 40, at least 12
	Users  int       // default 200, at least 60

	// World makes the agents and the people, so that days of several seeds can be
	// of the same ones. Default: Seed.
	World uint64

	// Rate is how much ordinary traffic there is, as a multiple of the usual:
	// background runs and what people do by hand. Incidents and twins stay as
	// they are. Default 1.
	Rate float64

	// Strength is how large incidents and their twins are, as a multiple of the
	// usual. Default 1.
	Strength float64

	// LowerCase is the share of customer events in the form of a BigQuery row:
	// keys below jsonPayload in lower case, latencies as strings. Default 0.15;
	// negative for none.
	LowerCase float64

	// Weekends lets people rest on Saturdays and Sundays of their own zone. By
	// default every day is a working day, so that a day made on a Sunday is as
	// full as any other.
	Weekends bool
}

// Record is one record as its source would write it.
type Record struct {
	Source string    // of the delivery
	ID     string    // the record's insertId; of a trace its id
	Time   time.Time // when it happened, as written in the record
	Body   []byte    // one JSON object without a line end, or an OTLP request as protobuf; must not be changed
}

// Delivery is what a source hands over in one request: some hundred records in
// the order in which they became known, which is not always the order of time.
type Delivery struct {
	Source  string
	Name    string    // of the source, where it is not Source
	At      time.Time // when the source hands it over
	History bool      // from before the day: to be sent as history, so that nobody is told
	Repeat  bool      // the whole delivery was sent before
	Records []Record
}

// Day is a labelled day. It is not changed after Generate and may be read by
// several goroutines.
type Day struct {
	Options    Options
	Start, End time.Time  // the day itself; history lies before Start
	Deliveries []Delivery // history first, then the day, in order of delivery
	Labels     []Label    // in order of their first record
	History    int        // records before Start, without repeats
	Records    int        // all records, without repeats
}

// Generate makes the day. It takes a second or so and about 100 MB.
func Generate(o Options) *Day {
	o = o.withDefaults()
	g := newGenerator(o)
	g.history()
	g.ordinary()
	g.plant()
	return g.deliver()
}

// All yields every record in order of delivery, repeats included.
func (d *Day) All() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for _, dl := range d.Deliveries {
			for _, r := range dl.Records {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// Benign returns how many records belong to no incident; twins are benign.
func (d *Day) Benign() int {
	n := d.Records
	for _, l := range d.Labels {
		if !l.Twin {
			n -= len(l.Records)
		}
	}
	return n
}

// Body returns the delivery as NDJSON; of traces as one OTLP request.
func (d *Delivery) Body() []byte {
	n := 0
	for _, r := range d.Records {
		n += len(r.Body) + 1
	}
	b := make([]byte, 0, n)
	for _, r := range d.Records {
		if b = append(b, r.Body...); d.Source != SourceTraces { // requests one after the other are one
			b = append(b, '\n')
		}
	}
	return b
}

func (o Options) withDefaults() Options {
	if o.End.IsZero() {
		o.End = time.Now()
	}
	o.End = o.End.UTC().Truncate(time.Second)
	o.World = cmp.Or(o.World, o.Seed)
	o.Agents = max(cmp.Or(o.Agents, 40), 12)
	o.Users = max(cmp.Or(o.Users, 200), 60)
	if o.Rate <= 0 {
		o.Rate = 1
	}
	if o.Strength <= 0 {
		o.Strength = 1
	}
	if o.LowerCase == 0 {
		o.LowerCase = 0.15
	}
	return o
}

// entry is a record on its way: it carries what the record itself must not.
type entry struct {
	Record
	at    time.Time // when its source hands it over
	label int       // index into generator.labels, or -1
	pack  int       // 0, or the number of a delivery of its own
}

func sortEntries(es []entry) {
	slices.SortStableFunc(es, func(a, b entry) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.ID, b.ID))
	})
}
