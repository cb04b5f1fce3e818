package main

import (
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
)

func newAgentsRuns(c *console) *cobra.Command {
	var format, agent, subscription, status string
	var limit int
	cmd := &cobra.Command{
		Use:   "runs [RUN]",
		Short: "List the executor's runs, newest first, or show one with its calls and their verdicts",
		Long: "List the runs that the executor knows, also where the server has no store, or show one with its calls and their verdicts.\n" +
			"agentrail runs show joins a run with its records and its trace.",
		Example: "  agentrail agents runs --agent weekly-digest --status denied\n  agentrail agents runs run_1a2b",
		Args:    cobra.MaximumNArgs(1),
	}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.Flags().StringVar(&agent, "agent", "", "name of the agent")
	cmd.Flags().StringVar(&subscription, "subscription", "", "id of the subscription")
	cmd.Flags().StringVar(&status, "status", "", "running, waiting, success, denied, error, cancelled, timeout, missed or interrupted")
	cmd.Flags().IntVar(&limit, "limit", 100, "rows")
	closedSet(cmd, "status", "queued", "running", "waiting", "success", "denied", "error", "cancelled", "timeout", "missed", "interrupted")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		if len(args) == 1 {
			var v platform.Run
			if err := cl.get(cmd.Context(), executorPath("runs/"+url.PathEscape(args[0])), nil, &v); err != nil {
				return err
			}
			return c.show(format, v, func() error { return c.printRun(v) })
		}
		q := url.Values{"limit": {strconv.Itoa(limit)}}
		for key, v := range map[string]string{"agent": agent, "subscription": subscription, "status": status} {
			if v != "" {
				q.Set(key, v)
			}
		}
		var list platform.RunList
		if err := cl.get(cmd.Context(), executorPath("runs"), q, &list); err != nil {
			return err
		}
		nothing(c, format, len(list.Runs), "no run; agentrail agents run AGENT starts one")
		return c.show(format, list.Runs, func() error {
			return printTable(c.out, terminalWidth(c.out), list.Runs, []api.Column[platform.Run]{
				{Name: "started", Value: func(v platform.Run) string { return human(v.Started) }},
				{Name: "took", Value: func(v platform.Run) string {
					if v.Ended.IsZero() {
						return ""
					}
					return v.Ended.Sub(v.Started).Round(time.Millisecond).String()
				}},
				{Name: "agent", Value: func(v platform.Run) string { return v.Agent }},
				{Name: "for", Value: func(v platform.Run) string { return v.User }},
				{Name: "started by", Value: func(v platform.Run) string { return v.Initiator }},
				{Name: "status", Value: func(v platform.Run) string { return v.Status }},
				{Name: "id", Value: func(v platform.Run) string { return v.ID }},
				{Name: "reason", Value: func(v platform.Run) string { return v.Reason }},
			})
		})
	}
	return cmd
}
