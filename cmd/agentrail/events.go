package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

func newEvents(c *console) *cobra.Command {
	var format string
	var limit int
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List events, newest first",
		Long:  "List events, newest first. As CSV or JSON up to a million are streamed; as a table at most 10,000.",
		Example: "  agentrail events --since 2h --actor jane@example.com --outcome denied\n" +
			"  agentrail events --since 7d --action subscription.create --output csv --limit 100000 > changes.csv",
		Args: cobra.NoArgs,
	}
	cl := addClient(c, cmd)
	f := addFilter(cmd, "since", "until", "actor", "agent", "action", "tool", "subscription", "outcome", "class", "kind", "run", "trace", "after")
	addOutput(cmd, &format)
	cmd.Flags().IntVar(&limit, "limit", api.DefaultLimit, "rows")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkOutput(format); err != nil {
			return err
		}
		most := api.MaxExport
		if format == "table" {
			most = api.MaxLimit
		}
		q, err := f.query(c.now(), limit, most)
		if err != nil {
			return err
		}
		return cl.printEvents(cmd.Context(), q, format)
	}
	cmd.AddCommand(newEventShow(c))
	return cmd
}

func newEventShow(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one event as JSON, with its record as received if the token may read it",
		Args:  cobra.ExactArgs(1),
	}
	cl := addClient(c, cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var e api.Event
		if err := cl.get(cmd.Context(), "events/"+url.PathEscape(args[0]), nil, &e); err != nil {
			return err
		}
		return printJSON(c.out, e)
	}
	return cmd
}

func eventColumns() []api.Column[api.Event] {
	return []api.Column[api.Event]{
		{Name: "time", Value: func(e api.Event) string { return human(e.Time) }},
		{Name: "kind", Value: func(e api.Event) string { return e.Kind }},
		{Name: "actor", Value: func(e api.Event) string { return firstOf(e.ActorEmail, e.Actor) }},
		{Name: "agent", Value: func(e api.Event) string { return firstOf(e.Name, e.Agent) }},
		{Name: "action", Value: func(e api.Event) string { return firstOf(e.Action, e.SourceAction) }},
		{Name: "outcome", Value: func(e api.Event) string { return e.Outcome }},
		{Name: "on", Value: func(e api.Event) string { return firstOf(e.Tool, e.Target, e.Subscription) }},
		{Name: "id", Value: func(e api.Event) string { return e.ID }},
	}
}

// printEvents prints a table of a list, whose widths depend on all rows, or asks
// for a stream and writes each event as it comes: that is an export, and on
// record as one.
func (cl *client) printEvents(ctx context.Context, q url.Values, format string) error {
	if format == "table" {
		return cl.printEventTable(ctx, q)
	}
	body, err := cl.do(ctx, http.MethodGet, "events", q, nil, "application/x-ndjson")
	if err != nil {
		return err
	}
	defer body.Close()
	cl.sayMemory()
	if format == "csv" {
		w, err := api.NewCSV(cl.c.out, api.EventColumns())
		if err != nil {
			return err
		}
		err = eachEvent(body, w.Write)
		return errors.Join(w.Flush(), err)
	}
	return writeArray(cl.c.out, body)
}

func (cl *client) printEventTable(ctx context.Context, q url.Values) error {
	var list api.EventList
	if err := cl.get(ctx, "events", q, &list); err != nil {
		return err
	}
	cl.sayMemory()
	nothing(cl.c, "table", len(list.Events), "no event matches; widen --since or drop a filter; agentrail doctor says whether anything arrives")
	err := printRows(cl.c, "table", list.Events, eventColumns(), nil)
	if list.More {
		goOn(cl.c, list.Next)
	}
	return err
}

// goOn says on standard error how to see what comes behind the last row.
func goOn(c *console, place string) {
	fmt.Fprintln(c.err, "the limit was reached; go on with --after "+place+" or raise --limit")
}

func eachEvent(body io.Reader, use func(api.Event) error) error {
	dec := json.NewDecoder(body)
	for {
		var e api.Event
		err := dec.Decode(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return hintf("the rows above are not all; see the server's log", "read events: server cut the answer off: %w", err)
		}
		if err := use(e); err != nil {
			return err
		}
	}
}

// writeArray writes the events as one JSON array, one event a line.
func writeArray(w io.Writer, body io.Reader) error {
	sep := "[\n"
	err := eachEvent(body, func(e api.Event) error {
		doc, err := json.Marshal(e)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s%s", sep, escapeJSON(doc))
		}
		sep = ",\n"
		return err
	})
	if err != nil {
		return err // no closing bracket: a part must not look like the whole
	}
	end := "\n]\n"
	if sep == "[\n" {
		end = "[]\n"
	}
	_, err = io.WriteString(w, end)
	return err
}
