package format

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/agentrail/agentrail/schemas"
)

// line appends key=value members of a line of text. Keys are constants of ours
// and written as they are; values are escaped.
type line struct {
	b    []byte
	sep  byte   // in front of each member
	mark byte   // in a value: what a backslash goes in front of, beside itself
	uni  string // in a value: begins the four hexadecimal digits of what misleads
}

func (l *line) key(name string) {
	l.b = append(append(append(l.b, l.sep), name...), '=')
}

// text writes a member unless the text is empty.
func (l *line) text(name, s string) {
	if s == "" {
		return
	}
	l.key(name)
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '\\' && c != l.mark {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r >= utf8.RuneSelf && !(r == utf8.RuneError && n == 1) && !misleading(r) {
			i += n
			continue
		}
		l.b = append(l.b, s[from:i]...)
		l.escape(r)
		i += n
		from = i
	}
	l.b = append(l.b, s[from:]...)
}

func (l *line) escape(r rune) {
	switch {
	case r == '\n':
		l.b = append(l.b, `\n`...)
	case r == '\r':
		l.b = append(l.b, `\r`...)
	case r >= ' ' && r < utf8.RuneSelf-1:
		l.b = append(l.b, '\\', byte(r))
	default:
		l.b = append(append(l.b, l.uni...), hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
	}
}

func (l *line) int(name string, n int64) {
	l.key(name)
	l.b = strconv.AppendInt(l.b, n, 10)
}

// count writes a number of which zero means not said.
func (l *line) count(name string, n int64) {
	if n != 0 {
		l.int(name, n)
	}
}

func (l *line) hex(name string, b []byte) {
	l.key(name)
	l.b = appendHex(l.b, b)
}

func (l *line) time(name string, ns int64) {
	l.key(name)
	l.b = schemas.AppendTime(l.b, ns)
}

func (l *line) offset(name string, n uint64) {
	l.key(name)
	l.b = strconv.AppendUint(l.b, n, 10)
}

// flags writes the names of the flags with commas between.
func (l *line) flags(name string, f schemas.Flags) {
	if f != 0 {
		l.text(name, strings.Join(f.Names(), ","))
	}
}

// raw writes the record as it was received.
func (l *line) raw(name string, ev *schemas.Event) {
	if ev.Flags&schemas.FlagSealed == 0 {
		l.text(name, string(ev.Raw))
	}
}

// header appends a field of the header in which a pipe and a backslash stand as
// these. Headers have no escape for what breaks a line: that becomes a space,
// and a member has the same text whole.
func (l *line) header(s, pipe, backslash string) {
	from := len(l.b)
	for _, r := range s {
		switch {
		case len(l.b)-from > maxHeader:
			return
		case r == '|':
			l.b = append(l.b, pipe...)
		case r == '\\':
			l.b = append(l.b, backslash...)
		case r < ' ' || r == 0x7f || r == utf8.RuneError || misleading(r):
			l.b = append(l.b, ' ')
		default:
			l.b = utf8.AppendRune(l.b, r)
		}
	}
}

// maxHeader bounds a field of a header, as ArcSight does.
const maxHeader = 500

// headline returns the id and the name of the event in a header.
func headline(ev *schemas.Event, a *schemas.Alert) (id, name string) {
	if ev.Class == schemas.ClassAlert {
		return firstOf(a.Rule, "alert"), a.Title
	}
	id = firstOf(ev.Action, ev.Kind, ev.Class.String())
	return id, id
}

// tens are the severities 0 to 5 of OCSF from 0 to 10.
var tens = [...]int64{0, 1, 3, 5, 8, 10}

// outOfTen is the severity from 0 to 10.
func outOfTen(ev *schemas.Event, a *schemas.Alert) int64 {
	if ev.Class == schemas.ClassAlert {
		return tens[alertSeverity(a.Severity)]
	}
	return tens[severity(ev)]
}
