package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

func newLedgerVerb(c *console) *cobra.Command {
	var format string
	var limit int
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Show what became of events at each sink, by hour",
		Long: "Show what became of the events that the journal received, hour by hour and sink by sink: seen = filtered + accepted + dead + waiting.\n" +
			"An hour is closed when the sink's cursor has passed it; its statement is then an event in the journal (kind statement), which the next signed head covers.\n" +
			"Exit code 1 means that an hour is closed with a difference: the journal holds events that the sink's cursor did not pass.",
		Example: "  agentrail ledger --sink soc --since 24h",
		Args:    cobra.NoArgs,
	}
	cl := addClient(c, cmd)
	f := addFilter(cmd, "sink", "since")
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
		var list api.LedgerList
		if err := cl.get(cmd.Context(), "ledger", q, &list); err != nil {
			return err
		}
		nothing(c, format, len(list.Rows), "no events for any sink in that time")
		if err := printRows(c, format, list.Rows, ledgerColumns(human), ledgerColumns(api.Time)); err != nil {
			return err
		}
		if list.More {
			fmt.Fprintf(c.err, "there are more than %d rows; narrow --since or raise --limit\n", limit)
		}
		n := 0
		for _, r := range list.Rows {
			if r.Difference != 0 {
				n++
			}
		}
		if n > 0 {
			fmt.Fprintf(c.err, "%d hours are closed with a difference between journal and sink; agentrail replay sends a range again\n", n)
			return &findings{n: n}
		}
		return nil
	}
	return cmd
}

func ledgerColumns(show func(time.Time) string) []api.Column[api.LedgerRow] {
	count := func(name string, of func(api.LedgerRow) int64) api.Column[api.LedgerRow] {
		return api.Column[api.LedgerRow]{Name: name, Value: func(r api.LedgerRow) string { return strconv.FormatInt(of(r), 10) }}
	}
	return []api.Column[api.LedgerRow]{
		{Name: "hour", Value: func(r api.LedgerRow) string { return show(r.Hour) }},
		{Name: "sink", Value: func(r api.LedgerRow) string { return r.Sink }},
		count("seen", func(r api.LedgerRow) int64 { return r.Seen }),
		count("filtered", func(r api.LedgerRow) int64 { return r.Filtered }),
		count("accepted", func(r api.LedgerRow) int64 { return r.Accepted }),
		count("indexed", func(r api.LedgerRow) int64 { return r.Indexed }),
		count("dead", func(r api.LedgerRow) int64 { return r.Dead }),
		count("waiting", func(r api.LedgerRow) int64 { return r.Waiting }),
		count("replayed", func(r api.LedgerRow) int64 { return r.Replayed }),
		count("difference", func(r api.LedgerRow) int64 { return r.Difference }),
		{Name: "offsets", Value: func(r api.LedgerRow) string {
			if r.To == 0 {
				return ""
			}
			return fmt.Sprintf("%d-%d", r.From, r.To-1)
		}},
		{Name: "state", Value: ledgerState},
	}
}

func ledgerState(r api.LedgerRow) string {
	switch {
	case r.Closed && r.Partial:
		return "closed, began in that hour"
	case r.Closed:
		return "closed"
	case r.Partial:
		return "open, began in that hour"
	}
	return "open"
}
