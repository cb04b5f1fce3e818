package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

func newRulesSuppress(c *console) *cobra.Command {
	var reason, entity string
	var span time.Duration
	cmd := &cobra.Command{
		Use:   "suppress RULE --for 24h --reason WHY",
		Short: "Have nobody told of what a rule finds, for a while; asks the server",
		Long: "Have nobody told of what a rule finds, on one entity or on all, until the time is over. Its alerts are stored, counted and\n" +
			"shown as suppressed; no policy acts on them. What goes on when the time is over is told then. RULE is a rule's name or id, or\n" +
			"the name of a detector. The request is an event with your name. Needs the role analyst or admin.",
		Example: "  agentrail rules suppress burst --entity agent:agt_42 --for 24h --reason \"migration, change 4711\"",
		Args:    cobra.ExactArgs(1),
	}
	cl := addClient(c, cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept with the request (mandatory)")
	cmd.Flags().StringVar(&entity, "entity", "", "only on this one, kind:id, such as agent:agt_42")
	cmd.Flags().DurationVar(&span, "for", 0, "how long, at most 720h (mandatory)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if span <= 0 {
			return usagef("add --for 24h", "a suppression needs an end")
		}
		return askAboutRule(c, cmd, cl, api.ControlRequest{Verb: schemas.RuleSuppress, Target: args[0], Reason: reason, TTL: span.String()}, entity)
	}
	return cmd
}

func newRulesUnsuppress(c *console) *cobra.Command {
	var reason, entity string
	cmd := &cobra.Command{
		Use: "unsuppress RULE --reason WHY", Short: "End a suppression before its time; asks the server", Args: cobra.ExactArgs(1),
		Long: "End the suppressions of a rule before their time: those with the same --entity, or those on all if it is left out. Needs the role analyst or admin.",
	}
	cl := addClient(c, cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept with the request (mandatory)")
	cmd.Flags().StringVar(&entity, "entity", "", "the one that the suppression was for, kind:id")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return askAboutRule(c, cmd, cl, api.ControlRequest{Verb: schemas.RuleUnsuppress, Target: args[0], Reason: reason}, entity)
	}
	return cmd
}

func askAboutRule(c *console, cmd *cobra.Command, cl *client, req api.ControlRequest, entity string) error {
	if strings.TrimSpace(req.Reason) == "" {
		return usagef("add --reason \"why\"", "rules %s needs a reason", cmd.Name())
	}
	if entity != "" {
		if kind, id, _ := strings.Cut(entity, ":"); kind == "" || id == "" {
			return usagef("such as --entity agent:agt_42", "--entity is %q; write kind:id", entity)
		}
		req.Args = map[string]string{"entity": entity}
	}
	var receipt api.ControlReceipt
	if err := cl.post(cmd.Context(), "control", req, &receipt); err != nil {
		return fmt.Errorf("%s %s: %w", cmd.Name(), req.Target, err)
	}
	text := cmd.Name() + "ed " + receipt.Control.Target
	if entity != "" {
		text += " for " + entity
	}
	if ttl := receipt.Control.TTL; ttl > 0 {
		text += " until " + human(receipt.Control.At.Add(ttl))
	}
	_, err := fmt.Fprintf(c.out, "%s (on record at offset %d)\n", clean(text), receipt.Offset)
	return err
}

// listInForce prints the rules that a server runs, and what people asked not to
// be told of.
func listInForce(c *console, cmd *cobra.Command, cl *client, format string) error {
	var list api.RuleList
	if err := cl.get(cmd.Context(), "rules", nil, &list); err != nil {
		return err
	}
	if format == "json" {
		return printJSON(c.out, list)
	}
	if err := printRows(c, format, list.Rules, inForceColumns, inForceColumns); err != nil || format != "table" {
		return err
	}
	p := &page{w: c.out}
	for i, s := range list.Suppressions {
		if i == 0 {
			p.line("", "\nSuppressed, the newest first:")
		}
		state := "until " + human(s.Until)
		switch {
		case s.EndedBy != "":
			state = "ended " + human(s.Until) + " by " + s.EndedBy
		case s.Over:
			state = "over since " + human(s.Until)
		}
		p.line("", fmt.Sprintf("  %s for %s: %s, %s, %d matches; by %s: %s", s.Rule, firstOf(s.Entity, "every entity"), human(s.Since), state, s.Matches, s.By, s.Reason))
	}
	for i, x := range list.Exceptions {
		if i == 0 {
			p.line("", "\nExceptions of the config:")
		}
		state := "never expires"
		switch {
		case x.Expired:
			state = "EXPIRED " + human(x.Expires) + ": take it out, or renew it"
		case !x.Expires.IsZero():
			state = "until " + human(x.Expires)
		}
		p.line("", fmt.Sprintf("  %s for %s: %s; %s", x.Rule, firstOf(x.Entity, "every entity"), state, x.Reason))
	}
	return p.err
}

var inForceColumns = []api.Column[api.Rule]{
	{Name: "rule", Value: func(r api.Rule) string { return r.Name }},
	{Name: "detector", Value: func(r api.Rule) string { return r.Detector }},
	{Name: "severity", Value: func(r api.Rule) string { return firstOf(r.Severity, "by alert") }},
	{Name: "mode", Value: func(r api.Rule) string { return string(r.Mode) }},
	{Name: "from", Value: func(r api.Rule) string { return r.From }},
	{Name: "title", Value: func(r api.Rule) string { return short(r.Title) }},
	{Name: "place", Value: func(r api.Rule) string { return r.Place }},
}

// quietWords say why nobody is told of an alert, and what follows from it.
func quietWords(a *schemas.Alert) string {
	if s := a.Suppressed; s != nil {
		text := "suppressed by " + s.By + ": " + s.Reason
		if !s.Until.IsZero() {
			text += ", until " + human(s.Until)
		}
		return text
	}
	switch a.Mode {
	case schemas.ModeShadow:
		return "shadow: stored and shown, nobody is told"
	case schemas.ModeWarn:
		return "warn: people are told, no policy acts"
	}
	return ""
}

// alertMarks are what else there is to say about where an alert stands.
func alertMarks(a *schemas.Alert) string {
	var b strings.Builder
	mark := func(is bool, word string) {
		if is {
			b.WriteString(", " + word)
		}
	}
	mark(a.Backfill, "backfill")
	mark(a.Stale, "stale")
	mark(a.Late, "late")
	mark(a.Mode == schemas.ModeShadow, "shadow")
	mark(a.Mode == schemas.ModeWarn, "warn")
	mark(a.Suppressed != nil, "suppressed")
	return b.String()
}
