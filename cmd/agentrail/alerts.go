package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

func newAlerts(c *console) *cobra.Command {
	var format string
	var limit int
	cmd := &cobra.Command{
		Use:     "alerts",
		Short:   "List alerts, newest first",
		Example: "  agentrail alerts --state open --severity high\n  agentrail alerts show ID\n  agentrail alerts ack ID --reason \"looking into it\"",
		Args:    cobra.NoArgs,
	}
	cl := addClient(c, cmd)
	f := addFilter(cmd, "since", "until", "actor", "agent", "rule", "severity", "state")
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
		var list api.AlertList
		if err := cl.get(cmd.Context(), "alerts", q, &list); err != nil {
			return err
		}
		cl.sayMemory()
		if list.More {
			defer fmt.Fprintln(c.err, "the limit was reached; raise --limit or narrow the filters")
		}
		nothing(c, format, len(list.Alerts), "no alert matches; agentrail tap --class alert waits for the next, agentrail doctor says whether anything arrives")
		return printRows(c, format, list.Alerts, alertColumns(), alertExport())
	}
	cmd.AddCommand(newAlertShow(c))
	for _, v := range alertVerbs {
		cmd.AddCommand(newAlertControl(c, v))
	}
	return cmd
}

func alertColumns() []api.Column[schemas.Alert] {
	return []api.Column[schemas.Alert]{
		{Name: "last seen", Value: func(a schemas.Alert) string { return human(a.LastSeen) }},
		{Name: "severity", Value: func(a schemas.Alert) string { return string(a.Severity) }},
		{Name: "state", Value: alertState},
		{Name: "rule", Value: func(a schemas.Alert) string { return a.Rule }},
		{Name: "on", Value: func(a schemas.Alert) string { return firstOf(a.Entity.Name, a.Entity.ID) }},
		{Name: "count", Value: func(a schemas.Alert) string { return strconv.FormatInt(a.Count, 10) }},
		{Name: "id", Value: func(a schemas.Alert) string { return a.ID }},
		{Name: "reason", Value: func(a schemas.Alert) string { return a.Reason }},
	}
}

func alertExport() []api.Column[schemas.Alert] {
	text := func(name string, v func(schemas.Alert) string) api.Column[schemas.Alert] {
		return api.Column[schemas.Alert]{Name: name, Value: v}
	}
	return []api.Column[schemas.Alert]{
		text("id", func(a schemas.Alert) string { return a.ID }),
		text("state", alertState),
		text("assignee", func(a schemas.Alert) string { return life(a).Assignee }),
		text("state_since", func(a schemas.Alert) string { return api.Time(life(a).Since) }),
		text("state_by", func(a schemas.Alert) string { return life(a).By }),
		text("mode", func(a schemas.Alert) string { return string(a.Mode) }),
		text("severity", func(a schemas.Alert) string { return string(a.Severity) }),
		text("confidence", func(a schemas.Alert) string { return a.Confidence }),
		text("rule", func(a schemas.Alert) string { return a.Rule }),
		text("title", func(a schemas.Alert) string { return a.Title }),
		text("entity_kind", func(a schemas.Alert) string { return a.Entity.Kind }),
		text("entity_id", func(a schemas.Alert) string { return a.Entity.ID }),
		text("entity_name", func(a schemas.Alert) string { return a.Entity.Name }),
		text("actor", func(a schemas.Alert) string { return a.Actor }),
		text("actor_email", func(a schemas.Alert) string { return a.ActorEmail }),
		text("on_behalf_of", func(a schemas.Alert) string { return a.OnBehalfOf }),
		text("agent", func(a schemas.Alert) string { return a.Agent }),
		text("agent_name", func(a schemas.Alert) string { return a.AgentName }),
		text("first_seen", func(a schemas.Alert) string { return api.Time(a.FirstSeen) }),
		text("last_seen", func(a schemas.Alert) string { return api.Time(a.LastSeen) }),
		text("count", func(a schemas.Alert) string { return strconv.FormatInt(a.Count, 10) }),
		text("reason", func(a schemas.Alert) string { return a.Reason }),
		text("tags", func(a schemas.Alert) string { return strings.Join(a.Tags, " ") }),
	}
}

func alertState(a schemas.Alert) string {
	return string(a.StateAt(time.Now())) + alertMarks(&a)
}

