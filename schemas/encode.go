package schemas

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/bits"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// AppendJSON appends the native JSON form of an event: one object on one line,
// snake_case names as in json/event.schema.json, times in RFC 3339 with
// nanoseconds, fields that the record did not give left out, the names of the
// flags, and the digest of the record but never its content. Invalid UTF-8
// becomes U+FFFD; control characters, U+2028 and U+2029 are escaped. It
// allocates only to grow dst, and for a head.
func AppendJSON(dst []byte, e *Event) []byte {
	dst = append(dst, `{"event_id":"`...)
	dst = hex.AppendEncode(dst, e.ID[:])
	dst = append(dst, `","class":"`...)
	dst = append(dst, e.Class.String()...)
	dst = append(dst, `","time":"`...)
	dst = AppendTime(dst, e.Time)
	dst = append(dst, `","received":"`...)
	dst = AppendTime(dst, e.Received)
	dst = append(dst, '"')
	dst = appendTexts(dst, e)
	dst = appendEnums(dst, e)
	if e.Status != 0 {
		dst = append(dst, `,"status":`...)
		dst = strconv.AppendInt(dst, int64(e.Status), 10)
	}
	if e.Duration != 0 {
		dst = append(dst, `,"duration_ns":`...)
		dst = strconv.AppendInt(dst, e.Duration, 10)
	}
	dst = appendFlags(dst, e.Flags)
	dst = append(dst, `,"shard":`...)
	dst = strconv.AppendUint(dst, uint64(e.Shard), 10)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendUint(dst, e.Offset, 10)
	dst = append(dst, `,"index":`...)
	dst = strconv.AppendUint(dst, uint64(e.Index), 10)
	dst = append(dst, `,"raw_sha256":"`...)
	dst = hex.AppendEncode(dst, e.Digest[:])
	dst = append(dst, '"')
	if e.Head != nil {
		dst = e.Head.appendJSON(append(dst, `,"head":`...))
	}
	return append(dst, '}')
}

// appendJSON writes the head as encoding/json does.
func (h *Head) appendJSON(dst []byte) []byte {
	text, err := json.Marshal(h)
	if err != nil { // a year beyond 9999
		return append(dst, "null"...)
	}
	return append(dst, text...)
}

func appendTexts(dst []byte, e *Event) []byte {
	dst = appendText(dst, `,"tenant":"`, e.Tenant)
	dst = appendText(dst, `,"source":"`, e.Source)
	dst = appendText(dst, `,"kind":"`, e.Kind)
	dst = appendText(dst, `,"action":"`, e.Action)
	dst = appendText(dst, `,"source_action":"`, e.SourceAction)
	dst = appendText(dst, `,"outcome_text":"`, e.OutcomeText)
	dst = appendText(dst, `,"reason":"`, e.Reason)
	dst = appendText(dst, `,"actor":"`, e.Actor)
	dst = appendText(dst, `,"actor_email":"`, e.ActorEmail)
	dst = appendText(dst, `,"actor_type":"`, e.ActorType)
	dst = appendText(dst, `,"department":"`, e.Department)
	dst = appendText(dst, `,"agent":"`, e.Agent)
	dst = appendText(dst, `,"name":"`, e.Name)
	dst = appendText(dst, `,"owner":"`, e.Owner)
	dst = appendText(dst, `,"subscription":"`, e.Subscription)
	dst = appendText(dst, `,"run":"`, e.Run)
	dst = appendText(dst, `,"session":"`, e.Session)
	dst = appendText(dst, `,"trace":"`, e.Trace)
	dst = appendText(dst, `,"span":"`, e.Span)
	dst = appendText(dst, `,"endpoint":"`, e.Endpoint)
	dst = appendText(dst, `,"method":"`, e.Method)
	dst = appendText(dst, `,"tool":"`, e.Tool)
	dst = appendText(dst, `,"target":"`, e.Target)
	dst = appendText(dst, `,"ip":"`, e.IP)
	dst = appendText(dst, `,"user_agent":"`, e.UserAgent)
	return appendText(dst, `,"source_id":"`, e.SourceID)
}

// appendEnums writes initiator, access and outcome for all activity, since
// unknown says something there, and otherwise only what is known.
func appendEnums(dst []byte, e *Event) []byte {
	all := e.Class == ClassActivity
	if all || e.Initiator != InitiatorUnknown {
		dst = appendName(dst, `,"initiator":"`, e.Initiator.String())
	}
	if all || e.Access != AccessUnknown {
		dst = appendName(dst, `,"access":"`, e.Access.String())
	}
	if all || e.Outcome != OutcomeUnknown {
		dst = appendName(dst, `,"outcome":"`, e.Outcome.String())
	}
	if e.Denial != DenialNone {
		dst = appendName(dst, `,"denial":"`, e.Denial.String())
	}
	if e.Autonomous != TriUnknown {
		dst = appendName(dst, `,"autonomous":"`, e.Autonomous.String())
	}
	return dst
}

