package format

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/agentrail/agentrail/schemas"
)

// Native appends the event as Agentrail writes it everywhere: the typed fields
// by their names and the digest of the record. Where Raw is left in the event
// it follows as a last member: our own documents under their class (alert,
// control, ...), a record from outside under raw, as JSON if it is JSON, else
// as a string.
func Native(dst []byte, ev *schemas.Event) []byte {
	dst = appendEvent(dst, ev)
	if len(ev.Raw) == 0 || ev.Flags&schemas.FlagSealed != 0 {
		return dst
	}
	dst = append(dst[:len(dst)-1], `,"`...)
	if ev.Class == schemas.ClassActivity {
		dst = append(dst, "raw"...)
	} else {
		dst = append(dst, ev.Class.String()...)
	}
	dst = append(dst, `":`...)
	dst = appendRaw(dst, ev.Raw)
	return append(dst, '}')
}

// appendRaw splices raw in if it is JSON. The checks make the splice safe: in
// valid JSON a line break is only white space, and a byte above 0x7f lies only
// in a string, where the control characters of Unicode may be escaped.
func appendRaw(dst, raw []byte) []byte {
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return String(dst, string(raw))
	}
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '\n' || c == '\r':
			dst = append(dst, ' ')
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRune(raw[i:])
			dst = appendRune(dst, r, raw[i:i+n])
			i += n - 1
		}
	}
	return dst
}
