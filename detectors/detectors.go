// Package detectors watches the journal and raises alerts. Engine is a cursor's
// consumer: it keeps the clocks (one watermark per tenant and source), offers
// every accepted activity event to each Detector, folds what they raise into
// episodes (one open alert per tenant, rule and entity), and appends each
// transition as an event of its own.
//
// Time comes from the journal only: from event times and from the received
// times of batches. A replay of the same journal raises the same alerts with
// the same ids, wherever it starts from a snapshot.
//
// A detector is one file that registers its kind in init.
package detectors

import (
	"log/slog"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// Detector looks for one kind of trouble. It is used by one goroutine, must not
// block and must not read any clock but the events' own.
type Detector interface {
	// Observe is called for every accepted activity event in journal order,
	// duplicates left out. The event is shared and read-only; strings that are
	// kept are cloned. Alerts are raised at once, at the event that makes them
	// true. A raised alert is whole but for what the book adds: id, sequence,
	// transition, times of decision, and names. Count is how many events this
	// raise adds (0 means 1). Transition update asks for the change to be told
	// even if it is not notably worse, and does nothing if no such alert is open;
	// transition open asks for it to be told when it was somebody else or
	// something else (actor, title) than last time.
	Observe(ev *schemas.Event, raise func(schemas.Alert))
	// Advance says how far event time has come in the source that is furthest.
	// It is called after every batch and tick. An alert that is raised here
	// names its tenant.
	Advance(watermark time.Time, raise func(schemas.Alert))
}

// Stateful is a Detector that remembers. Save writes everything that decides
// about future alerts; Load reads what Save wrote into a fresh detector. The
// same state gives the same bytes. A state that Load refuses is dropped
// loudly and the detector starts fresh.
type Stateful interface {
	Save(e *Encoder)
	Load(d *Decoder) error
}

// Heir is a Detector that can learn from what its twin for backfilled batches
// learned. History and the live stream never share windows, but a usual value
// learned from imported history is worth having on the first live day.
type Heir interface {
	Inherit(history Detector)
}

// Patient is a Detector whose alerts stay open longer or shorter than the
// engine's default after the last evidence.
type Patient interface {
	Quiet() time.Duration
}

// Deps is what the engine gives to every detector. All of it is shared by the
// detectors of one engine and used by one goroutine.
type Deps struct {
	Names   *Inventory                                       // names, owners and what the inventory says
	Origins *Origins                                         // what started a run
	Words   *Words                                           // what words of foreign records mean
	Access  func(ev *schemas.Event) (schemas.Access, string) // read or write, and how that is known
	Zone    func(tenant string) *time.Location               // time zone of a tenant
	MaxKeys int                                              // bound of keys per table
	Strict  bool                                             // only looked at, not run: what would be left out is an error
	Log     *slog.Logger
	Metrics *Metrics
}

var registry = plug.Registry[func(c plug.Config, d Deps) (Detector, error)]{Family: "detector"}

// Register adds a kind of detector. It is called from init and panics if the
// kind is there already.
func Register(kind string, open func(c plug.Config, d Deps) (Detector, error)) {
	registry.Register(kind, open)
}

// Open makes the detector that c describes. Faults in c name file and line.
func Open(c plug.Config, d Deps) (Detector, error) {
	open, err := registry.Lookup(c)
	if err != nil {
		return nil, err
	}
	return open(c, d)
}

// Kinds returns the registered kinds, sorted.
func Kinds() []string { return registry.Kinds() }
