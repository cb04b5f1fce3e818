package api

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Joined is one run as its three views show it.
type Joined struct {
	ID      string   `json:"id"`
	Run     *Run     `json:"run"`     // its WorkflowRun record
	Calls   []Event  `json:"calls"`   // its audited calls
	Trace   *Trace   `json:"trace"`   // its spans
	Missing []string `json:"missing"` // views that it lacks, and what that may mean
}

// Add takes the run's events, newest first, and returns the trace that they
// name, if one does.
func (v *Joined) Add(events []Event) (trace string) {
	for _, e := range slices.Backward(events) {
		trace = cmp.Or(trace, e.Trace)
		if e.Kind != "span" && e.Kind != "workflow_run" {
			v.Calls = append(v.Calls, e)
		}
	}
	return trace
}

// Miss names the views that the run lacks.
func (v *Joined) Miss(trace string, more bool) {
	say := func(format string, args ...any) { v.Missing = append(v.Missing, fmt.Sprintf(format, args...)) }
	if v.Run == nil {
		say("no run event: the run goes on, its WorkflowRun record has not come in, or the server has no store")
	}
	if len(v.Calls) == 0 {
		say("no audit calls: the run called nothing, or the audit log does not name it")
	}
	if more {
		say("more than 1000 events: the oldest are left out")
	}
	switch {
	case v.Trace == nil && trace == "":
		say("no trace: no record of the run names one")
	case v.Trace == nil:
		say("no trace: the records name %s, but no span of it has come in", trace)
	case v.Trace.More:
		say("more than %d spans: the last are left out", len(v.Trace.Spans))
	}
}

// Bar is one line of the waterfall.
type Bar struct {
	Start, End time.Time
	Depth      int
	Label      string
	Note       string
	Span       bool // of the trace; else an audited call
	Failed     bool
	Event      *Event // of a call
}

// Bars puts spans and calls in one order: a span before what happened in it.
func (v *Joined) Bars() []Bar {
	children, known := map[string][]Span{}, map[string]bool{}
	if v.Trace != nil {
		for _, s := range v.Trace.Spans {
			known[s.Span] = true
		}
		for _, s := range v.Trace.Spans {
			parent := s.Parent
			if !known[parent] || parent == s.Span {
				parent = ""
			}
			children[parent] = append(children[parent], s)
		}
	}
	calls := map[string][]Event{}
	for _, e := range v.Calls {
		at := e.Span
		if !known[at] {
			at = ""
		}
		calls[at] = append(calls[at], e)
	}
	var out []Bar
	seen := map[string]bool{}
	var walk func(of string, depth int)
	walk = func(of string, depth int) {
		for _, e := range calls[of] {
			out = append(out, callBar(e, depth))
		}
		for _, s := range children[of] {
			if seen[s.Span] {
				continue
			}
			seen[s.Span] = true
			out = append(out, spanBar(s, depth))
			walk(s.Span, depth+1)
		}
	}
	walk("", 0)
	if v.Trace != nil {
		for _, s := range v.Trace.Spans { // a ring of spans hangs on nothing
			if !seen[s.Span] {
				seen[s.Span] = true
				out = append(out, spanBar(s, 0))
				walk(s.Span, 1)
			}
		}
	}
	return out
}

func spanBar(s Span, depth int) Bar {
	return Bar{Start: s.Start, End: s.Start.Add(time.Duration(s.DurationNS)), Depth: depth, Label: s.Name, Note: "span " + cmp.Or(s.Status, "Unset") + space(s.Message), Span: true, Failed: s.Status == "Error"}
}

func callBar(e Event, depth int) Bar {
	note := "call " + e.Outcome
	if e.Status != 0 {
		note += fmt.Sprintf(" %d", e.Status)
	}
	return Bar{Start: e.Time, End: e.Time.Add(time.Duration(e.DurationNS)), Depth: depth, Label: cmp.Or(e.Action, e.Endpoint, e.Kind) + space(cmp.Or(e.Tool, e.Target)), Note: note + space(e.Reason), Failed: e.Outcome != "ok", Event: &e}
}

func space(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}

// Spread is the time that the run and its bars cover.
func (v *Joined) Spread(bars []Bar) (from, to time.Time) {
	if v.Run != nil {
		from, to = v.Run.Started, v.Run.Ended
	}
	for _, b := range bars {
		if from.IsZero() || b.Start.Before(from) {
			from = b.Start
		}
		if b.End.After(to) {
			to = b.End
		}
	}
	return from, to
}
