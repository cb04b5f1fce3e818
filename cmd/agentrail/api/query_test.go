package api_test

import (
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

func TestParseTime(t *testing.T) {
	f := func(in string, want time.Time) {
		t.Helper()
		got, err := api.ParseTime(in, now)
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", in, got, err, want)
		}
	}
	f("2026-11-23T08:00:00+01:00", now.Add(-5*time.Hour))
	f("90s", now.Add(-90*time.Second))
	f("1h30m", now.Add(-90*time.Minute))
	f("7d", now.Add(-7*24*time.Hour))
	f("0.5d", now.Add(-12*time.Hour))
	for _, in := range []string{"", "d", "-1h", "-1d", "1x", "1e9d", "36601d", "2026-11-23", "2562047h47m16.854775808s"} {
		if got, err := api.ParseTime(in, now); err == nil {
			t.Errorf("%q was taken for %v", in, got)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"1h", "7d", "2026-11-23T08:00:00Z", "106751d", "-1ns", "9223372036s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := api.ParseTime(s, now)
		if err == nil && len(s) < len(time.DateOnly+"T00:00:00Z") && got.After(now) { // too short for a date
			t.Errorf("%q is %v, which is not ago", s, got)
		}
	})
}
