package detectors_test

import (
	"testing"
	"time"

	"github.com/agentrail/agentrail/detectors"
)

// TestLearningSaysUntilWhen lives through two days of one agent: while it is
// being learned, the earliest end is told; then nothing is left to learn.
func TestLearningSaysUntilWhen(t *testing.T) {
	s := tell(t, detectors.Options{})
	if got := s.j.engine.Learning(); got != nil {
		t.Errorf("before the first batch: %+v", got)
	}
	look := func(at time.Time) map[string]detectors.Learning {
		t.Helper()
		s.calls(at, 20, time.Second, nil)
		s.send(at.Add(time.Minute), 0)
		s.j.run(t.Context())
		out := map[string]detectors.Learning{}
		for _, l := range s.j.engine.Learning() {
			out[l.Detector] = l
		}
		return out
	}
	midnight := noon.Truncate(24*time.Hour).AddDate(0, 0, 1)
	got := look(noon)
	b := got["burst"]
	if b.Kind != "burst" || b.Keys != 3 || b.Learning != 3 || !b.Ready.Equal(midnight) || b.Needs != "12 busy windows of 5m on more than one day" {
		t.Errorf("the first day: %+v, want 3 of 3 keys until %s", b, midnight)
	}
	if d := got["denial"]; d.Keys == 0 || d.Learning != d.Keys || !d.Ready.IsZero() || d.Needs != "200 calls" {
		t.Errorf("the first day: %+v, want all keys of denial without a time", d)
	}
	if _, ok := got["subscription"]; ok {
		t.Error("subscription has nothing to learn and is told all the same")
	}
	for h := range 13 {
		got = look(noon.Add(time.Duration(h+1) * 30 * time.Minute))
	}
	if b := got["burst"]; b.Learning != 3 || !b.Ready.Equal(midnight) {
		t.Errorf("enough windows of one day: %+v, want until %s", b, midnight)
	}
	look(noon.AddDate(0, 0, 1))
	got = look(noon.AddDate(0, 0, 1).Add(time.Hour))
	if b := got["burst"]; b.Keys != 3 || b.Learning != 0 || !b.Ready.IsZero() {
		t.Errorf("the next day: %+v, want nothing left to learn", b)
	}
	if d := got["denial"]; d.Learning != 0 {
		t.Errorf("after 300 calls: %+v", d)
	}
}
