package decode

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
	"unsafe"

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
		if !strings.HasPrefix(ev.Action, r.p.rules[f].when) {
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

// texts has the places of the fields that take text as it is.
var texts = [nFields]uintptr{
	fSourceID: unsafe.Offsetof(schemas.Event{}.SourceID), fActor: unsafe.Offsetof(schemas.Event{}.Actor),
	fActorEmail: unsafe.Offsetof(schemas.Event{}.ActorEmail), fActorType: unsafe.Offsetof(schemas.Event{}.ActorType),
	fDepartment: unsafe.Offsetof(schemas.Event{}.Department), fAgent: unsafe.Offsetof(schemas.Event{}.Agent),
	fName: unsafe.Offsetof(schemas.Event{}.Name), fOwner: unsafe.Offsetof(schemas.Event{}.Owner),
	fSubscription: unsafe.Offsetof(schemas.Event{}.Subscription), fRun: unsafe.Offsetof(schemas.Event{}.Run),
	fSession: unsafe.Offsetof(schemas.Event{}.Session), fTrace: unsafe.Offsetof(schemas.Event{}.Trace),
	fSpan: unsafe.Offsetof(schemas.Event{}.Span), fAction: unsafe.Offsetof(schemas.Event{}.Action),
	fSourceAction: unsafe.Offsetof(schemas.Event{}.SourceAction), fMethod: unsafe.Offsetof(schemas.Event{}.Method),
	fTool: unsafe.Offsetof(schemas.Event{}.Tool), fTarget: unsafe.Offsetof(schemas.Event{}.Target),
	fIP: unsafe.Offsetof(schemas.Event{}.IP), fUserAgent: unsafe.Offsetof(schemas.Event{}.UserAgent),
}

// textOf returns the place of a field that has one in texts.
func textOf(ev *schemas.Event, field uint8) *string {
	return (*string)(unsafe.Add(unsafe.Pointer(ev), texts[field]))
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

// kind sets the kind, and what the kind alone says about action and access.
func (r *reader) kind(ev *schemas.Event, data []byte) {
	p, name := r.p, ""
	switch {
	case p.kindConst.name != "":
		r.known(ev, p.kindConst)
		return
	case p.kindLog:
		name = r.b.Log
	case r.set&(1<<fKind) != 0:
		name = r.string(data, &r.scan.Hits[r.at[fKind]])
	case r.set&(1<<fPresent) != 0:
		name = p.slots[r.scan.Hits[r.at[fPresent]].Slot].kind
	}
	if name == "" || len(name) > 64 {
		name = p.kindDefault
	}
	k, ok := p.kinds[string(r.lower(name))]
	if !ok {
		k.name = strings.ToLower(name)
		r.got |= schemas.FlagUnknownKind
	}
	r.known(ev, k)
}

func (r *reader) known(ev *schemas.Event, k kind) {
	ev.Kind = k.name
	fallBack(&ev.Action, k.action)
	if ev.Access == schemas.AccessUnknown {
		ev.Access = k.access
	}
}

// call sets what the endpoint and the tool say about action and access.
func (r *reader) call(ev *schemas.Event) {
	given := r.set&(1<<fAccess) != 0 && ev.Access != schemas.AccessUnknown
	if ev.Endpoint != "" {
		rt := r.route(ev)
		if rt.unknown {
			r.got |= schemas.FlagUnknownEndpoint
		}
		if ev.Action == "" {
			ev.Action = rt.action
		}
		if !given {
			ev.Access = rt.access
		}
	}
	if ev.Action == "" {
		ev.Action = "unknown"
	}
	if ev.Tool != "" && !given && ev.Action == "tool.execute" {
		ev.Access = r.tool(ev.Tool)
	}
}

// route looks the endpoint up, and in the table only if it is a new one.
func (r *reader) route(ev *schemas.Event) *route {
	r.low = append(append(append(r.low[:0], ev.Method...), ' '), ev.Endpoint...)
	if rt := r.calls[string(r.low)]; rt != nil {
		return rt
	}
	rt, parts := r.p.paths.find(ev.Method, ev.Endpoint)
	for i, part := range parts {
		switch rt.holes[i].field {
		case fAgent:
			fallBack(&ev.Agent, part)
		case fRun:
			fallBack(&ev.Run, part)
		case fSubscription:
			fallBack(&ev.Subscription, part)
		case fTool:
			fallBack(&ev.Tool, part)
		case fTarget:
			fallBack(&ev.Target, part)
		}
	}
	if len(parts) == 0 && len(r.low) < 256 {
		if r.calls == nil || len(r.calls) >= cacheSize {
			r.calls = map[string]*route{}
		}
		r.calls[string(r.low)] = rt
	}
	return rt
}

func fallBack(s *string, other string) {
	if *s == "" {
		*s = other
	}
}

func (r *reader) tool(name string) schemas.Access {
	a, ok := r.access[name]
	if ok {
		return a
	}
	if a = accessOf(r.p.tools, name); len(name) < 256 {
		if r.access == nil || len(r.access) >= cacheSize {
			r.access = map[string]schemas.Access{}
		}
		r.access[strings.Clone(name)] = a
	}
	return a
}

// outcome weighs, in this order: a code that names a denial, a status that
// says no, an error text (also behind a 200), the outcome as a word, a code of
// another kind, a status that says yes.
func (r *reader) outcome(ev *schemas.Event, data []byte) {
	code, failure, failed := "", "", r.set&(1<<fError) != 0
	if r.set&(1<<fCode) != 0 {
		code = r.string(data, &r.scan.Hits[r.at[fCode]])
	}
	if failed {
		switch h := &r.scan.Hits[r.at[fError]]; h.Kind {
		case jsonscan.String, jsonscan.Number:
			failure = r.string(data, h)
		case jsonscan.False:
			failed = false
		}
	}
	ev.OutcomeText = r.text
	byStatus, denial := r.p.status(ev.Status)
	if d := r.denial(code, failure); d != schemas.DenialNone {
		ev.Denial, ev.Outcome = d, schemas.OutcomeDenied
		if d == schemas.DenialThrottled {
			ev.Outcome = schemas.OutcomeError
		}
	} else {
		switch {
		case byStatus > schemas.OutcomeOK:
			ev.Outcome, ev.Denial = byStatus, denial
		case failed:
			ev.Outcome = schemas.OutcomeError
			if r.out == schemas.OutcomeDenied {
				ev.Outcome = r.out
			}
		case r.out != schemas.OutcomeUnknown:
			ev.Outcome = r.out
		case code != "" && r.text == "" && byStatus == schemas.OutcomeUnknown:
			ev.Outcome = schemas.OutcomeError
		case r.text == "":
			ev.Outcome = byStatus
		}
		if ev.Outcome == schemas.OutcomeDenied && ev.Denial == schemas.DenialNone {
			ev.Denial = schemas.DenialPolicy
		}
	}
	if ev.Outcome != schemas.OutcomeOK {
		if ev.Reason = code; code == "" {
			ev.Reason = failure
		}
	}
}

// denial says what kind of no a code, or the first word of an error text, is.
func (r *reader) denial(code, failure string) schemas.Denial {
	if code != "" {
		if d := r.p.denials[string(r.lower(code))]; d != schemas.DenialNone {
			return d
		}
	}
	if failure == "" {
		return schemas.DenialNone
	}
	n := 0
	for n < len(failure) && n < 64 && (failure[n] == '_' || failure[n]-'0' <= 9 || failure[n]|0x20-'a' <= 'z'-'a') {
		n++
	}
	return r.p.denials[string(r.lower(failure[:n]))]
}

func (p *program) status(code int32) (schemas.Outcome, schemas.Denial) {
	if code != 0 {
		for _, s := range p.statuses {
			if code >= s.from && code <= s.to {
				return s.outcome, s.denial
			}
		}
	}
	return schemas.OutcomeUnknown, schemas.DenialNone
}

// string returns the text of a value: a view into the data, or into the arena
// if it had to be unescaped.
func (r *reader) string(data []byte, h *jsonscan.Hit) string {
	if h.Escaped {
		return r.unescape(data, h)
	}
	return jsonscan.View(data[h.Start:h.End])
}

func (r *reader) unescape(data []byte, h *jsonscan.Hit) string {
	if n := int(h.End-h.Start) * 3; cap(r.arena)-len(r.arena) < n {
		r.arena = make([]byte, 0, max(n, 4096))
	}
	from := len(r.arena)
	r.arena = jsonscan.Unescape(r.arena, data[h.Start:h.End])
	return jsonscan.View(r.arena[from:])
}

// lower lower-cases ASCII into a buffer that the next call reuses. Text longer
// than any key of a table becomes empty.
func (r *reader) lower(s string) []byte {
	r.low = r.low[:0]
	if len(s) > 128 {
		return r.low
	}
	for i := range len(s) {
		c := s[i]
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		r.low = append(r.low, c)
	}
	return r.low
}

// cutPath leaves the path of a URL.
func cutPath(s string) string {
	if s != "" && s[0] != '/' {
		if i := strings.Index(s, "://"); i >= 0 {
			rest := s[i+3:]
			if j := strings.IndexByte(rest, '/'); j >= 0 {
				s = rest[j:]
			} else {
				return "/"
			}
		}
	}
	if i := strings.IndexByte(s, '?'); i >= 0 {
		s = s[:i]
	}
	if i := strings.IndexByte(s, '#'); i >= 0 {
		s = s[:i]
	}
	return s
}

// notes are the flags for what the scanner noticed.
func notes(n jsonscan.Notes) schemas.Flags {
	if n == 0 {
		return 0
	}
	var f schemas.Flags
	for _, p := range [...]struct {
		note jsonscan.Notes
		flag schemas.Flags
	}{
		{jsonscan.DuplicateKey, schemas.FlagDuplicateKey},
		{jsonscan.CaseTwin, schemas.FlagCaseTwin},
		{jsonscan.BadUTF8, schemas.FlagBadUTF8},
		{jsonscan.ControlChar, schemas.FlagControlChar},
		{jsonscan.NumberTooLarge, schemas.FlagNumberTruncated},
	} {
		if n&p.note != 0 {
			f |= p.flag
		}
	}
	return f
}
