package format_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// texts are the fields of an event that are text.
var texts = []func(*schemas.Event) *string{
	func(e *schemas.Event) *string { return &e.Tenant },
	func(e *schemas.Event) *string { return &e.Source },
	func(e *schemas.Event) *string { return &e.Kind },
	func(e *schemas.Event) *string { return &e.Actor },
	func(e *schemas.Event) *string { return &e.ActorEmail },
	func(e *schemas.Event) *string { return &e.ActorType },
	func(e *schemas.Event) *string { return &e.Department },
	func(e *schemas.Event) *string { return &e.Agent },
	func(e *schemas.Event) *string { return &e.Name },
	func(e *schemas.Event) *string { return &e.Owner },
	func(e *schemas.Event) *string { return &e.Subscription },
	func(e *schemas.Event) *string { return &e.Run },
	func(e *schemas.Event) *string { return &e.Session },
	func(e *schemas.Event) *string { return &e.Trace },
	func(e *schemas.Event) *string { return &e.Span },
	func(e *schemas.Event) *string { return &e.Action },
	func(e *schemas.Event) *string { return &e.Endpoint },
	func(e *schemas.Event) *string { return &e.Method },
	func(e *schemas.Event) *string { return &e.Tool },
	func(e *schemas.Event) *string { return &e.Target },
	func(e *schemas.Event) *string { return &e.OutcomeText },
	func(e *schemas.Event) *string { return &e.Reason },
	func(e *schemas.Event) *string { return &e.IP },
	func(e *schemas.Event) *string { return &e.UserAgent },
	func(e *schemas.Event) *string { return &e.SourceID },
	func(e *schemas.Event) *string { return &e.SourceAction },
}

// TestNothingIsLost looks for every field of an event in what each format
// makes of it: with all fields set, and with each of them alone.
func TestNothingIsLost(t *testing.T) {
	marker := func(i int) string { return fmt.Sprintf("field%02dis", i) }
	for _, name := range format.Names() {
		write, _ := format.Lookup(name)
		for class := schemas.ClassActivity; class <= schemas.ClassHealth; class++ {
			for _, action := range []string{"", "subscription.edit", "agent.edit", "span"} {
				for only := -1; only < len(texts); only++ {
					ev := schemas.Event{
						ID: schemas.ID{0xab, 0xcd}, Digest: schemas.Digest{0xfe, 0xed}, Class: class, Shard: 60123, Offset: 1<<64 - 1, Index: 4_000_000_001, Status: 31337,
						Time: 1_764_000_000_123_456_789, Received: 1_764_000_001_987_654_321, Duration: 123_456_789_012_345,
						Access: schemas.AccessAdmin, Initiator: schemas.InitiatorSchedule, Outcome: schemas.OutcomeDenied, Denial: schemas.DenialThrottled, Autonomous: schemas.TriYes,
						Flags: schemas.FlagScrubbed | schemas.FlagCaseTwin, Raw: []byte(`{"k":"rawmark"}`),
					}
					want := []string{
						ev.ID.String(), ev.Digest.String(), "60123", "18446744073709551615", "4000000001", "31337", "123456789012345",
						"admin", "schedule", "denied", "throttled", "yes", "scrubbed", "case_twin", "rawmark", class.String(), ".123456789", ".987654321",
					}
					for i, set := range texts {
						if only < 0 || only == i {
							*set(&ev) = marker(i)
							want = append(want, marker(i))
						}
					}
					switch action {
					case "":
					case "span":
						ev.Kind = schemas.KindSpan
						want = slices.DeleteFunc(want, func(w string) bool { return w == marker(2) })
					default:
						ev.Action = action
						want = slices.DeleteFunc(append(want, action), func(w string) bool { return w == marker(15) })
					}
					out := string(write(nil, &ev))
					for _, w := range want {
						if !strings.Contains(out, w) {
							t.Fatalf("%s: %s (class %s, action %q, field %d) is not in %s", name, w, class, action, only, out)
						}
					}
				}
			}
		}
	}
}

// TestValue makes of each format what stands in a JSON document.
func TestValue(t *testing.T) {
	ev := schemas.Event{Class: schemas.ClassActivity, Target: "a\"b|c=\\"}
	for _, name := range format.Names() {
		value, ok := format.Value(name)
		if !ok {
			t.Fatal(name)
		}
		out := value([]byte("x"), &ev)
		first := byte('"')
		if format.Object(name) {
			first = '{'
		}
		if !bytes.HasPrefix(out, []byte{'x', first}) {
			t.Errorf("%s: %s", name, out)
		}
	}
}