func appendName(dst []byte, key, name string) []byte {
	return append(append(append(dst, key...), name...), '"')
}

func appendFlags(dst []byte, f Flags) []byte {
	if f == 0 {
		return dst
	}
	dst = append(dst, `,"flags":[`...)
	for i, n := range flagNames {
		if f&(1<<i) == 0 {
			continue
		}
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), n...), '"')
	}
	return append(dst, ']')
}

// appendText writes a key and a string unless the string is empty.
func appendText(dst []byte, key, s string) []byte {
	if s == "" {
		return dst
	}
	dst = append(dst, key...)
	return append(AppendEscaped(dst, s), '"')
}

const (
	ones = 0x0101010101010101
	tops = 0x80 * ones
)

// AppendEscaped appends the text as it stands between the quotes of a JSON
// string. Invalid UTF-8 becomes U+FFFD.
func AppendEscaped(dst []byte, s string) []byte {
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	if plain(b) {
		return append(dst, b...)
	}
	from, i := 0, 0
	for i < len(b) {
		if i+8 <= len(b) {
			m := special(binary.LittleEndian.Uint64(b[i:]))
			if m == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(m) >> 3
		}
		c := b[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, b[from:i]...)
			dst = appendEscape(dst, c)
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if (r == utf8.RuneError && n == 1) || r == '\u2028' || r == '\u2029' {
			dst = append(dst, b[from:i]...)
			dst = append(dst, `\u`...)
			dst = append(dst, "0123456789abcdef"[r>>12&15], "0123456789abcdef"[r>>8&15], "0123456789abcdef"[r>>4&15], "0123456789abcdef"[r&15])
			from = i + n
		}
		i += n
	}
	return append(dst, b[from:]...)
}

// plain reports whether all bytes stand for themselves. The last bytes are
// looked at together with those before them; the shortest texts are left to the
// caller.
func plain(b []byte) bool {
	le := binary.LittleEndian
	switch n := len(b); {
	case n >= 8:
		m := special(le.Uint64(b[n-8:]))
		for ; len(b) > 8; b = b[8:] {
			m |= special(le.Uint64(b))
		}
		return m == 0
	case n >= 4:
		return special(uint64(le.Uint32(b))|uint64(le.Uint32(b[n-4:]))<<32) == 0
	}
	return false
}

// special has the top bit of each byte set that does not stand for itself: a
// quote, a backslash, a control character or a byte beyond ASCII. Only the
// lowest one is exact.
func special(w uint64) uint64 {
	q, l := w^('"'*ones), w^('\\'*ones)
	return ((q-ones)&^q | (l-ones)&^l | (w-' '*ones)&^w | w) & tops
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
}

// AppendTime appends Unix nanoseconds as RFC 3339 in UTC with nine decimals.
func AppendTime(dst []byte, ns int64) []byte {
	sec, nano := ns/1e9, ns%1e9
	if nano < 0 {
		sec, nano = sec-1, nano+1e9
	}
	days, rest := sec/86400, sec%86400
	if rest < 0 {
		days, rest = days-1, rest+86400
	}
	year, month, day := civil(days)
	dst = append(dst, "0000-00-00T00:00:00.000000000Z"...)
	t := dst[len(dst)-30:]
	putTwo(t[0:], year/100)
	putTwo(t[2:], year%100)
	putTwo(t[5:], month)
	putTwo(t[8:], day)
	putTwo(t[11:], rest/3600)
	putTwo(t[14:], rest/60%60)
	putTwo(t[17:], rest%60)
	putTwo(t[20:], nano/1e7)
	putTwo(t[22:], nano/1e5%100)
	putTwo(t[24:], nano/1e3%100)
	putTwo(t[26:], nano/10%100)
	t[28] = byte('0' + nano%10)
	return dst
}

// putTwo writes two digits.
func putTwo(t []byte, n int64) { t[0], t[1] = byte('0'+n/10), byte('0'+n%10) }

// civil returns the date of a day counted from 1970-01-01, in the Gregorian
// calendar, counting years from March on so that the leap day is a year's last.
func civil(days int64) (year, month, day int64) {
	days += 719468 // days from 0000-03-01 to 1970-01-01; int64 nanoseconds begin in 1677
	era := days / 146097
	d := days % 146097
	y := (d - d/1460 + d/36524 - d/146096) / 365
	d -= 365*y + y/4 - y/100
	m := (5*d + 2) / 153
	day = d - (153*m+2)/5 + 1
	if year, month = era*400+y, m+3; month > 12 {
		year, month = year+1, month-12
	}
	return year, month, day
}
