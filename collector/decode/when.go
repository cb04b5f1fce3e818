package decode

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// fit says how a text became a number.
type fit uint8

const (
	unusable fit = iota
	exact
	saturated // beyond what int64 nanoseconds hold; the nearest was taken
)

// parseTime reads a time as Unix nanoseconds: RFC 3339 (also with a space for
// the T, and with " UTC" for the zone, as BigQuery writes it), or a number of
// the unit. With unit 0 the magnitude tells seconds, milli-, micro- or
// nanoseconds apart: seconds below 10^11, and each next unit a thousand times
// as far.
func parseTime(s string, unit int64) (int64, fit) {
	if len(s) >= 19 && s[4] == '-' && s[7] == '-' {
		return parseStamp(s)
	}
	return parseNumber(s, unit, true)
}

func parseStamp(s string) (int64, fit) {
	year, ok1 := number(s[0:4])
	month, ok2 := number(s[5:7])
	day, ok3 := number(s[8:10])
	hour, ok4 := number(s[11:13])
	minute, ok5 := number(s[14:16])
	sec, ok6 := number(s[17:19])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || s[13] != ':' || s[16] != ':' || (s[10]|0x20 != 't' && s[10] != ' ') {
		return 0, unusable
	}
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || sec > 60 {
		return 0, unusable
	}
	rest, nanos := s[19:], int64(0)
	if rest != "" && (rest[0] == '.' || rest[0] == ',') {
		n := 1
		for scale := int64(1e8); n < len(rest) && rest[n]-'0' <= 9; n++ {
			nanos += int64(rest[n]-'0') * scale
			scale /= 10
		}
		if n == 1 {
			return 0, unusable
		}
		rest = rest[n:]
	}
	zone, ok := parseZone(rest)
	if !ok {
		return 0, unusable
	}
	total := daysFrom1970(year, month, day)*86400 + hour*3600 + minute*60 + sec - zone
	return scale(total, nanos, 1e9)
}

func parseZone(s string) (seconds int64, ok bool) {
	switch {
	case s == "Z" || s == "z" || s == " UTC" || s == "":
		return 0, true
	case len(s) == 6 && s[3] == ':':
		s = s[:3] + s[4:]
	}
	if len(s) != 5 || (s[0] != '+' && s[0] != '-') {
		return 0, false
	}
	h, ok1 := number(s[1:3])
	m, ok2 := number(s[3:5])
	if !ok1 || !ok2 || h > 23 || m > 59 {
		return 0, false
	}
	if seconds = h*3600 + m*60; s[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

func number(s string) (n int64, ok bool) {
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + int64(d)
	}
	return n, true
}

func daysIn(year, month int64) int64 {
	if month == 2 {
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 30 + (month+month/8)&1
}

// daysFrom1970 counts in the Gregorian calendar, from March on so that the
// leap day is a year's last.
func daysFrom1970(year, month, day int64) int64 {
	if month <= 2 {
		year, month = year-1, month+12
	}
	era := year + 400 // keeps the divisions below on positive numbers
	return era*365 + era/4 - era/100 + era/400 + (153*(month-3)+2)/5 + day - 1 - 865565
}

// parseNumber reads a decimal number of the unit as nanoseconds.
func parseNumber(s string, unit int64, magnitude bool) (int64, fit) {
	t := strings.TrimPrefix(s, "-")
	negative := len(t) < len(s)
	if t == "" {
		return 0, unusable
	}
	whole, i, over := uint64(0), 0, false
	for ; i < len(t) && t[i]-'0' <= 9; i++ {
		hi, lo := bits.Mul64(whole, 10)
		whole = lo + uint64(t[i]-'0')
		over = over || hi > 0 || whole < lo
	}
	if i == 0 {
		return 0, unusable
	}
	billionths, rest := int64(0), t[i:]
	if rest != "" && rest[0] == '.' {
		n := 1
		for sc := int64(1e8); n < len(rest) && rest[n]-'0' <= 9; n++ {
			billionths += int64(rest[n]-'0') * sc
			sc /= 10
		}
		if n == 1 {
			return 0, unusable
		}
		rest = rest[n:]
	}
	if rest != "" {
		return parseFloat(s, unit, magnitude)
	}
	if over || whole > math.MaxInt64 {
		return limit(negative), saturated
	}
	if unit == 0 {
		unit = unitOf(float64(whole), magnitude)
	}
	v, f := scale(int64(whole), billionths/(1e9/unit), unit)
	if negative {
		v = -v
	}
	return v, f
}

// parseFloat takes numbers with an exponent.
func parseFloat(s string, unit int64, magnitude bool) (int64, fit) {
	v, err := strconv.ParseFloat(s, 64)
	if math.IsNaN(v) || (err != nil && !math.IsInf(v, 0)) || strings.ContainsAny(s, "xXpP_iInN") {
		return 0, unusable
	}
	if unit == 0 {
		unit = unitOf(math.Abs(v), magnitude)
	}
	if v *= float64(unit); math.Abs(v) >= math.MaxInt64 {
		return limit(v < 0), saturated
	}
	return int64(math.Round(v)), exact
}

func unitOf(v float64, magnitude bool) int64 {
	switch {
	case !magnitude:
		return 1e6
	case v < 1e11:
		return 1e9
	case v < 1e14:
		return 1e6
	case v < 1e17:
		return 1e3
	}
	return 1
}

// scale returns n units and some nanoseconds.
func scale(n, nanos, unit int64) (int64, fit) {
	v := n * unit
	if v/unit != n || (nanos > 0 && v > math.MaxInt64-nanos) {
		return limit(n < 0), saturated
	}
	return v + nanos, exact
}

func limit(negative bool) int64 {
	if negative {
		return math.MinInt64
	}
	return math.MaxInt64
}

// parseDuration reads a duration: a number of the unit (milliseconds if 0), or
// a number with its unit, like "0.114s" or "1m30s". Negative ones are not
// usable.
func parseDuration(s string, unit int64) (int64, fit) {
	if s == "" || s[0] == '-' {
		return 0, unusable
	}
	if c := s[len(s)-1]; c-'0' <= 9 || c == '.' {
		return parseNumber(s, unit, false)
	}
	if sec, ok := strings.CutSuffix(s, "s"); ok && sec != "" && sec[len(sec)-1]-'0' <= 9 && !strings.ContainsAny(sec, "hm") {
		return parseNumber(sec, int64(time.Second), false)
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, unusable
	}
	return int64(d), exact
}
