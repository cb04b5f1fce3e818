package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

func newLog(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Look after the journal: check, repair and dump it offline, list and remove cursors",
	}
	cmd.AddCommand(newLogCheck(c), newLogRepair(c), newLogDump(c), newLogCursors(c))
	return cmd
}

func newLogCursors(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "cursors", Short: "List and remove the cursors of a running server"}
	cmd.AddCommand(newCursorsList(c), newCursorsRemove(c))
	return cmd
}

func newCursorsList(c *console) *cobra.Command {
	var format string
	cmd := &cobra.Command{Use: "ls", Short: "List cursors: how far each consumer has read", Args: cobra.NoArgs}
	cl := addClient(c, cmd)
	addOutput(cmd, &format)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkOutput(format); err != nil {
			return err
		}
		var list api.CursorList
		if err := cl.get(cmd.Context(), "cursors", nil, &list); err != nil {
			return err
		}
		return printRows(c, format, list.Cursors, cursorColumns(human), cursorColumns(api.Time))
	}
	return cmd
}

func cursorColumns(show func(time.Time) string) []api.Column[api.Cursor] {
	return []api.Column[api.Cursor]{
		{Name: "name", Value: func(r api.Cursor) string { return r.Name }},
		{Name: "offset", Value: func(r api.Cursor) string { return strconv.FormatUint(r.Offset, 10) }},
		{Name: "lag", Value: func(r api.Cursor) string { return strconv.FormatUint(r.Lag, 10) }},
		{Name: "updated", Value: func(r api.Cursor) string { return show(r.Updated) }},
		{Name: "state", Value: func(r api.Cursor) string {
			if r.Abandoned {
				return "abandoned"
			}
			return "in use"
		}},
	}
}

func newCursorsRemove(c *console) *cobra.Command {
	var reason string
	var dry bool
	cmd := &cobra.Command{
		Use:   "rm NAME --reason WHY",
		Short: "Forget an abandoned cursor, so that it holds retention no longer",
		Args:  cobra.ExactArgs(1),
	}
	cl := addClient(c, cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept with the request (mandatory)")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be asked for")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return usagef("add --reason \"why\"", "cursors rm needs a reason")
		}
		if dry {
			_, err := fmt.Fprintf(c.out, "would remove cursor %s\n", clean(args[0]))
			return err
		}
		var receipt api.ControlReceipt
		if err := cl.post(cmd.Context(), "cursors/rm", api.CursorRemoval{Name: args[0], Reason: reason}, &receipt); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.out, "cursor %s removed (control %s, offset %d)\n", clean(args[0]), receipt.Control.ID, receipt.Offset)
		return err
	}
	return cmd
}
