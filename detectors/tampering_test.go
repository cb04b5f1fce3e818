package detectors_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

// say appends a document of our own behind what was written down so far.
func (s *story) say(class schemas.Class, kind string, at time.Time, doc any) {
	s.t.Helper()
	s.live()
	b, err := decode.Own("acme", class, kind, at.UnixNano(), doc)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range b.Events {
		b.Events[i].Class = class
	}
	s.j.append(b)
}

func (s *story) control(at time.Time, verb, target, author string, args map[string]string) {
	s.say(schemas.ClassControl, "control", at, schemas.Control{
		ID: fmt.Sprint(verb, at.UnixNano()), Tenant: "acme", Verb: verb, Target: target, Author: author, Reason: "because\nof that.", At: at, Args: args,
	})
}

func (s *story) health(at time.Time, h schemas.Health) {
	h.At, h.Tenant = at, "acme"
	s.say(schemas.ClassHealth, "health", at, h)
}

// by is an event of the actor with that content.
func by(actor, target, raw string) func(*schemas.Event) {
	return func(ev *schemas.Event) {
		ev.Actor, ev.ActorEmail, ev.Agent, ev.Target, ev.Raw = actor, "", "", target, []byte(raw)
	}
}

func onSubscription(id, owner string, with func(*schemas.Event)) func(*schemas.Event) {
	return func(ev *schemas.Event) {
		with(ev)
		ev.Subscription, ev.Owner = id, owner
	}
}

const responseRaw = `{"jsonPayload":{"responseAction":{"id":"resp_1","action":"subscription.pause","target":"s1","entity":"actor u_mallory","rule":"burst","alert":"a1"}}}`

func TestTamperingResume(t *testing.T) {
	f := statistic(t, "tampering", "")
	got := f("the owner lifts what a response paused", func(s *story) {
		s.event(noon, "response.requested", by("agentrail-response", "s1", responseRaw))
		s.event(noon.Add(time.Second), "subscription.pause", onSubscription("s1", "", by("agentrail-response", "", `{"jsonPayload":{"request":{"responseId":"resp_1"}}}`)))
		s.event(noon.Add(time.Minute), "subscription.resume", onSubscription("s1", "u_alice", by("u_alice", "", `{"jsonPayload":{"request":{"reason":"works\nagain."}}}`)))
	}, "tampering.resume actor u_alice high")
	says(t, got, `u_alice released the brake on subscription s1 at 12:01:00 UTC on 18 Nov (paused by response resp_1 to rule burst); the reason given: works again.`)
	f("whom the alert is about undoes the response", func(s *story) {
		s.event(noon, "response.confirmed", by("agentrail-response", "s1", responseRaw))
		s.event(noon.Add(time.Minute), "response.undoing", by("u_mallory", "s1", responseRaw))
	}, "tampering.resume actor u_mallory high")
	f("an analyst undoes the response", func(s *story) {
		s.event(noon, "response.confirmed", by("agentrail-response", "s1", responseRaw))
		s.event(noon.Add(time.Minute), "response.undoing", by("u_analyst", "s1", responseRaw))
	})
	f("it ends by itself", func(s *story) {
		s.event(noon, "response.confirmed", by("agentrail-response", "s1", responseRaw))
		s.event(noon.Add(time.Minute), "response.undoing", by("agentrail-response", "s1", responseRaw))
	})
	f("the owner resumes what the owner paused", func(s *story) {
		s.event(noon, "subscription.pause", onSubscription("s1", "u_alice", by("u_alice", "", "{}")))
		s.event(noon.Add(time.Minute), "subscription.resume", onSubscription("s1", "u_alice", by("u_alice", "", "{}")))
	})
	f("a moderator resumes", func(s *story) {
		s.event(noon, "subscription.pause", onSubscription("s1", "u_alice", by("u_analyst", "", "{}")))
		s.event(noon.Add(time.Minute), "subscription.resume", onSubscription("s1", "u_alice", by("u_mod", "", "{}")))
	})
	f("a paused actor resumes themself", func(s *story) {
		s.event(noon, "actor.pause", by("u_analyst", "u_alice", "{}"))
		s.event(noon.Add(time.Minute), "actor.resume", by("u_alice", "u_alice", "{}"))
	}, "tampering.resume actor u_alice high")
	f("it was refused", func(s *story) {
		s.event(noon, "actor.pause", by("u_analyst", "u_alice", "{}"))
		s.event(noon.Add(time.Minute), "actor.resume", func(ev *schemas.Event) { by("u_alice", "u_alice", "{}")(ev); failed(403, "forbidden")(ev) })
	})
	unknown := f("a pause that was never seen", func(s *story) {
		s.event(noon, "subscription.resume", onSubscription("s1", "u_alice", by("u_alice", "", "{}")))
	}, "tampering.resume actor u_alice medium")
	if len(unknown) == 0 || len(unknown[0].Unseen) == 0 || unknown[0].Confidence != "low" {
		t.Errorf("the alert does not say that the pause was not seen: %+v", unknown)
	}
}

