package decode

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// stampBytes is how much longer than its cell a time may be written.
const stampBytes = 32

// clock reads the times of a table and writes them as the rest of the decoder
// reads them. What could be meant in two ways is left as it is, and so is no
// time: 3/4/2026 without a layout, since day and month may be either.
type clock struct {
	layouts []string // of package time
	zone    *time.Location
	bare    bool // numbers without a unit may be days of a spreadsheet
}

func (p *program) clock(zone string) (c clock, err error) {
	if zone == "" {
		zone = p.zone
	}
	c = clock{layouts: p.layouts, bare: p.rules[fTime].unit == 0}
	c.zone, err = loadZone(zone)
	return c, err
}

// append appends the time, or the text as it is.
func (c *clock) append(dst, text []byte) []byte {
	t, ok := c.parse(text)
	if !ok {
		return append(dst, text...)
	}
	if y := t.Year(); y < 1678 || y > 2261 { // beyond what int64 nanoseconds hold
		return t.UTC().AppendFormat(dst, time.RFC3339)
	}
	return schemas.AppendTime(dst, t.UnixNano())
}

func (c *clock) parse(text []byte) (time.Time, bool) {
	if len(text) < 5 || len(text) > 64 {
		return time.Time{}, false
	}
	s := tidy(text)
	for _, l := range c.layouts {
		if l == excelDays {
			if t, ok := c.days(s); ok {
				return t, true
			}
		} else if t, err := time.ParseInLocation(l, s, c.zone); err == nil {
			return t, true
		}
	}
	if c.bare {
		if t, ok := c.days(s); ok {
			return t, true
		}
	}
	if t, ok := c.iso(s); ok {
		return t, true
	}
	if len(c.layouts) > 0 {
		return time.Time{}, false
	}
	return c.guess(s)
}

// tidy replaces the spaces that programs put before AM and PM.
func tidy(text []byte) string {
	if bytes.IndexByte(text, 0xc2) < 0 && bytes.IndexByte(text, 0xe2) < 0 {
		return string(text)
	}
	return strings.NewReplacer("\u202f", " ", "\u00a0", " ").Replace(string(text))
}

// iso reads dates in the order of ISO 8601 without a zone; with one they are
// read without this.
func (c *clock) iso(s string) (time.Time, bool) {
	if s[4] != '-' && s[4] != '/' || strings.HasSuffix(s, "Z") || strings.HasSuffix(s, "UTC") {
		return time.Time{}, false
	}
	sep := s[4:5]
	for _, l := range []string{
		"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02",
		"2006-01-02 15:04:05,000", "2006-01-02 3:04:05 PM",
	} {
		if t, err := time.ParseInLocation(strings.ReplaceAll(l, "-", sep), s, c.zone); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// days reads the number of days since 1899-12-30 by which spreadsheets keep
// times, from 1954 to 2119: as seconds they would be on one day in 1970.
func (c *clock) days(s string) (time.Time, bool) {
	if i := strings.IndexByte(s, ','); i >= 0 && strings.IndexByte(s, '.') < 0 {
		s = s[:i] + "." + s[i+1:]
	}
	if digitsIn([]byte(s[:min(len(s), 6)])) != 5 {
		return time.Time{}, false
	}
	v, how := parseNumber(s, 1e9, false)
	if how != exact || v < 20_000e9 || v >= 80_000e9 {
		return time.Time{}, false
	}
	// The number has no room for milliseconds, so the second is what is meant.
	sec := int(math.Round(float64(v%1e9) * 86400 / 1e9))
	return time.Date(1899, 12, 30+int(v/1e9), 0, 0, sec, 0, c.zone), true
}

// The layouts that are read without being named. Dates with dots are
// day.month; a date with slashes only if one of its numbers is above 12.
var (
	dotted    = withTimes("2.1.2006")
	dayMonth  = withTimes("2/1/2006")
	monthDay  = withTimes("1/2/2006")
	monthName = append(withTimes("Jan 2, 2006"), append(withTimes("January 2, 2006"), withTimes("2 Jan 2006")...)...)
)

func withTimes(date string) []string {
	out := []string{date}
	for _, t := range []string{" 15:04:05", " 15:04", " 3:04:05 PM", " 3:04 PM"} {
		out = append(out, date+t, date+","+t)
	}
	return out
}

func (c *clock) guess(s string) (time.Time, bool) {
	switch {
	case strings.IndexByte(s, '/') > 0:
		day, dayOK := c.try(dayMonth, s)
		month, monthOK := c.try(monthDay, s)
		if dayOK == monthOK && !day.Equal(month) {
			return time.Time{}, false
		}
		if dayOK {
			return day, true
		}
		return month, monthOK
	case digitsIn([]byte(s[:2])) > 0 && strings.IndexByte(s[:3], '.') > 0:
		return c.try(dotted, s)
	case strings.ContainsAny(s, "aeuoAEUO"): // of the names of months
		return c.try(monthName, s)
	}
	return time.Time{}, false
}

func (c *clock) try(layouts []string, s string) (time.Time, bool) {
	for _, l := range layouts {
		if t, err := time.ParseInLocation(l, s, c.zone); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// excelDays is the layout of days of a spreadsheet.
const excelDays = "excel"

// tokens of layouts, the longer ones first. One digit always suffices.
var tokens = []struct{ ours, theirs string }{
	{"YYYY", "2006"},
	{"YY", "06"},
	{"MMMM", "January"},
	{"MMM", "Jan"},
	{"MM", "1"},
	{"M", "1"},
	{"DD", "2"},
	{"D", "2"},
	{"HH", "15"},
	{"H", "15"},
	{"hh", "3"},
	{"h", "3"},
	{"mm", "4"},
	{"m", "4"},
	{"ss", "5"},
	{"s", "5"},
	{"A", "PM"},
	{"Z", "Z07:00"},
}

// parseLayout makes one of package time of a layout such as DD/MM/YYYY HH:mm:ss.
func parseLayout(text string) (string, error) {
	if text == excelDays {
		return text, nil
	}
	var b strings.Builder
	for rest := text; rest != ""; {
		found := false
		for _, t := range tokens {
			if after, ok := strings.CutPrefix(rest, t.ours); ok {
				b.WriteString(t.theirs)
				rest, found = after, true
				break
			}
		}
		if found {
			continue
		}
		if !strings.ContainsRune(" -/.,:T", rune(rest[0])) {
			return "", fmt.Errorf("layout %q: %q is none of YYYY YY MMMM MMM MM M DD D HH H hh h mm m ss s A Z; an example is DD/MM/YYYY HH:mm:ss, and excel is for serial numbers", text, rest)
		}
		b.WriteByte(rest[0])
		rest = rest[1:]
	}
	for _, need := range []string{"06", "2"} {
		if !strings.Contains(b.String(), need) {
			return "", fmt.Errorf("layout %q: it needs a year and a day; an example is DD/MM/YYYY HH:mm:ss", text)
		}
	}
	return b.String(), nil
}
