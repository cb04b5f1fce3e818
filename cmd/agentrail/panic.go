package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/executor/response"
)

func newPanic(c *console) *cobra.Command {
	var format, ttl string
	req := response.Request{Action: response.Panic}
	cmd := &cobra.Command{
		Use:   "panic",
		Short: "Stop all background writes",
		Long: "Stop everything that runs in background, until the time is over or somebody takes it back. It takes two people: whoever asks, and\n" +
			"another admin who approves (two_people in the response policies says so). What is in flight is cancelled.",
		Example: "  agentrail panic --reason \"agents send files out\" --ttl 1h\n  agentrail panic --reason drill --dry-run",
		Args:    cobra.NoArgs,
	}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why; kept with the record (mandatory)")
	cmd.Flags().StringVar(&ttl, "ttl", "1h", "how long, 1s to 30d: 30m, 2h, 7d")
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "only say what would be done")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		if strings.TrimSpace(req.Reason) == "" {
			return usagef("add --reason \"why\"", "panic needs a reason")
		}
		d, err := parseTTL(ttl)
		if err != nil {
			return err
		}
		req.TTL = d
		var done response.View
		if err := cl.post(cmd.Context(), executorPath("responses"), req, &done); err != nil {
			return err
		}
		return c.show(format, done, func() error { return c.printResponse(done) })
	}
	return cmd
}

// parseTTL reads how long something is to hold.
func parseTTL(s string) (time.Duration, error) {
	d, err := response.ParseTTL(s)
	if err != nil {
		return 0, usagef("write 30m, 2h or 7d", "--ttl: %w", err)
	}
	return d, nil
}
