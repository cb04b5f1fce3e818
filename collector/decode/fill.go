package decode

import (
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/agentrail/agentrail/internal/jsonscan"
	"github.com/agentrail/agentrail/schemas"
)

// reader reads the records of one batch. Readers are pooled per mapping; all
// that they keep between batches are their buffers and caches.
type reader struct {
	p    *program
	b    *schemas.Batch
	scan jsonscan.Scanner

	set  uint64          // fields found, a bit each
	prio [nFields]uint8  // of what was found
	at   [nFields]uint32 // index in scan.Hits
	rank int             // of the worst outcome found
	text string          // the outcome as the record says it
	logn string          // log name that the record gives
	out  schemas.Outcome // of text
	when fit             // how the time was read
	got  schemas.Flags   // what filling noticed

	arena  []byte // unescaped strings; only ever appended to
	low    []byte // lower-cased text, reused
	calls  map[string]*route
	access map[string]schemas.Access
}

// cacheSize bounds each cache of a reader; a full one is emptied.
const cacheSize = 1024

// fill makes an event of the values that the scan of data found.
func (r *reader) fill(ev *schemas.Event, data []byte) {
	r.logn, r.when, r.got = "", unusable, notes(r.scan.Notes)
	r.choose(ev, data)
	for set := r.set & r.p.convert; set != 0; set &= set - 1 {
		f := bits.TrailingZeros64(set)
		r.field(ev, data, f, &r.scan.Hits[r.at[f]])
	}
	for _, f := range r.p.fixed {
		if r.set&(1<<f) == 0 {
			r.assign(ev, f, r.p.rules[f].fixed)
		}
	}
	r.kind(ev, data)
	r.call(ev)
	for _, f := range r.p.bound {
		begins := func(with string) bool { return strings.HasPrefix(ev.Action, with) }
		if !slices.ContainsFunc(r.p.rules[f].when, begins) {
			r.assign(ev, f, "")
		}
	}
	r.outcome(ev, data)
}

// choose decides for each field which of the values found it takes: the one
// whose path stands first in the mapping; of one path the last, as most JSON
// readers do, but of list elements the first. Plain text is assigned at once.
func (r *reader) choose(ev *schemas.Event, data []byte) {
	r.set, r.rank, r.text, r.out = 0, -1, "", schemas.OutcomeUnknown
	for i := range r.scan.Hits {
		h := &r.scan.Hits[i]
		if h.Kind == jsonscan.Null || (h.Kind == jsonscan.String && h.Start == h.End) {
			continue
		}
		s := &r.p.slots[h.Slot]
		if s.text && h.Kind < jsonscan.Object {
			if r.prefer(s.one) {
				*textOf(ev, s.one.field) = r.string(data, h)
			}
			continue
		}
		for _, t := range s.targets {
			if !fits(h.Kind, t.field) || (t.field == fOutcome && !r.worse(data, h, t)) {
				continue
			}
			if t.field == fOutcome || r.prefer(t) {
				r.set |= 1 << t.field
				r.prio[t.field], r.at[t.field] = t.prio, uint32(i)
			}
		}
	}
}

// prefer reports whether a value counts instead of the one found so far, and
// notes that it does.
func (r *reader) prefer(t target) bool {
	bit := uint64(1) << t.field
	if r.set&bit != 0 {
		if have := r.prio[t.field]; t.prio > have || (t.prio == have && t.list) {
			return false
		}
	}
	r.set |= bit
	r.prio[t.field] = t.prio
	return true
}

// fits reports whether a field takes values of that kind: an object tells the
// kind of an event or that there was an error, a list nothing.
func fits(k jsonscan.Kind, field uint8) bool {
	if k == jsonscan.Object {
		return field == fPresent || field == fError
	}
	return k != jsonscan.Array && field != fPresent
}

// ranks order outcomes from harmless to grave.
var ranks = [...]int{schemas.OutcomeOK: 1, schemas.OutcomeUnknown: 2, schemas.OutcomeCancelled: 3, schemas.OutcomeError: 4, schemas.OutcomeDenied: 5}

// worse reports whether an outcome counts instead of the one found so far.
func (r *reader) worse(data []byte, h *jsonscan.Hit, t target) bool {
	text := r.string(data, h)
	out := r.p.outcomes[string(r.lower(text))]
	if r.set&(1<<fOutcome) != 0 {
		have := r.prio[fOutcome]
		if t.prio > have || (t.prio == have && t.list && ranks[out] <= r.rank) {
			return false
		}
	}
	r.rank, r.text, r.out = ranks[out], text, out
	return true
}

// field converts what was found and assigns it.
func (r *reader) field(ev *schemas.Event, data []byte, f int, h *jsonscan.Hit) {
	rule := &r.p.rules[f]
	text := r.string(data, h)
	switch f {
	case fTime:
		r.time(ev, data, text)
		return
	case fDuration:
		var how fit
		ev.Duration, how = parseDuration(text, rule.unit)
		if how == saturated {
			r.got |= schemas.FlagNumberTruncated
		}
		return
	case fStatus:
		r.status(ev, text)
		return
	}
	if rule.tail {
		text = text[strings.LastIndexByte(text, '/')+1:]
	}
	if len(rule.values) > 0 {
		if v, ok := rule.values[string(r.lower(text))]; ok {
			text = v
		}
	}
	r.assign(ev, f, text)
}

// assign sets a field that is made of text.
func (r *reader) assign(ev *schemas.Event, f int, s string) {
	switch f {
	case fLog:
		r.logn = s
	case fEndpoint:
		ev.Endpoint = cutPath(s)
	case fInitiator:
		ev.Initiator, _ = schemas.ParseInitiator(s)
	case fAccess:
		ev.Access, _ = schemas.ParseAccess(s)
	case fAutonomous:
		ev.Autonomous = tri(s)
	case fScrubbed:
		if tri(s) == schemas.TriYes {
			r.got |= schemas.FlagScrubbed
		}
	default:
		*textOf(ev, uint8(f)) = s
	}
}

func tri(s string) schemas.Tri {
	switch {
	case strings.EqualFold(s, "true"), strings.EqualFold(s, "yes"):
		return schemas.TriYes
	case strings.EqualFold(s, "false"), strings.EqualFold(s, "no"):
		return schemas.TriNo
	}
	return schemas.TriUnknown
}

// time takes the first path, in the order of the mapping, that holds a usable
// time.
func (r *reader) time(ev *schemas.Event, data []byte, text string) {
	unit := r.p.rules[fTime].unit
	if ev.Time, r.when = parseTime(text, unit); r.when != unusable {
		return
	}
	best := uint8(math.MaxUint8)
	for _, h := range r.scan.Hits {
		for _, t := range r.p.slots[h.Slot].targets {
			if t.field != fTime || t.prio >= best || h.Kind < jsonscan.Number || h.Kind > jsonscan.String {
				continue
			}
			if v, how := parseTime(r.string(data, &h), unit); how != unusable {
				best, ev.Time, r.when = t.prio, v, how
			}
		}
	}
}

func (r *reader) status(ev *schemas.Event, text string) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		f, ferr := strconv.ParseFloat(text, 64)
		if ferr != nil && text != "" && text[0] != '-' && (text[0] < '0' || text[0] > '9') {
			return // a word, not a number
		}
		if n = int64(f); ferr != nil || float64(n) != f || n != int64(int32(n)) {
			r.got |= schemas.FlagNumberTruncated
			return
		}
	}
	ev.Status = int32(n)
}
