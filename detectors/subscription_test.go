package detectors_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func who(actor string) func(*schemas.Event) {
	return func(ev *schemas.Event) { ev.Actor, ev.ActorEmail = actor, "" }
}

// TestSubscription holds S22: who made, edited or deleted which subscription is said.
func TestSubscription(t *testing.T) {
	const cfg = "{zone: Europe/Berlin, hours: '08:00-18:00', weekdays: [mon, tue, wed, thu, fri], tenants: {night: {hours: '22:00-06:00'}}}"
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	wednesday := func(hour, minute int) time.Time { return time.Date(2026, 11, 18, hour, minute, 0, 0, berlin) }
	f := func(name string, write func(s *story), want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			s := tell(t, detectors.Options{Detectors: []plug.Config{config(t, "subscription", cfg)}})
			s.event(wednesday(9, 0), "subscription.create", nil)
			s.live()
			s.play()
			write(s)
			s.live()
			if diff := cmp.Diff(append([]string{"subscription.routine agent a1 informational"}, want...), opened(s.play())); diff != "" {
				t.Errorf("alerts differ (-want +got):\n%s", diff)
			}
		})
	}
	onSub := func(with func(*schemas.Event)) func(*schemas.Event) {
		return func(ev *schemas.Event) {
			ev.Subscription = "s1"
			if with != nil {
				with(ev)
			}
		}
	}
	f("by the owner, in hours", func(s *story) { s.event(wednesday(9, 30), "subscription.edit", nil) })
	f("release day: many edits are one alert", func(s *story) {
		for i := range 40 {
			s.event(wednesday(9, 30+i%30), "subscription.edit", nil)
		}
	})
	f("by another", func(s *story) { s.event(wednesday(9, 30), "subscription.edit", who("u_mallory")) }, "subscription agent a1 high")
	f("deleted by another", func(s *story) { s.event(wednesday(9, 30), "subscription.delete", who("u_mallory")) }, "subscription agent a1 high")
	f("created by another", func(s *story) { s.event(wednesday(9, 30), "subscription.create", who("u_mallory")) }, "subscription agent a1 high")
	f("by the owner under the mail address", func(s *story) { s.event(wednesday(9, 30), "subscription.edit", who("Alice@example.com")) })
	f("by the owner, off-hours", func(s *story) { s.event(wednesday(18, 0), "subscription.edit", nil) }, "subscription agent a1 high")
	f("by the owner, early", func(s *story) { s.event(wednesday(7, 59).AddDate(0, 0, 1), "subscription.edit", nil) }, "subscription agent a1 high")
	f("by the owner, on Saturday", func(s *story) { s.event(wednesday(12, 0).AddDate(0, 0, 3), "subscription.edit", nil) }, "subscription agent a1 high")
	f("before the clocks change", func(s *story) { // 8:30 in summer is 6:30 UTC
		s.event(time.Date(2027, 3, 26, 8, 30, 0, 0, berlin), "subscription.edit", nil)
		s.live()
		s.event(time.Date(2027, 3, 29, 6, 30, 0, 0, time.UTC), "subscription.edit", nil)
	}, "subscription.routine agent a1 informational", "subscription.routine agent a1 informational")
	f("after they changed, by the old offset", func(s *story) {
		s.event(time.Date(2027, 3, 29, 16, 30, 0, 0, time.UTC), "subscription.edit", nil)
	}, "subscription agent a1 high")
	f("owner not known", func(s *story) {
		s.event(wednesday(9, 30), "subscription.edit", func(ev *schemas.Event) { ev.Agent = "a9" })
	}, "subscription.routine agent a9 low")
	f("attempts are told as such, once", func(s *story) {
		for i := range 9 {
			s.event(wednesday(9, 30+i), "subscription.edit", func(ev *schemas.Event) {
				failed(403, "insufficient_permissions")(ev)
				ev.Actor, ev.ActorEmail = "u_mallory", ""
			})
		}
	}, "subscription.attempt actor u_mallory medium")
	f("the owner's session expired", func(s *story) { s.event(wednesday(9, 30), "subscription.edit", failed(401, "token_expired")) },
		"subscription.attempt actor u_alice informational")
	f("scope is widened", func(s *story) {
		s.event(wednesday(9, 30), "subscription.edit", func(ev *schemas.Event) {
			ev.Raw = []byte(`{"changes":[{"field":"visibility","before":"PRIVATE","after":"everyone"}]}`)
		})
	}, "subscription agent a1 high")
	f("scope is narrowed", func(s *story) {
		s.event(wednesday(9, 30), "subscription.edit", func(ev *schemas.Event) {
			ev.Raw = []byte(`{"before":{"scope":"everyone","name":"x"},"after":{"scope":"team","name":"y"}}`)
		})
	})
	f("scope is wider than in the create record", func(s *story) {
		s.event(wednesday(9, 10), "subscription.create", onSub(func(ev *schemas.Event) { ev.Raw = []byte(`{"request":{"scope":"team"}}`) }))
		s.event(wednesday(9, 30), "subscription.edit", onSub(func(ev *schemas.Event) { ev.Raw = []byte(`{"request":{"scope":"company"}}`) }))
	}, "subscription.routine subscription s1 informational", "subscription subscription s1 high")
	f("a list gained members", func(s *story) {
		s.event(wednesday(9, 30), "subscription.edit", func(ev *schemas.Event) {
			ev.Raw = []byte(`{"changes":{"tools":{"old":["a"],"new":["a","b"]}}}`)
		})
	}, "subscription agent a1 high")
	f("a record that is no JSON", func(s *story) {
		s.event(wednesday(9, 30), "subscription.edit", func(ev *schemas.Event) { ev.Raw = []byte(`{"changes":[{`) })
	})
	f("hours across midnight", func(s *story) {
		at := func(h int) time.Time { return wednesday(h, 0) }
		for _, h := range []int{12, 23} {
			s.event(at(h), "subscription.create", func(ev *schemas.Event) { ev.Tenant, ev.Agent = "night", fmt.Sprint("n", h) })
		}
	}, "subscription agent n12 high", "subscription.routine agent n23 informational")
}

