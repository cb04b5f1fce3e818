package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
)

func newExecutorParked(c *console) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "parked",
		Short:   "List the executor's records that the server has refused for good, newest first",
		Example: "  agentrail executor parked",
		Args:    cobra.NoArgs,
	}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		var list platform.ParkedList
		if err := cl.get(cmd.Context(), executorPath("records/parked"), nil, &list); err != nil {
			return err
		}
		nothing(c, format, len(list.Records), "no record is parked: the server took every one that it was sent")
		if list.More {
			fmt.Fprintln(c.err, "there are more; these are the newest")
		}
		return c.show(format, list.Records, func() error {
			return printTable(c.out, terminalWidth(c.out), list.Records, []api.Column[platform.Parked]{
				{Name: "at", Value: func(p platform.Parked) string { return human(p.At) }},
				{Name: "place", Value: func(p platform.Parked) string { return strconv.FormatInt(p.Place, 10) }},
				{Name: "source", Value: func(p platform.Parked) string { return p.Source }},
				{Name: "bytes", Value: func(p platform.Parked) string { return strconv.Itoa(p.Bytes) }},
				{Name: "id", Value: func(p platform.Parked) string { return p.ID }},
				{Name: "reason", Value: func(p platform.Parked) string { return p.Reason }},
			})
		})
	}
	return cmd
}

func newExecutorResend(c *console) *cobra.Command {
	var reason, format string
	var all, dry bool
	cmd := &cobra.Command{
		Use:     "resend PLACE...",
		Short:   "Send parked records to the server again, once what they were refused for is mended",
		Args:    cobra.ArbitraryArgs,
		Example: "  agentrail executor resend 812 --reason \"max_record was raised\"\n  agentrail executor resend --all --reason \"max_record was raised\"",
	}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept with the request (mandatory)")
	cmd.Flags().BoolVar(&all, "all", false, "all that are parked now, at most 1000 at once")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be sent")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case checkShow(format) != nil:
			return checkShow(format)
		case reason == "":
			return usagef("add --reason \"why\"", "executor resend needs a reason")
		case all == (len(args) > 0):
			return usagef("agentrail executor parked shows the places", "name the places of records, or --all")
		}
		req := platform.ResendRequest{Reason: reason}
		for _, a := range args {
			place, err := strconv.ParseInt(a, 10, 64)
			if err != nil || place < 0 {
				return usagef("agentrail executor parked shows the places", "%q is no place of a record", a)
			}
			req.Places = append(req.Places, place)
		}
		if all {
			var list platform.ParkedList
			if err := cl.get(cmd.Context(), executorPath("records/parked"), nil, &list); err != nil {
				return err
			}
			for _, one := range list.Records {
				req.Places = append(req.Places, one.Place)
			}
		}
		done := platform.Resent{Records: len(req.Places)}
		said := "would be sent again"
		if !dry && len(req.Places) > 0 {
			if err := cl.post(cmd.Context(), executorPath("records/resend"), req, &done); err != nil {
				return err
			}
			said = plural(done.Records, "waits", "wait") + " to be sent again; agentrail executor parked lists what is refused again"
		}
		return c.show(format, done, func() error {
			_, err := fmt.Fprintf(c.out, "%d %s %s\n", done.Records, plural(done.Records, "record", "records"), said)
			return err
		})
	}
	return cmd
}
