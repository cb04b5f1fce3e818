package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// runView is one run as its three views show it.
type runView struct {
	ID      string      `json:"id"`
	Run     *api.Run    `json:"run"`     // its WorkflowRun record
	Calls   []api.Event `json:"calls"`   // its audited calls
	Trace   *api.Trace  `json:"trace"`   // its spans
	Missing []string    `json:"missing"` // views that it lacks, and what that may mean
}

func newRunsShow(c *console) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show one run: its record, its audited calls and its trace, on one line of time",
		Example: "  agentrail runs show 8c1f…",
		Args:    cobra.ExactArgs(1),
	}
	cl := addClient(c, cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "table", "format: table or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if format != "table" && format != "json" {
			return usagef("use --output table or json", "unknown output format %q", format)
		}
		v, err := cl.run(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if format == "json" {
			return printJSON(c.out, v)
		}
		return v.print(c.out, terminalWidth(c.out))
	}
	return cmd
}

// run gathers the views of a run.
func (cl *client) run(ctx context.Context, id string) (*runView, error) {
	v := &runView{ID: id, Calls: []api.Event{}, Missing: []string{}}
	var runs api.RunList
	if err := cl.get(ctx, "runs", url.Values{"run": {id}, "limit": {"1"}}, &runs); err != nil && !absent(err) {
		return nil, err
	}
	var events api.EventList
	if err := cl.get(ctx, "events", url.Values{"run": {id}, "class": {"activity"}, "limit": {"1000"}}, &events); err != nil {
		return nil, err
	}
	trace := ""
	if len(runs.Runs) > 0 {
		v.Run, trace = &runs.Runs[0], runs.Runs[0].Trace
	}
	for _, e := range slices.Backward(events.Events) {
		trace = firstOf(trace, e.Trace)
		if e.Kind != "span" && e.Kind != "workflow_run" {
			v.Calls = append(v.Calls, e)
		}
	}
	if trace != "" {
		v.Trace = new(api.Trace)
		err := cl.get(ctx, "traces/"+url.PathEscape(trace), nil, v.Trace)
		if absent(err) {
			v.Trace, err = nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if v.Run == nil && len(v.Calls) == 0 && v.Trace == nil {
		return nil, hintf("list runs with: agentrail runs", "there is no run %q", id)
	}
	v.miss(trace, events.More)
	return v, nil
}

// absent reports whether the server has no such thing, or no store that could
// have it: then the other views are shown all the same.
func absent(err error) bool {
	a, ok := errors.AsType[*answered](err)
	return ok && (a.status == http.StatusNotFound || a.status == http.StatusNotImplemented)
}

// miss names the views that the run lacks.
func (v *runView) miss(trace string, more bool) {
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

// bar is one line of the waterfall.
type bar struct {
	start, end time.Time
	depth      int
	label      string
	note       string
}

// bars puts spans and calls in one order: a span before what happened in it.
func (v *runView) bars() []bar {
	children, known := map[string][]api.Span{}, map[string]bool{}
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
	calls := map[string][]api.Event{}
	for _, e := range v.Calls {
		at := e.Span
		if !known[at] {
			at = ""
		}
		calls[at] = append(calls[at], e)
	}
	var out []bar
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

func spanBar(s api.Span, depth int) bar {
	return bar{s.Start, s.Start.Add(time.Duration(s.DurationNS)), depth, s.Name, "span " + firstOf(s.Status, "Unset") + space(s.Message)}
}

func callBar(e api.Event, depth int) bar {
	note := "call " + e.Outcome
	if e.Status != 0 {
		note += fmt.Sprintf(" %d", e.Status)
	}
	return bar{e.Time, e.Time.Add(time.Duration(e.DurationNS)), depth, firstOf(e.Action, e.Endpoint, e.Kind) + space(firstOf(e.Tool, e.Target)), note + space(e.Reason)}
}

func space(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}
