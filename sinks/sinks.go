// Package sinks carries events out of the journal into the tools that a SOC
// has already. A Sink speaks one wire protocol and nothing else; the Forwarder
// is the cursor in front of it that filters, redacts, retries and accounts.
// What a receiver did not take is offered again until it does, or ends among
// the dead letters with the reason: nothing is dropped.
package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// Sink writes events to one receiver. Write is safe for concurrent use: several
// writes are in flight at once. Close is called once, after the last Write has
// returned.
type Sink interface {
	// Write sends as many events, from the first, as go into one request, and
	// says in the receipt how many these were, also beside an error. The
	// events belong to the caller and are read until Write returns, not
	// later. An error that is not a *WriteError counts as KindRetry.
	Write(ctx context.Context, evs []schemas.Event) (Receipt, error)
	Close() error
}

// Receipt says what one write carried and lets the caller wait until the
// receiver confirms it.
type Receipt struct {
	Events  int                             // how many events, from the first
	Bytes   int                             // their size on the wire, before compression
	Confirm func(ctx context.Context) error // nil: the receiver confirms nothing beyond having accepted it
}

// Wait returns nil when the receiver has confirmed the write, at once if it
// does not confirm. After an error all events of the write are to be sent
// again.
func (r Receipt) Wait(ctx context.Context) error {
	if r.Confirm == nil {
		return nil
	}
	return r.Confirm(ctx)
}

// Kind says what a failed write asks for.
type Kind uint8

// Kinds of failure.
const (
	KindRetry    Kind = iota // the same again, later
	KindAuth                 // needs a person (token, address, index): hold the cursor, raise a health event, try on
	KindTooLarge             // fewer events in one write; a single one is a dead letter
	KindRefused              // the content was refused: find the event and make it a dead letter
	KindPartial              // those in Rejected were refused, all others were taken
)

var kindNames = [...]string{"retry", "auth", "too_large", "refused", "partial"}

func (k Kind) String() string { return kindNames[k] }

// WriteError is what a Sink returns when a write was not taken as a whole.
type WriteError struct {
	Kind       Kind
	Code       string        // what the receiver answered, short and from a closed set: http_503, hec_6, ...
	RetryAfter time.Duration // > 0: no write to this receiver earlier
	Rejected   []Item        // KindPartial: the refused ones. KindRefused: which one the receiver blames, if it says
	Again      []int         // KindPartial: indexes, ascending, of those to send again; the others are not
	Err        error         // Mandatory. For people; contains no event data and no secret
}

// Item names one event of a write.
type Item struct {
	Index  int // in the events given to Write
	Code   string
	Reason string
}

