package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

func newRuns(c *console) *cobra.Command {
	var format string
	var limit int
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "List runs of agents, newest first",
		Args:  cobra.NoArgs,
	}
	cl := addClient(c, cmd)
	f := addFilter(cmd, "since", "until", "actor", "agent", "subscription", "outcome", "run", "trace", "after")
	addOutput(cmd, &format)
	cmd.Flags().IntVar(&limit, "limit", api.DefaultLimit, "rows")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkOutput(format); err != nil {
			return err
		}
		q, err := f.query(c.now(), limit, api.MaxLimit)
		if err != nil {
			return err
		}
		var list api.RunList
		if err := cl.get(cmd.Context(), "runs", q, &list); err != nil {
			return err
		}
		if list.More {
			defer goOn(c, list.Next)
		}
		nothing(c, format, len(list.Runs), "no run matches; widen --since or drop a filter; agentrail doctor says whether workflowrun delivers")
		return printRows(c, format, list.Runs, runColumns(human), runColumns(api.Time))
	}
	cmd.AddCommand(newRunsShow(c))
	return cmd
}

func runColumns(show func(time.Time) string) []api.Column[api.Run] {
	return []api.Column[api.Run]{
		{Name: "started", Value: func(r api.Run) string { return show(r.Started) }},
		{Name: "ended", Value: func(r api.Run) string { return show(r.Ended) }},
		{Name: "agent", Value: func(r api.Run) string { return firstOf(r.AgentName, r.Agent) }},
		{Name: "actor", Value: func(r api.Run) string { return firstOf(r.ActorEmail, r.Actor) }},
		{Name: "initiator", Value: func(r api.Run) string { return r.Initiator }},
		{Name: "outcome", Value: func(r api.Run) string { return r.Outcome }},
		{Name: "id", Value: func(r api.Run) string { return r.ID }},
		{Name: "reason", Value: func(r api.Run) string { return r.Reason }},
	}
}
