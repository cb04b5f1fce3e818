package decode

import (
	"math"
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	f := func(text string, unit int64, want string, how fit) {
		t.Helper()
		got, fit := parseTime(text, unit)
		w, err := time.Parse(time.RFC3339Nano, want)
		if want != "" && err != nil {
			t.Fatal(err)
		}
		if fit != how || (want != "" && got != w.UnixNano()) {
			t.Errorf("parseTime(%q) = %s (%d), want %s (%d)", text, time.Unix(0, got).UTC(), fit, want, how)
		}
	}
	const want = "2026-08-21T09:15:04.512Z"
	f("2026-08-21T09:15:04.512Z", 0, want, exact)
	f("2026-08-21 09:15:04.512 UTC", 0, want, exact)
	f("2026-08-21T11:45:04,512+02:30", 0, want, exact)
	f("2026-08-21T11:45:04.512+0230", 0, want, exact)
	f("2026-08-21T09:15:04.5120000009Z", 0, want, exact)
	f("1787303704.512", 0, want, exact)
	f("1787303704512", 0, want, exact)
	f("1787303704512000", 0, want, exact)
	f("1787303704512000000", 0, want, exact)
	f("1.787303704512E9", 0, want, exact)
	f("1787303704512", 1e6, want, exact)
	f("-1", 0, "1969-12-31T23:59:59Z", exact)
	f("0", 0, "1970-01-01T00:00:00Z", exact)
	f("2000-02-29T00:00:00Z", 0, "2000-02-29T00:00:00Z", exact)
	f("1900-03-01T00:00:00Z", 0, "1900-03-01T00:00:00Z", exact)
	f("2016-12-31T23:59:60Z", 0, "2017-01-01T00:00:00Z", exact)
	f("2262-04-11T23:47:16.854775807Z", 0, "2262-04-11T23:47:16.854775807Z", exact)
	f("2262-04-11T23:47:16.854775808Z", 0, "", saturated)
	f("9999-12-31T23:59:59Z", 0, "", saturated)
	f("1e400", 0, "", saturated)
	f("123456789012345678901234567890", 0, "", saturated)
	f("10000000000", 1e9, "", saturated)
	for _, bad := range []string{
		"", "-", "yesterday", "2026-08-21", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-08-21T24:00:00Z", "2026-08-21T09:15:04.Z", "2026-08-21T09:15:04X",
		"2026-08-21T09:15:04+25:00", "20a6-08-21T09:15:04Z", "1.", ".5", "1x", "NaN", "Inf", "0x10", "1_000", "--1", "1787303704.512.1",
	} {
		f(bad, 0, "", unusable)
	}
}

func FuzzParseTime(f *testing.F) {
	f.Add("2026-08-21T09:15:04.512Z")
	f.Add("1e18")
	f.Fuzz(func(t *testing.T, s string) {
		ns, how := parseTime(s, 0)
		if want, err := time.Parse(time.RFC3339Nano, s); err == nil && how == exact && want.UnixNano() != ns {
			t.Fatalf("parseTime(%q) = %d, time.Parse gives %d", s, ns, want.UnixNano())
		}
		parseDuration(s, 0)
	})
}

func TestParseDuration(t *testing.T) {
	f := func(text string, unit int64, want time.Duration, how fit) {
		t.Helper()
		if got, fit := parseDuration(text, unit); got != int64(want) || fit != how {
			t.Errorf("parseDuration(%q) = %d (%d), want %d (%d)", text, got, fit, want, how)
		}
	}
	f("18342", 0, 18342*time.Millisecond, exact)
	f("12.50", 0, 12500*time.Microsecond, exact)
	f("0.114s", 0, 114*time.Millisecond, exact)
	f("2ms", 0, 2*time.Millisecond, exact)
	f("1m30s", 0, 90*time.Second, exact)
	f("1.5", 1e9, 1500*time.Millisecond, exact)
	f("99999999999999", 0, math.MaxInt64, saturated)
	f("-3", 0, 0, unusable)
	f("", 0, 0, unusable)
	f("soon", 0, 0, unusable)
}
