package detectors_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// TestVocabularyIsData: what a refusal, a wider scope and a draft are called is
// the operator's to say.
func TestVocabularyIsData(t *testing.T) {
	set, err := decode.Open("", "testdata/detection.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const cfg = "{hours: '00:00-24:00', weekdays: [sun, mon, tue, wed, thu, fri, sat]}"
	f := func(name string, own *schemas.Vocabulary, write func(s *story), want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			s := tell(t, detectors.Options{
				Detectors:  []plug.Config{config(t, "subscription", cfg), config(t, "denial", "")},
				Vocabulary: own,
			})
			write(s)
			s.live()
			if d := cmp.Diff(append([]string{}, want...), opened(s.play())); d != "" {
				t.Errorf("alerts differ (-want +got):\n%s", d)
			}
		})
	}
	none := failed(0, "nope, not yours")
	refused := func(s *story) { s.calls(noon, 20, 10*time.Second, none) }
	f("a word of ours, shipped", nil, refused, "denial agent a1 medium")
	f("a word of ours", set.Vocabulary(), func(s *story) { refused(s); s.calls(noon.Add(time.Hour), 40, time.Second, none) }, "denial.auth tenant acme low")
	f("a status of ours", set.Vocabulary(), func(s *story) { s.calls(noon, 12, time.Second, failed(418, "")) }, "denial.spend tenant acme low")

	widened := func(s *story) {
		s.event(noon, "subscription.create", nil)
		s.event(noon.Add(time.Minute), "subscription.edit", func(ev *schemas.Event) {
			ev.Raw = []byte(`{"delta":[{"what":"circle","was":"crew","is":"fleet"}]}`)
		})
	}
	f("a ladder of ours, shipped", nil, widened, "subscription.routine agent a1 informational")
	f("a ladder of ours", set.Vocabulary(), widened, "subscription.routine agent a1 informational", "subscription agent a1 high")

	s := tell(t, detectors.Options{Vocabulary: set.Vocabulary()})
	s.event(noon, "inventory.snapshot", func(ev *schemas.Event) {
		ev.Kind, ev.Raw = "product_snapshot", []byte(`{"hidden":true}`)
	})
	s.calls(noon.Add(time.Minute), 200, time.Second, nil)
	s.live()
	if got := of(s.play(), schemas.TransitionOpen); len(got) != 1 || !slices.Contains(got[0].Why, "the inventory says that the agent is unlisted") {
		t.Errorf("an unlisted agent's burst: %+v", got)
	}
}
