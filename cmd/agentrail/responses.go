package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/response"
)

func newResponses(c *console) *cobra.Command {
	var format, alert string
	var open bool
	var limit int
	cmd := &cobra.Command{
		Use:   "responses",
		Short: "List what answered alerts, newest first",
		Long: "List responses: what a policy or a person had done about an alert, and whether the platform says that it is so.\n" +
			"confirmed: read back. requested: not yet. failed: not in time, and tried on. held: held back, with the reason.",
		Example: "  agentrail responses --open\n  agentrail responses show ID\n  agentrail responses undo ID --reason \"known job\"\n  agentrail approve ID",
		Args:    cobra.NoArgs,
	}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.Flags().BoolVar(&open, "open", false, "only those that are not over")
	cmd.Flags().StringVar(&alert, "alert", "", "only those to the alert")
	cmd.Flags().IntVar(&limit, "limit", 100, "rows")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		q := url.Values{"limit": {strconv.Itoa(limit)}}
		if open {
			q.Set("open", "true")
		}
		if alert != "" {
			q.Set("alert", alert)
		}
		var list response.List
		if err := cl.get(cmd.Context(), executorPath("responses"), q, &list); err != nil {
			return err
		}
		nothing(c, format, len(list.Responses), "no alert was answered yet")
		if list.More {
			defer fmt.Fprintln(c.err, "the limit was reached; raise --limit or narrow the filters")
		}
		return c.show(format, list, func() error {
			return printTable(c.out, terminalWidth(c.out), list.Responses, responseColumns())
		})
	}
	cmd.AddCommand(newResponseShow(c), newResponseUndo(c))
	return cmd
}

func responseColumns() []api.Column[response.View] {
	return []api.Column[response.View]{
		{Name: "asked", Value: func(v response.View) string { return human(v.Asked) }},
		{Name: "status", Value: func(v response.View) string { return v.Status }},
		{Name: "action", Value: func(v response.View) string { return v.Action }},
		{Name: "target", Value: func(v response.View) string { return v.Target }},
		{Name: "until", Value: func(v response.View) string { return human(v.Until) }},
		{Name: "by", Value: func(v response.View) string { return v.Author }},
		{Name: "alert", Value: func(v response.View) string { return v.Alert }},
		{Name: "id", Value: func(v response.View) string { return v.ID }},
		{Name: "reason", Value: func(v response.View) string { return firstOf(v.Problem, v.Reason) }},
	}
}

func newResponseShow(c *console) *cobra.Command {
	var format string
	cmd := &cobra.Command{Use: "show ID", Short: "Show one response and its timeline", Args: cobra.ExactArgs(1)}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.ValidArgsFunction = cl.completeResponses
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		var v response.View
		if err := cl.get(cmd.Context(), executorPath("responses/"+url.PathEscape(args[0])), nil, &v); err != nil {
			return err
		}
		return c.show(format, v, func() error { return c.printResponse(v) })
	}
	return cmd
}

func newResponseUndo(c *console) *cobra.Command {
	var format, reason string
	cmd := &cobra.Command{
		Use: "undo ID", Short: "Take a response back before its time is over", Args: cobra.ExactArgs(1),
		Long: "Take a response back. What others paused as well stays paused; see agentrail pauses.",
	}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.ValidArgsFunction = cl.completeResponses
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept with the record (mandatory)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		if strings.TrimSpace(reason) == "" {
			return usagef("add --reason \"why\"", "undo needs a reason")
		}
		return c.answerResponse(cmd, cl, format, args[0], "undo", reason)
	}
	return cmd
}

// answerResponse sends approve, decline or undo. An approval is for the very
// response as it is now: its digest goes along.
func (c *console) answerResponse(cmd *cobra.Command, cl *client, format, id, verb, reason string) error {
	path := executorPath("responses/" + url.PathEscape(id))
	body := map[string]string{"reason": reason}
	if verb == "approve" {
		var now response.View
		if err := cl.get(cmd.Context(), path, nil, &now); err != nil {
			return err
		}
		body["digest"] = now.Digest
	}
	var done response.View
	if err := cl.post(cmd.Context(), path+"/"+verb, body, &done); err != nil {
		return err
	}
	return c.show(format, done, func() error { return c.printResponse(done) })
}

func (c *console) printResponse(v response.View) error {
	p := &page{w: c.out}
	p.line("", firstOf(v.Status, "unknown")+": "+v.Action+" "+v.Target)
	p.line("response", v.ID)
	p.line("by", v.Author)
	p.line("reason", v.Reason)
	p.line("answers", named(v.Rule, v.Alert))
	p.line("about", v.Entity)
	p.line("target", v.Resolved)
	p.line("through", v.Via)
	p.line("mode", v.Mode)
	p.line("asked", human(v.Asked))
	p.line("confirmed", human(v.Confirmed))
	p.line("until", human(v.Until))
	p.line("problem", v.Problem)
	p.line("task for", v.Assignee)
	p.line("link", v.Link)
	for _, a := range v.Answers {
		p.line("approved", fmt.Sprintf("%s  by %s: %s", human(a.At), a.By, a.Reason))
	}
	if v.Status == response.Waiting {
		p.line("waits for", fmt.Sprintf("%d more until %s: agentrail approve %s --reason WHY", v.Need-len(v.Answers), human(v.AnswerBy), v.ID))
	}
	for _, e := range v.Timeline {
		p.line("timeline", fmt.Sprintf("%s  %-9s %s: %s", e.At.Local().Format("2006-01-02 15:04:05.000 MST"), e.Status, e.By, e.Text))
	}
	return p.err
}

// completeResponses offers the ids of open responses.
func (cl *client) completeResponses(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var list response.List
	return cl.complete(cmd, args, executorPath("responses"), &list, func() (out []cobra.Completion) {
		for _, v := range list.Responses {
			out = append(out, cobra.CompletionWithDesc(v.ID, clean(v.Status+": "+v.Action+" "+v.Target)))
		}
		return out
	})
}
