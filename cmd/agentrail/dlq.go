package main

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

func newDLQ(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "Look after dead letters: records that could not be read or delivered",
	}
	cmd.AddCommand(newDLQList(c), newDLQShow(c),
		newDLQControl(c, "retry", "Deliver dead letters again"),
		newDLQControl(c, "drop", "Give dead letters up; the journal keeps the records"))
	return cmd
}

func newDLQList(c *console) *cobra.Command {
	var format string
	var limit int
	cmd := &cobra.Command{Use: "ls", Short: "List open dead letters, newest first", Args: cobra.NoArgs}
	cl := addClient(c, cmd)
	f := addFilter(cmd, "consumer")
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
		var list api.DeadLetterList
		if err := cl.get(cmd.Context(), "dlq", q, &list); err != nil {
			return err
		}
		nothing(c, format, len(list.DeadLetters), "no dead letter: everything that came could be read, and every sink took what it was given")
		return printRows(c, format, list.DeadLetters, deadLetterColumns(human), deadLetterColumns(api.Time))
	}
	return cmd
}

func deadLetterColumns(show func(time.Time) string) []api.Column[api.DeadLetter] {
	return []api.Column[api.DeadLetter]{
		{Name: "at", Value: func(d api.DeadLetter) string { return show(d.At) }},
		{Name: "consumer", Value: func(d api.DeadLetter) string { return d.Consumer }},
		{Name: "code", Value: func(d api.DeadLetter) string { return d.Code }},
		{Name: "attempts", Value: func(d api.DeadLetter) string { return strconv.Itoa(d.Attempts) }},
		{Name: "bytes", Value: func(d api.DeadLetter) string { return strconv.Itoa(d.Size) }},
		{Name: "place", Value: func(d api.DeadLetter) string { return fmt.Sprintf("%d/%d", d.Offset, d.Index) }},
		{Name: "id", Value: func(d api.DeadLetter) string { return d.ID }},
		{Name: "reason", Value: func(d api.DeadLetter) string { return d.Reason }},
	}
}

func newDLQShow(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "show ID", Short: "Show one dead letter as JSON, with its bytes", Args: cobra.ExactArgs(1)}
	cl := addClient(c, cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var d schemas.DeadLetter
		if err := cl.get(cmd.Context(), "dlq/"+url.PathEscape(args[0]), nil, &d); err != nil {
			return err
		}
		return printJSON(c.out, struct {
			schemas.DeadLetter
			Text string `json:"text"` // the bytes, for people
		}{d, string(d.Bytes)})
	}
	return cmd
}

func newDLQControl(c *console, verb, short string) *cobra.Command {
	var reason string
	var dry bool
	cmd := &cobra.Command{Use: verb + " ID...", Short: short, Args: cobra.MinimumNArgs(1)}
	cl := addClient(c, cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept with the request (mandatory)")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be asked for")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return usagef("add --reason \"why\"", "dlq %s needs a reason", verb)
		}
		for _, id := range args {
			if dry {
				fmt.Fprintf(c.out, "would %s %s\n", verb, clean(id))
				continue
			}
			var receipt api.ControlReceipt
			req := api.ControlRequest{Verb: "dlq." + verb, Target: id, Reason: reason}
			if err := cl.post(cmd.Context(), "control", req, &receipt); err != nil {
				return fmt.Errorf("%s %s: %w", verb, id, err)
			}
			fmt.Fprintf(c.out, "%s of %s asked for (control %s, offset %d)\n", verb, clean(id), receipt.Control.ID, receipt.Offset)
		}
		return nil
	}
	return cmd
}
