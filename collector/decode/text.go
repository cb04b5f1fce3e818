package decode

import (
	"unsafe"

	"github.com/agentrail/agentrail/internal/jsonscan"
	"github.com/agentrail/agentrail/schemas"
)

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
