package detectors

import (
	"fmt"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// transitionFold marks a raise that only adds to an alert that is open.
const transitionFold schemas.Transition = "fold"

// entityKey names what an alert of a detector is about.
type entityKey struct{ tenant, rule, kind, id string }

func (k entityKey) hash() uint64 {
	return hashString(hashString(hashString(hashString(0, k.tenant), k.rule), k.kind), k.id)
}

// ongoing is an alert that a detector has raised and keeps an eye on, so that
// it raises again when the matter grows and not at every event.
type ongoing struct {
	alert      schemas.Alert // as last raised, brought up to date by note
	tail       string        // the sentence behind the observed number
	scope      uint32        // source that it was seen in
	pending    int64         // events counted since the last raise
	slot       int64         // of the last raise
	told       float64       // observed at the last raise
	until      int64         // event time after which it is over
	settled    bool          // what started the run is known
	writes     bool          // writes are observed, not calls
	background bool
}

// pace returns how many slots lie between two raises of one episode: a window,
// unless alerts are resolved so soon that the last events would be missed.
func pace(quiet, window int64) int64 {
	if quiet >= 2*window {
		return windowSlots
	}
	return 1
}

// note counts one more event of an open episode. It reports whether it is time
// to raise again: that many slots have passed, or the count has doubled.
func (o *ongoing) note(ev *schemas.Event, observed float64, slot, quiet, pace int64) bool {
	t := eventTime(ev)
	o.pending++
	o.until = max(o.until, saturatingAdd(t, quiet))
	if when := unix(t); when.After(o.alert.LastSeen) {
		o.alert.LastSeen = when
	}
	if observed > o.alert.Observed {
		o.alert.Observed = observed
	}
	if n := len(o.alert.Evidence); n < schemas.MaxEvidence {
		o.alert.Evidence = append(o.alert.Evidence[:n:n], evidenceOf(ev)...)
	}
	if slot >= o.slot+pace || observed >= 2*o.told {
		o.slot = max(o.slot, slot)
		return true
	}
	return false
}

// advance raises what was counted, if it is time to, or the episode is over.
func (o *ongoing) advance(slot, mark, pace int64, raise func(schemas.Alert)) {
	if mark >= o.until || slot >= o.slot+pace {
		o.slot = max(o.slot, slot)
		o.flush(transitionFold, raise)
	}
}

// flush raises what was counted since the last raise.
func (o *ongoing) flush(t schemas.Transition, raise func(schemas.Alert)) {
	if o.pending == 0 && t != schemas.TransitionUpdate {
		return
	}
	o.alert.Reason = o.reason()
	a := o.alert
	a.Count, a.Transition = o.pending, t
	o.pending, o.told = 0, max(o.told, a.Observed)
	raise(a)
}

func (o *ongoing) reason() string { return fmt.Sprintf("%.0f %s", o.alert.Observed, o.tail) }

func (o *ongoing) save(e *Encoder) {
	e.Str(o.tail)
	e.Uint(uint64(o.scope))
	e.Int(o.pending)
	e.Int(o.slot)
	e.Float(o.told)
	e.Int(o.until)
	e.Bool(o.settled)
	e.Bool(o.writes)
	e.Bool(o.background)
	e.JSON(o.alert)
}

func (o *ongoing) load(d *Decoder) {
	o.tail, o.scope, o.pending, o.slot = d.Str(), uint32(d.Uint()), d.Int(), d.Int()
	o.told, o.until, o.settled = d.Float(), d.Int(), d.Bool()
	o.writes, o.background = d.Bool(), d.Bool()
	d.JSON(&o.alert)
}

func unix(t int64) time.Time { return time.Unix(0, t).UTC() }

func saveEntity(e *Encoder, k entityKey) {
	e.Str(k.tenant)
	e.Str(k.rule)
	e.Str(k.kind)
	e.Str(k.id)
}

func loadEntity(d *Decoder) entityKey { return entityKey{d.Str(), d.Str(), d.Str(), d.Str()} }

// over is the time until which an episode lasts that was forgotten.
const over = int64(-1 << 63)

// episodes are the alerts that a detector keeps an eye on.
type episodes struct{ *table[entityKey, ongoing] }

func newEpisodes(maxKeys int, name string, m *Metrics) *episodes {
	return &episodes{newTable(maxKeys, func(x *entry[entityKey, ongoing]) {
		x.val.until = over
		m.Evicted.WithLabelValues(name).Inc()
	})}
}

// current returns the episode that is open at that time, or nil. known saves
// the look-up while an episode lasts.
func (e *episodes) current(known **entry[entityKey, ongoing], at int64, key func() entityKey) *ongoing {
	x := *known
	if x == nil || x.val.until == over {
		x = e.use(key())
		*known = x
	}
	if x == nil || at >= x.val.until {
		return nil
	}
	return &x.val
}

// start opens an episode. It clones what it keeps of the key.
func (e *episodes) start(k entityKey, o ongoing) *ongoing {
	x := e.use(k)
	if x == nil {
		k.tenant, k.id = clone(k.tenant), clone(k.id)
		x = e.add(k)
	}
	x.val = o
	return &x.val
}

// tell opens an episode of the key, or counts the event into the one that is
// open. alert makes the alert but for its reason, of which it returns what
// stands behind the observed number.
func (e *episodes) tell(known **entry[entityKey, ongoing], ev *schemas.Event, observed float64, span, quiet int64, key func() entityKey, alert func() (schemas.Alert, string), raise func(schemas.Alert)) {
	at := eventTime(ev)
	slot := floorDiv(at, span)
	if o := e.current(known, at, key); o != nil {
		if o.note(ev, observed, slot, quiet, 1) {
			o.flush("", raise)
		}
		return
	}
	o := e.start(key(), ongoing{slot: slot, until: saturatingAdd(at, quiet), settled: true})
	o.alert, o.tail = alert()
	o.alert.Reason, o.told = o.reason(), o.alert.Observed
	raise(o.alert)
}

// advance raises what was counted into open episodes since, and forgets those
// that are over.
func (e *episodes) advance(slot, mark, pace int64, raise func(schemas.Alert)) {
	e.oldest(func(x *entry[entityKey, ongoing]) {
		x.val.advance(slot, mark, pace, raise)
		if mark >= x.val.until {
			x.val.until = over
			e.remove(x)
		}
	})
}

func saveEpisodes(e *Encoder, t *episodes) {
	saveTable(e, t.table, func(e *Encoder, x *entry[entityKey, ongoing]) { saveEntity(e, x.key); x.val.save(e) })
}

func loadEpisodes(d *Decoder, t *episodes) {
	loadTable(d, t.table, loadEntity, func(d *Decoder, x *entry[entityKey, ongoing]) { x.val.load(d) })
}
