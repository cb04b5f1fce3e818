// Package watch plays a labelled day to the shipped mappings and detectors, in
// memory and as the journal would: one delivery is one batch, what was taken
// before is flagged a duplicate, and alerts come back to the engine.
package watch

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/detectors"
	_ "github.com/agentrail/agentrail/detectors/sigma" // the kind sigma
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// Watch is an engine with the detectors at their defaults, and what it made of
// the deliveries so far. It is used by one goroutine.
type Watch struct {
	Alerts []schemas.Alert // all transitions, in order

	set    *decode.Set
	engine *detectors.Engine
	names  map[string]string // event id -> insertId
	offset uint64
	now    int64
	back   []*schemas.Batch // alerts on their way back to the engine
}

// Default are the kinds of detectors that are on unless a config says otherwise.
var Default = []string{"subscription", "burst", "denial", "rateband", "shape", "sigma", "gatecheck", "joined", "silence", "tampering"}

// New returns a watch to which nothing was fed yet, with detectors of these
// kinds; of the default ones if none is named.
func New(kinds ...string) (*Watch, error) {
	if len(kinds) == 0 {
		kinds = Default
	}
	set, err := decode.Open("")
	if err != nil {
		return nil, err
	}
	w := &Watch{set: set, names: map[string]string{}}
	var configs []plug.Config
	for _, kind := range kinds {
		c, err := plug.NewConfig(kind, kind, "")
		if err != nil {
			return nil, err
		}
		configs = append(configs, c)
	}
	zone, err := time.LoadLocation(sample.Zone)
	if err != nil {
		return nil, err
	}
	w.engine, err = detectors.NewEngine(detectors.Options{
		Detectors: configs, Append: w.append, Own: decode.Own, Vocabulary: set.Vocabulary(), Tools: set.Tool,
		Zone: func(string) *time.Location { return zone },
	})
	return w, err
}

// Day plays the whole day; delivery i is taken at received(i).
func (w *Watch) Day(ctx context.Context, d *sample.Day, received func(i int) time.Time) error {
	for i := range d.Deliveries {
		if err := w.Feed(ctx, &d.Deliveries[i], received(i)); err != nil {
			return err
		}
	}
	return nil
}

// tick is how long the journal's time stands still at most.
const tick = 30 * time.Second

// Happen plays deliveries at the times at which their sources hand them over,
// with the journal's ticks between them. What is history is there at the start.
func (w *Watch) Happen(ctx context.Context, d *sample.Day) error {
	last := d.Start
	for i := range d.Deliveries {
		dl := &d.Deliveries[i]
		if !dl.History {
			if err := w.pass(ctx, last, dl.At); err != nil {
				return err
			}
			last = dl.At
		}
		if err := w.Feed(ctx, dl, last); err != nil {
			return err
		}
	}
	return w.pass(ctx, last, d.End)
}

// pass lets the journal's time go on without data.
func (w *Watch) pass(ctx context.Context, from, to time.Time) error {
	for at := from.Add(tick); at.Before(to); at = at.Add(tick) {
		w.now = max(w.now, at.UnixNano())
		b := &schemas.Batch{Header: schemas.Header{Received: w.now, Offset: w.offset, Flags: schemas.BatchTick | schemas.BatchSelf, Class: schemas.ClassHealth}}
		w.offset++
		batches := append(w.back, b)
		w.back = nil
		if err := w.engine.Consume(ctx, batches); err != nil {
			return err
		}
	}
	return nil
}

// Read returns the delivery as a batch that was received when the source
// handed it over. A record that the mapping rejects is an error.
func (w *Watch) Read(dl *sample.Delivery) (*schemas.Batch, error) {
	kind, _, _ := strings.Cut(dl.Source, "-") // audit-billing is an audit log
	if dl.Source == sample.SourceTraces {
		kind = decode.OTLP
	}
	m, err := w.set.Mapping(kind)
	if err != nil {
		return nil, err
	}
	b := &schemas.Batch{Header: schemas.Header{
		Tenant: "acme", Source: cmp.Or(dl.Name, dl.Source), Class: schemas.ClassActivity, Received: dl.At.UnixNano(), ContentType: "application/x-ndjson",
	}, Body: dl.Body()}
	if dl.History {
		b.Flags |= schemas.BatchBackfill
	}
	read := m.Read
	if kind == decode.OTLP {
		read = m.ReadSpans
	}
	rejects, err := read(b, decode.Limits{})
	if err == nil && len(rejects) > 0 {
		err = fmt.Errorf("%d rejected: %+v", len(rejects), rejects)
	}
	if err != nil {
		return nil, fmt.Errorf("read delivery of %s: %w", dl.Source, err)
	}
	return b, nil
}

// Feed gives one delivery to the engine, and before it the alerts that the
// engine has appended since.
func (w *Watch) Feed(ctx context.Context, dl *sample.Delivery, received time.Time) error {
	b, err := w.Read(dl)
	if err != nil {
		return err
	}
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
		if w.names[id] = ev.SourceID; ev.Kind == schemas.KindSpan {
			w.names[id] = ev.Trace
		}
	}
	batches := append(w.back, b)
	w.back = nil
	return w.engine.Consume(ctx, batches)
}

func (w *Watch) append(_ context.Context, b *schemas.Batch) (uint64, error) {
	for _, r := range b.Records {
		var a schemas.Alert
		if err := json.Unmarshal(b.Body[r.Start:r.Start+r.Length], &a); err != nil {
			return 0, err
		}
		w.Alerts = append(w.Alerts, a)
	}
	b.Offset = w.offset
	w.offset++
	w.back = append(w.back, b)
	return b.Offset, nil
}

// Name returns the insertId of the record with that event id, or "".
func (w *Watch) Name(eventID string) string { return w.names[eventID] }
