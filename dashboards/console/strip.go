package console

import (
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// strip is the time line of an alert: its evidence and its transitions on one
// axis.
type strip struct {
	From, To time.Time
	Marks    []mark
}

type mark struct {
	X    string // percent
	Kind string // evidence, open, update, resolve
	Time time.Time
	Text string
}

// newStrip draws from the first to the last thing that happened, with a little
// room at both ends. Nothing is drawn of an alert without evidence.
func newStrip(all []schemas.Alert, places []schemas.Evidence) *strip {
	var s strip
	see := func(t time.Time) {
		if t.IsZero() {
			return
		}
		if s.From.IsZero() || t.Before(s.From) {
			s.From = t
		}
		if s.To.IsZero() || t.After(s.To) {
			s.To = t
		}
	}
	for _, e := range places {
		see(e.Time)
	}
	for i := range all {
		see(told(&all[i]))
	}
	if len(places) == 0 || s.From.IsZero() {
		return nil
	}
	span := s.To.Sub(s.From)
	at := func(t time.Time) string {
		if span <= 0 {
			return "50%"
		}
		return percent(0.02 + 0.96*float64(t.Sub(s.From))/float64(span))
	}
	for _, e := range places {
		s.Marks = append(s.Marks, mark{at(e.Time), "evidence", e.Time, "evidence"})
	}
	for i := range all {
		t := told(&all[i])
		s.Marks = append(s.Marks, mark{at(t), string(all[i].Transition), t, string(all[i].Transition)})
	}
	return &s
}

// told is the event time that a transition speaks of.
func told(a *schemas.Alert) time.Time {
	if a.Transition == schemas.TransitionOpen && !a.FirstSeen.IsZero() && a.LastSeen.IsZero() {
		return a.FirstSeen
	}
	return a.LastSeen
}