func TestSubscriptionSaysAll(t *testing.T) {
	s := tell(t, detectors.Options{})
	s.event(noon, "inventory.snapshot", inventory("Ticket Digest", schemas.TriYes))
	s.event(noon, "subscription.create", nil)
	s.event(noon.Add(time.Minute), "subscription.edit", func(ev *schemas.Event) { ev.Actor, ev.ActorEmail = "u_m", "mallory@example.com" })
	s.event(noon.Add(2*time.Minute), "subscription.delete", func(ev *schemas.Event) { ev.Actor, ev.ActorEmail = "u_m", "mallory@example.com" })
	s.live()
	got := s.play()
	if len(got) != 3 || got[1].Transition != schemas.TransitionOpen || got[2].Transition != schemas.TransitionUpdate || got[2].ID != got[1].ID {
		t.Fatalf("got %d transitions, want the creation, the edit, and the deletion as an update: %+v", len(got), got)
	}
	a := got[1]
	want := `mallory@example.com edited a subscription of agent "Ticket Digest" (a1) on Wed 12:01 UTC; the owner is alice@example.com.`
	if a.Reason != want || a.Title != "Subscription edited by a non-owner" {
		t.Errorf("%s\n got %s\nwant %s", a.Title, a.Reason, want)
	}
	all := strings.Join(append(append(a.Why, a.Unseen...), a.Next...), "\n")
	for _, part := range []string{"by their create records", "within the working hours 07:00-19:00 every day", "the source does not say what changed", "which subscription", "--action subscription.edit"} {
		if !strings.Contains(all, part) {
			t.Errorf("alert does not say %q:\n%s", part, all)
		}
	}
}

func TestSubscriptionChanges(t *testing.T) {
	s := tell(t, detectors.Options{})
	s.event(noon, "subscription.create", nil)
	s.event(noon.Add(time.Minute), "subscription.edit", func(ev *schemas.Event) {
		ev.Actor, ev.ActorEmail = "u_m", ""
		ev.Raw = []byte(`{"jsonPayload":{"Changes":[{"Field":"schedule","From":"daily","To":"hourly"},{"Field":"x","From":1,"To":1}]}}`)
	})
	s.live()
	got := s.play()
	want := []schemas.Change{{Field: "schedule", Before: "daily", After: "hourly"}}
	if diff := cmp.Diff(want, got[len(got)-1].Changes); diff != "" {
		t.Errorf("changes differ (-want +got):\n%s", diff)
	}
}

// TestSubscriptionSentences reads what people are told.
func TestSubscriptionSentences(t *testing.T) {
	f := func(name, want string, tell3 func(*story)) {
		t.Helper()
		s := tell(t, detectors.Options{})
		s.event(noon, "inventory.snapshot", inventory("Ticket Digest", schemas.TriYes))
		tell3(s)
		s.live()
		got := s.play()
		if last := got[len(got)-1]; last.Reason != want {
			t.Errorf("%s:\n got %s\nwant %s", name, last.Reason, want)
		}
	}
	alices := func(s *story) { s.event(noon, "subscription.create", nil) }
	f("the first", `alice@example.com, its owner, created a subscription of agent "Ticket Digest" (a1) on Wed 12:00 UTC.`, alices)
	f("by the owner, off-hours", `alice@example.com, its owner, edited a subscription of agent "Ticket Digest" (a1) on Wed 23:30 UTC, outside the working hours 07:00-19:00 every day.`, func(s *story) {
		alices(s)
		s.event(noon.Add(690*time.Minute), "subscription.edit", nil)
	})
	f("nobody is known to own it", `alice@example.com deleted a subscription of agent "Ticket Digest" (a1) on Wed 12:00 UTC; the owner is not known.`, func(s *story) {
		s.event(noon, "subscription.delete", nil)
	})
	f("refused", `mallory@example.com tried to delete a subscription of agent "Ticket Digest" (a1) on Wed 12:00 UTC; the owner is alice@example.com; the call was not carried out (insufficient_permissions).`, func(s *story) {
		alices(s)
		s.event(noon, "subscription.delete", func(ev *schemas.Event) {
			ev.Actor, ev.ActorEmail = "u_m", "mallory@example.com"
			failed(403, "insufficient_permissions")(ev)
		})
	})
}
