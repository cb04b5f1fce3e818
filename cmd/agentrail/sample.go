package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/deploy/sample"
)

func newSample(c *console) *cobra.Command {
	var o sample.Options
	var end string
	cmd := &cobra.Command{
		Use:   "sample DIR",
		Short: "Write a labelled day of agent-platform records into a folder",
		Long: "Write a day of agent-platform records with planted incidents and their benign twins into a folder:\n" +
			sample.AuditFile + " and " + sample.WorkflowRunFile + " hold the records, " + sample.LabelsFile + " the labels, apart from them.\n" +
			"The same seed and end make the same bytes.",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().Uint64Var(&o.Seed, "seed", 1, "varies times, names and sizes")
	cmd.Flags().StringVar(&end, "end", "", "when the day ends: RFC 3339, or how long ago; empty means now")
	cmd.Flags().IntVar(&o.Agents, "agents", 40, "agents, at least 12")
	cmd.Flags().IntVar(&o.Users, "users", 200, "users, at least 40")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		o.End = c.now()
		if end != "" {
			t, err := api.ParseTime(end, c.now())
			if err != nil {
				return usagef("write 2026-11-23T08:00:00Z, or how long ago: 2h, 7d", "--end is %q, which is no time", end)
			}
			o.End = t
		}
		if o.Agents < 12 || o.Users < 40 {
			return usagef("use --agents 12 --users 40 or more", "a day needs at least 12 agents and 40 users")
		}
		day := sample.Generate(o)
		if err := day.Write(args[0]); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.out, "%d records and %d labels in %s; time zone of the tenant: %s\nsend them: agentrail up, or POST %s to /v1/audit\n",
			day.Records, len(day.Labels), clean(args[0]), sample.Zone, clean(filepath.Join(args[0], sample.AuditFile)))
		return err
	}
	return cmd
}
