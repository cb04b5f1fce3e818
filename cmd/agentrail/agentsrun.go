package main

import (
	"bufio"
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/executor/platform"
)

func newAgentsRun(c *console) *cobra.Command {
	r := &runner{c: c}
	var content string
	cmd := &cobra.Command{
		Use:   "run AGENT",
		Short: "Run an agent yourself; its writes wait until you confirm them",
		Long: "Run an agent yourself, on your own behalf, and show how it ends. A write waits until you confirm it: here with --interactive,\n" +
			"else with agentrail approve. With --dry-run every call is shown and none is made. Ends with 1 if the run does not succeed.",
		Example: "  agentrail agents run weekly-digest --dry-run\n  agentrail agents run weekly-digest --interactive",
		Args:    cobra.ExactArgs(1),
	}
	r.cl = addExecutor(c, cmd)
	r.flags(cmd)
	cmd.ValidArgsFunction = r.cl.completeAgents
	cmd.Flags().BoolVar(&r.ask, "interactive", false, "ask here for each write")
	cmd.Flags().StringVar(&content, "content", "", "what the run starts from, as a webhook would bring it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return r.run(cmd.Context(), platformPath("runworkflow"), platform.RunRequest{Agent: args[0], DryRun: r.dry, Content: content})
	}
	return cmd
}

// runner starts a run and follows it to its end.
type runner struct {
	c      *console
	cl     *client
	format string
	dry    bool
	ask    bool // for confirmations, here
	told   map[string]bool
}

func (r *runner) flags(cmd *cobra.Command) {
	addShow(cmd, &r.format)
	cmd.Flags().BoolVar(&r.dry, "dry-run", false, "show every call and make none")
}

// runPoll is how often a run is looked at.
const runPoll = 200 * time.Millisecond

// run starts a run by a POST and shows it when it has ended.
func (r *runner) run(ctx context.Context, path string, req any) error {
	if err := checkShow(r.format); err != nil {
		return err
	}
	var v platform.Run
	if err := r.cl.post(ctx, path, req, &v); err != nil {
		return err
	}
	r.told = map[string]bool{}
	answers := bufio.NewScanner(r.c.in)
	tick := time.NewTicker(runPoll)
	defer tick.Stop()
	for v.Ended.IsZero() {
		if v.Status == "waiting" {
			if err := r.waits(ctx, v.ID, answers); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return hintf("it goes on without you; agentrail agents runs "+v.ID+" says how it ended", "stopped waiting for %s", v.ID)
		case <-tick.C:
		}
		if err := r.cl.get(ctx, executorPath("runs/"+url.PathEscape(v.ID)), nil, &v); err != nil {
			return err
		}
	}
	if err := r.cl.get(ctx, executorPath("runs/"+url.PathEscape(v.ID)), nil, &v); err != nil { // with its calls
		return err
	}
	if err := r.c.show(r.format, v, func() error { return r.c.printRun(v) }); err != nil {
		return err
	}
	if v.Status != "success" {
		return &findings{1}
	}
	return nil
}

// waits says once what waits for a person, or asks them here.
func (r *runner) waits(ctx context.Context, run string, answers *bufio.Scanner) error {
	var list platform.ConfirmationList
	if err := r.cl.get(ctx, executorPath("confirmations"), nil, &list); err != nil {
		return err
	}
	for _, cf := range list.Confirmations {
		if cf.Run != run || r.told[cf.ID] {
			continue
		}
		r.told[cf.ID] = true
		if !r.ask {
			fmt.Fprintf(r.c.err, "waits      %s\n           agentrail approve %s   (or --decline), until %s\n", clean(cf.Summary), cf.ID, human(cf.Expires))
			continue
		}
		fmt.Fprintf(r.c.err, "%s\nmake it? [y/N] ", clean(cf.Summary))
		verb := "decline"
		if answers.Scan() && strings.EqualFold(strings.TrimSpace(answers.Text()), "y") {
			verb = "approve"
		}
		var done platform.Confirmation
		if err := r.cl.post(ctx, executorPath("confirmations/"+url.PathEscape(cf.ID)+"/"+verb), struct{}{}, &done); err != nil {
			return err
		}
	}
	return nil
}

// printRun shows a run with its calls; a denial with what would open it.
func (c *console) printRun(v platform.Run) error {
	p := &page{w: c.out}
	p.line("run", v.ID)
	p.line("agent", strings.TrimSpace(v.Agent+" "+v.Version))
	p.line("for", v.User+", "+v.Mode+", started by "+strings.ToLower(v.Initiator))
	status := v.Status
	if v.DryRun {
		status += " (dry run: no call was made)"
	}
	p.line("status", status)
	p.line("reason", v.Reason)
	if !v.Ended.IsZero() {
		p.line("took", v.Ended.Sub(v.Started).Round(time.Millisecond).String())
	}
	p.line("trace", v.Trace)
	p.line("output", v.Output)
	for _, call := range v.Calls {
		text := strings.Join(nonEmpty(call.Step, call.Access+" by "+call.Tool, call.Status, call.Problem), "  ")
		p.line("call", text)
		if call.Verdict != nil && !call.Verdict.Allow && call.Verdict.Gate != "" {
			p.line("", "                "+call.Verdict.Text()+platform.WhoMay(*call.Verdict, v.Agent))
		}
	}
	return p.err
}