func newAlertShow(c *console) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one alert: what, who, how it was derived, what was not seen, and what to do next",
		Args:  cobra.ExactArgs(1),
	}
	cl := addClient(c, cmd)
	cmd.ValidArgsFunction = cl.completeAlerts
	cmd.Flags().StringVarP(&format, "output", "o", "table", "format: table or json")
	closedSet(cmd, "output", "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if format != "table" && format != "json" {
			return usagef("use --output table or json", "unknown output format %q", format)
		}
		var d api.AlertDetail
		if err := cl.get(cmd.Context(), "alerts/"+url.PathEscape(args[0]), nil, &d); err != nil {
			return err
		}
		if format == "json" {
			return printJSON(c.out, d)
		}
		return printAlert(c, d)
	}
	return cmd
}

func printAlert(c *console, d api.AlertDetail) error {
	a := d.Alert
	p := &page{w: c.out}
	p.line("", fmt.Sprintf("%s: %s (%s)", strings.ToUpper(string(a.Severity)), a.Title, alertState(a)))
	p.line("", a.Reason)
	p.line("", "")
	p.line("alert", a.ID)
	p.line("state", lifeWords(a))
	p.line("rule", a.Rule+", confidence "+firstOf(a.Confidence, "not said"))
	p.line("mode", quietWords(&a))
	p.line("on", a.Entity.Kind+" "+named(a.Entity.Name, a.Entity.ID))
	p.line("who", named(a.ActorEmail, a.Actor))
	p.line("on behalf of", a.OnBehalfOf)
	p.line("agent", named(a.AgentName, a.Agent))
	p.line("subscription", a.Subscription)
	p.line("run", a.Run)
	for _, trace := range traces(d.Evidence) {
		p.line("trace", trace)
	}
	p.line("started by", a.Initiator)
	p.line("seen", fmt.Sprintf("%s to %s, %d events", human(a.FirstSeen), human(a.LastSeen), a.Count))
	p.line("measured", measured(a))
	for _, ch := range a.Changes {
		p.line("changed", ch.Field+": "+firstOf(ch.Before, "(nothing)")+" -> "+firstOf(ch.After, "(nothing)"))
	}
	p.list("why", a.Why)
	p.list("not seen", a.Unseen)
	p.list("tags", a.Tags)
	p.list("do next", a.Next)
	for _, s := range d.History {
		p.line("history", historyLine(s))
	}
	if len(d.Missing) > 0 {
		p.line("missing", fmt.Sprintf("%d records of the evidence are not in the store (yet, or any more); the journal has them", len(d.Missing)))
	}
	if p.err != nil || len(d.Evidence) == 0 {
		return p.err
	}
	p.line("", "")
	p.line("", "Evidence, oldest first:")
	return printTable(c.out, terminalWidth(c.out), d.Evidence, eventColumns())
}

// traces are those that the events belong to, each once.
func traces(events []api.Event) []string {
	var out []string
	for _, e := range events {
		if e.Trace != "" && !slices.Contains(out, e.Trace) {
			out = append(out, e.Trace)
		}
	}
	return out
}

func named(name, id string) string {
	if name == "" || name == id {
		return id
	}
	if id == "" {
		return name
	}
	return name + " (" + id + ")"
}

func measured(a schemas.Alert) string {
	if a.Observed == 0 && a.Threshold == 0 {
		return ""
	}
	usual := "not known yet"
	if a.Usual != nil {
		usual = strconv.FormatFloat(*a.Usual, 'g', 4, 64)
	}
	s := fmt.Sprintf("%.4g, usual %s, threshold %.4g", a.Observed, usual, a.Threshold)
	if a.Window > 0 {
		s += ", in " + a.Window.Round(time.Second).String()
	}
	return s
}

// page writes labelled lines and keeps the first error.
type page struct {
	w   io.Writer
	err error
}

func (p *page) line(label, text string) {
	if p.err != nil || text == "" && label != "" {
		return
	}
	if label == "" {
		_, p.err = fmt.Fprintln(p.w, clean(text))
		return
	}
	_, p.err = fmt.Fprintf(p.w, "  %-13s %s\n", label, clean(text))
}

// list writes one line for each text, with the label on the first.
func (p *page) list(label string, texts []string) {
	for _, t := range texts {
		if p.err == nil {
			_, p.err = fmt.Fprintf(p.w, "  %-13s %s\n", label, clean(t))
		}
		label = ""
	}
}