func TestTamperingPipeline(t *testing.T) {
	f := statistic(t, "tampering", "")
	config := func(s *story, at time.Time, sinks, rules string) {
		s.health(at, schemas.Health{Kind: "config.loaded", Reason: "started", Parts: map[string]string{"sinks": sinks, "store": rules}})
	}
	got := f("other sinks", func(s *story) {
		config(s, noon, "aa", "1")
		config(s, noon.Add(time.Hour), "aa", "1")
		config(s, noon.Add(2*time.Hour), "bb", "1")
	}, "tampering.config tenant acme medium")
	says(t, got, "1 parts changed (sinks).")
	if len(got) > 0 && (len(got[0].Changes) != 1 || got[0].Changes[0] != schemas.Change{Field: "sinks", Before: "aa", After: "bb"}) {
		t.Errorf("changes %+v", got[0].Changes)
	}
	f("a part that says nothing of alerts", func(s *story) {
		config(s, noon, "aa", "1")
		config(s, noon.Add(time.Hour), "aa", "2")
	}, "tampering.config tenant acme low")
	f("other tokens", func(s *story) {
		for i, digest := range []string{"a", "b"} {
			s.health(noon.Add(time.Duration(i)*time.Hour), schemas.Health{Kind: "config.loaded", Parts: map[string]string{"tokens": digest}})
		}
	}, "tampering.token tenant acme medium")
	f("controls", func(s *story) {
		s.control(noon, "cursor.rm", "sink/soc", "mallory", nil)
		s.control(noon.Add(time.Minute), "rule.suppress", "burst", "mallory", nil)
		s.control(noon.Add(2*time.Minute), "dlq.retry", "d1", "mallory", nil)
		s.health(noon.Add(3*time.Minute), schemas.Health{Kind: "journal.evict_unread", Reason: "the operator allows it"})
	}, "tampering.evidence actor mallory medium", "tampering.rules actor mallory medium", "tampering.evidence tenant acme medium")
	f("exports", func(s *story) {
		s.control(noon, "events.exported", "from=2026", "ana", map[string]string{"rows": "99999"})
		s.control(noon.Add(time.Minute), "events.exported", "from=2026", "ana", map[string]string{"rows": "many"})
		s.control(noon.Add(2*time.Minute), "events.exported", "from=2026", "bob", map[string]string{"rows": "250000"})
	}, "tampering.export actor bob medium")
	refused := f("an attempt", func(s *story) {
		s.event(noon, "gate.edit", func(ev *schemas.Event) { by("u_m", "", "{}")(ev); failed(403, "forbidden")(ev) })
	}, "tampering.rules actor u_m low")
	says(t, refused, "it was refused.")
	f("what a sender calls a control", func(s *story) {
		s.event(noon, "cursor.rm", func(ev *schemas.Event) { ev.Class, ev.Kind = schemas.ClassControl, "control" })
		s.event(noon, "config.loaded", func(ev *schemas.Event) { ev.Class, ev.Kind = schemas.ClassHealth, "health" })
	})
	for _, a := range got {
		if len(a.Tags) == 0 || !strings.HasPrefix(a.Tags[0], "attack.t") {
			t.Errorf("tags %v", a.Tags)
		}
	}
}

// TestOwnResponse: what our own response did raises nothing in any detector; a
// record that only names a response does.
func TestOwnResponse(t *testing.T) {
	play := func(real bool) []string {
		s := tell(t, optionsOf(everyDetector(t)...))
		if real {
			s.event(noon, "response.requested", by("agentrail-response", "s1", responseRaw))
		}
		s.event(noon.Add(time.Second), "subscription.delete", onSubscription("s1", "u_alice", by("u_mod", "", `{"jsonPayload":{"request":{"responseId":"resp_1"}}}`)))
		s.live()
		return opened(s.play())
	}
	if got := play(true); len(got) != 0 {
		t.Errorf("our own response raises %v", got)
	}
	if got := play(false); len(got) != 1 {
		t.Errorf("a forged response id raises %v, want one alert", got)
	}
}
