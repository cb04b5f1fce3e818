package alerting

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// TestReport says once that a receiver cannot be told, and once that it can be
// again; what could not be put on record is said at the next look.
func TestReport(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLedger(func() time.Time { return now })
	l.add("quiet")
	var said []string
	full := false
	look := func() string {
		said = nil
		l.report(t.Context(), func(_ context.Context, h schemas.Health) error {
			if full {
				return errors.New("full")
			}
			if h.Consumer != Name || h.At.IsZero() {
				t.Errorf("%+v", h)
			}
			said = append(said, h.Kind+": "+h.Reason)
			return nil
		})
		return strings.Join(said, "; ")
	}
	f := func(want string) {
		t.Helper()
		if got := look(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	l.result("soc", errors.New("no route"))
	now = now.Add(OverdueAfter - time.Second)
	l.result("soc", errors.New("no\x00 route"))
	f("")
	now = now.Add(time.Second)
	full = true
	f("")
	full = false
	f("alerting.failing: soc could not be told of alerts since 1970-01-01T00:16:40Z: no\uFFFD route")
	f("")
	l.result("soc", nil)
	f("alerting.recovered: soc can be told of alerts again")
	f("")
}