func (e *WriteError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// asWriteError returns err as a *WriteError; a foreign error is one to retry.
func asWriteError(err error) *WriteError {
	if we, ok := errors.AsType[*WriteError](err); ok {
		return we
	}
	return &WriteError{Kind: KindRetry, Code: "error", Err: err}
}

// Deps is what the program gives to every sink.
type Deps struct {
	Log    *slog.Logger  // Mandatory.
	Health HealthFunc    // where a sink reports about itself; nil: the log only
	HTTP   ClientFactory // nil: NewClient
	DryRun bool          // only the config is checked: nothing is opened outside of the process, and nothing written
}

// idle stands in for a sink in a dry run.
type idle struct{}

func (idle) Write(context.Context, []schemas.Event) (Receipt, error) {
	return Receipt{}, errors.New("BUG: a sink of a dry run is written to")
}

func (idle) Close() error { return nil }

// HealthFunc makes a health event of h.
type HealthFunc func(ctx context.Context, h schemas.Health) error

// OpenFunc opens one kind of sink from its fields in the config.
type OpenFunc = func(ctx context.Context, c plug.Config, d Deps) (Sink, error)

var registry = plug.Registry[OpenFunc]{Family: "sink"}

// Register adds a kind of sink; for init functions. The config struct of the
// kind has a field of type Common with the tag yaml:",inline".
func Register(kind string, open OpenFunc) { registry.Register(kind, open) }

// Kinds returns the kinds that Open knows, sorted.
func Kinds() []string { return registry.Kinds() }

// Open opens the sink that c describes and returns the settings that all
// sinks share, for NewForwarder. It sends nothing.
func Open(ctx context.Context, c plug.Config, d Deps) (Sink, Common, error) {
	open, err := registry.Lookup(c)
	if err != nil {
		return nil, Common{}, err
	}
	entry := struct {
		Common Common         `yaml:",inline"`
		Rest   map[string]any `yaml:",inline"` // the kind's own fields, which open checks
	}{Common: DefaultCommon()}
	if err := c.Decode(&entry); err != nil {
		return nil, Common{}, err
	}
	if err := entry.Common.check(); err != nil {
		return nil, Common{}, c.Errorf("%v", err)
	}
	d.Log = d.Log.With("sink", c.Name)
	d.Health = signed(d.Health, c.Name)
	if d.HTTP == nil {
		d.HTTP = NewClient
	}
	s, err := open(ctx, c, d)
	if err != nil {
		return nil, Common{}, err
	}
	return s, entry.Common, nil
}

// signed fills in who speaks and when. The result is never nil.
func signed(say HealthFunc, name string) HealthFunc {
	return func(ctx context.Context, h schemas.Health) error {
		if say == nil {
			return nil
		}
		h.Consumer, h.At = name, time.Now().UTC()
		return say(ctx, h)
	}
}

// Prober is a Sink that can ask its receiver whether it is well without
// sending an event.
type Prober interface {
	Probe(ctx context.Context) error
}

// Windowed is a Sink whose receiver takes an event at its own time only while
// that is not older than past, and what it does with an older one. A replay asks
// before it sends such events.
type Windowed interface {
	Window() (past time.Duration, what string)
}

// Common are the settings that every sink has beside its own.
type Common struct {
	// Filter is a CEL expression over the fields of an event, such as
	// access != "read" && tool != "search"; record["a.b"] is a value of the
	// record itself. Empty forwards all of Classes.
	Filter string `yaml:"filter"`
	// Tenants limits the sink to these tenants. Empty means all.
	Tenants []string `yaml:"tenants"`
	// Classes of events to forward: activity, alert, control, evidence, health.
	// Evidence are the signed heads, one a minute while events come, by which
	// a copy is held against the journal (agentrail verify --copy).
	Classes []string `yaml:"classes"`
	// Format is how an event is written: native, ocsf (1.8; ocsf-1.9-dev is
	// what its next version will be), ecs (Elastic), udm (Google SecOps), cef
	// or leef. Where a receiver takes JSON, a line of cef or leef is a string.
	Format string `yaml:"format"`
	// Content sends records as they were received, with prompts, arguments
	// and responses. Off, a record goes out as its normalised fields and the
	// digest of the rest.
	Content bool `yaml:"content"`
	// Redact lists what is done with fields even so: each a name of an event
	// field (actor_email) or a dotted path in the record (request.params), which
	// is replaced by its digest, or {field: ..., action: keep|mask|hash|drop}.
	Redact []Redaction `yaml:"redact"`
	// RedactKey is the key of the digests: HMAC-SHA-256 instead of SHA-256, so
	// that nobody without it can try out values.
	RedactKey     plug.Secret `yaml:"redact_key"`
	RedactKeyFile string      `yaml:"redact_key_file"`
	// From says where a new sink starts: now, or start for all that is kept.
	From string `yaml:"from"`
	// InFlight is how many groups of batches are delivered at once.
	InFlight int `yaml:"in_flight"`
	// Batch bounds one write.
	Batch BatchLimits `yaml:"batch"`
}

// BatchLimits bound one write to a receiver.
type BatchLimits struct {
	MaxBytes  plug.Bytes    `yaml:"max_bytes"`  // of the encoded events, before compression
	MaxEvents int           `yaml:"max_events"` // per write
	Linger    plug.Duration `yaml:"linger"`     // how long to wait for more events
}

// DefaultCommon returns the settings that hold where the config says nothing.
func DefaultCommon() Common {
	return Common{
		Classes:  []string{"activity", "alert", "evidence"},
		Format:   "native",
		From:     "now",
		InFlight: 4,
		Batch:    BatchLimits{MaxBytes: 1 << 20, MaxEvents: 4096, Linger: plug.Duration(200 * time.Millisecond)},
	}
}

// Start returns where a cursor that is new begins.
func (c Common) Start() journal.From {
	if c.From == "start" {
		return journal.FromStart()
	}
	return journal.FromNow()
}

// Bounds of the common settings.
const (
	maxInFlight   = 64
	minBatchBytes = 4 << 10
	maxBatchBytes = 64 << 20
)

func (c Common) check() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, name := range c.Classes {
		if _, ok := schemas.ParseClass(name); !ok {
			fault("classes: unknown class %q; known: activity, alert, control, evidence, health", name)
		}
	}
	if len(c.Classes) == 0 {
		fault("classes: list is empty; nothing would be forwarded")
	}
	if _, ok := format.Lookup(c.Format); !ok {
		fault("format: unknown format %q; known: %s", c.Format, strings.Join(format.Names(), ", "))
	}
	if c.From != "now" && c.From != "start" {
		fault("from: %q is neither now nor start", c.From)
	}
	if c.InFlight < 1 || c.InFlight > maxInFlight {
		fault("in_flight: %d is not between 1 and %d", c.InFlight, maxInFlight)
	}
	if c.Batch.MaxEvents < 1 {
		fault("batch.max_events: %d is below 1", c.Batch.MaxEvents)
	}
	if c.Batch.MaxBytes < minBatchBytes || c.Batch.MaxBytes > maxBatchBytes {
		fault("batch.max_bytes: %d is not between 4KiB and 64MiB", c.Batch.MaxBytes)
	}
	if c.Batch.Linger < 0 {
		fault("batch.linger: must not be negative")
	}
	if _, err := CompileFilter(c.Filter); err != nil {
		errs = append(errs, err)
	}
	if _, err := newRedactor(c); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
