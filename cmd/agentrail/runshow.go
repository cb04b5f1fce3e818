package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

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
		return printRun(c.out, v, terminalWidth(c.out))
	}
	return cmd
}

// run gathers the views of a run.
func (cl *client) run(ctx context.Context, id string) (*api.Joined, error) {
	v := &api.Joined{ID: id, Calls: []api.Event{}, Missing: []string{}}
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
	trace = firstOf(trace, v.Add(events.Events))
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
	v.Miss(trace, events.More)
	return v, nil
}

// absent reports whether the server has no such thing, or no store that could
// have it: then the other views are shown all the same.
func absent(err error) bool {
	a, ok := errors.AsType[*answered](err)
	return ok && (a.status == http.StatusNotFound || a.status == http.StatusNotImplemented)
}
