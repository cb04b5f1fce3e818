package console

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"html/template"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// functions of the templates. Text of records goes through vis, lines or
// short; the templates escape what these return.
func functions(urls map[string]string) template.FuncMap {
	return template.FuncMap{
		"asset": func(name string) string { return urls[name] },
		"vis":   visible,
		"lines": block,
		"short": func(s string) string { return cut(visible(s), maxCell) },
		"brief": func(s string) string { return cut(visible(brief(s)), maxCell) },
		"named": named,
		"first": func(texts ...string) string { return cmp.Or(texts...) },
		"rfc":   func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"utc":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" },
		"never": func(t time.Time) bool { return t.IsZero() || t.UnixNano() == 0 },
		"num":   number,
		"quant": quantity,
		"span":  lasted,
		"size":  bytesText,
		"share": func(l *api.Learning) string { return detectorPart{Learning: l}.Share() },
		"whole": func(percent string) string { whole, _, _ := strings.Cut(percent, "."); return whole + " %" },
		"secs":  func(s float64) string { return (time.Duration(math.Round(s)) * time.Second).String() },
		"state": func(a schemas.Alert) string { return stateOf(&a) },
	}
}

// maxCell is how much of a text a table shows, runes.
const maxCell = 160

// visible returns text of a record fit to be shown on one line. Characters
// that a browser would act on or hide instead of showing (control, format and
// bidirectional characters, private use, line ends) and bytes that are no
// UTF-8 are named instead: ⟨U+202E⟩, ⟨0xFF⟩.
func visible(s string) string { return reveal(s, "") }

// block is visible for text of several lines.
func block(s string) string { return reveal(s, "\n\t") }

func reveal(s, keep string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, "⟨0x%02X⟩", s[0])
		case strings.ContainsRune(keep, r) || !hidden(r):
			b.WriteString(s[:n])
		default:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		}
		s = s[n:]
	}
	return b.String()
}

func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// hidden reports whether a browser may act on or hide the rune.
func hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp) ||
		unicode.Is(unicode.Variation_Selector, r) || unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) ||
		r > 0x2ffff // tags, private planes, and what nobody has assigned
}

// cut shortens a text to n runes.
func cut(s string, n int) string {
	i := 0
	for at := range s {
		if i == n {
			return s[:at] + "…"
		}
		i++
	}
	return s
}

// named is a name with the id that it stands for.
func named(name, id string) string {
	name, id = visible(name), visible(id)
	switch {
	case name == "" || name == id:
		return id
	case id == "":
		return name
	}
	return name + " (" + id + ")"
}

// id is what an id looks like that nobody reads: a word and hexadecimal digits,
// or such digits alone.
var id = regexp.MustCompile(`^([a-z]{1,8}_)?[0-9a-f]{12,}$`)

// briefly is how many digits of an id tell it from others on a page.
const briefly = 8

// brief shortens what looks like an id; the page that it leads to has all of it.
func brief(s string) string {
	if !id.MatchString(s) {
		return s
	}
	return s[:strings.Index(s, "_")+1+briefly] + "…"
}

// number writes a count with its thousands apart.
func number(n any) string {
	s := fmt.Sprint(n)
	digits := strings.TrimPrefix(s, "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return strings.TrimSuffix(s, strings.TrimPrefix(s, "-")) + digits
}

// quantity writes a measured value.
func quantity(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return number(int64(f))
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

// indented is JSON with its lines broken; the values stay as they were
// written. It returns "" for what is no JSON.
func indented(raw string) string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(raw), "", "  "); err != nil {
		return ""
	}
	return b.String()
}

// stateOf says where an alert is in its life.
func stateOf(a *schemas.Alert) string { return string(a.StateAt(time.Now())) }

// digestOf is a short name for a text, fit for an id of an element.
func digestOf(s string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s)) // never fails
	return strconv.FormatUint(h.Sum64(), 36)
}

// bytesText writes a number of bytes for people.
func bytesText(n int64) string {
	for _, u := range []struct {
		name string
		n    int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.n {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(u.n), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// lasted writes how long something took, as exact as is of use.
func lasted(d time.Duration) string {
	switch {
	case d >= time.Minute && d%time.Second == 0:
		s := d.String()
		if strings.HasSuffix(s, "m0s") {
			s = strings.TrimSuffix(s, "0s")
		}
		if strings.HasSuffix(s, "h0m") {
			s = strings.TrimSuffix(s, "0m")
		}
		return s
	case d >= time.Second:
		return d.Round(time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
