package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
)

func newPause(c *console) *cobra.Command {
	return newBrake(c, brakeVerb{
		use: "pause TARGET", short: "Pause a subscription, an agent, everything of an actor, or all",
		long: "Pause a subscription (its id), agent:NAME, actor:NAME or tenant. It makes no call any more, and the call in flight is cancelled.\n" +
			"With --ttl it goes on by itself. Your own subscriptions you may always pause.",
		example: "  agentrail pause sub_1a2b --reason \"writes to the wrong board\"\n  agentrail pause agent:weekly-digest --reason incident-7 --ttl 2h",
		path:    "pauses", platform: "pauseagentsubscription",
	})
}

func newResume(c *console) *cobra.Command {
	return newBrake(c, brakeVerb{
		use: "resume TARGET", short: "Let go on what was paused",
		long:    "Resume a subscription (its id), agent:NAME, actor:NAME or tenant. What somebody else paused needs the role moderator or admin.",
		example: "  agentrail resume sub_1a2b --reason \"the board was fixed\"",
		path:    "pauses/resume", platform: "resumeagentsubscription", resume: true,
	})
}

// brakeVerb is pause or resume.
type brakeVerb struct {
	use, short, long, example string
	path, platform            string
	resume                    bool
}

func newBrake(c *console, v brakeVerb) *cobra.Command {
	var format string
	var req platform.PauseRequest
	cmd := &cobra.Command{Use: v.use, Short: v.short, Long: v.long, Example: v.example, Args: cobra.ExactArgs(1)}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.ValidArgsFunction = cl.completeSubscriptions
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why; kept with the record (mandatory)")
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "only say what would be done")
	if !v.resume {
		cmd.Flags().StringVar(&req.TTL, "ttl", "", "how long: 2h; without, until it is resumed")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		if strings.TrimSpace(req.Reason) == "" {
			return usagef("add --reason \"why\"", "%s needs a reason", cmd.Name())
		}
		path := executorPath(v.path)
		kind, target, found := strings.Cut(args[0], ":")
		switch {
		case !found && args[0] == "tenant":
			req.Kind = "tenant"
		case !found:
			req.ID, path = args[0], platformPath(v.platform)
		case kind == "agent" || kind == "actor" || kind == "subscription":
			req.Kind, req.Target = kind, target
		default:
			return usagef("write the id of a subscription, agent:NAME, actor:NAME or tenant", "cannot %s %q", cmd.Name(), args[0])
		}
		if v.resume {
			var done platform.Resumed
			if err := cl.post(cmd.Context(), path, req, &done); err != nil {
				return err
			}
			return c.show(format, done, func() error { return c.printResumed(args[0], req.DryRun, done) })
		}
		var done platform.Pause
		if err := cl.post(cmd.Context(), path, req, &done); err != nil {
			return err
		}
		return c.show(format, done, func() error { return c.printPaused(req.DryRun, done) })
	}
	return cmd
}

func (c *console) printPaused(dry bool, p platform.Pause) error {
	until := "until it is resumed"
	if !p.Until.IsZero() {
		until = "until " + human(p.Until)
	}
	what := fmt.Sprintf("paused     %s %s %s; %d %s stopped", p.Kind, clean(p.Target), until, p.Stopped, plural(p.Stopped, "run", "runs"))
	if dry {
		what = fmt.Sprintf("dry run    would pause %s %s %s and stop %d %s", p.Kind, clean(p.Target), until, p.Stopped, plural(p.Stopped, "run", "runs"))
	}
	_, err := fmt.Fprintln(c.out, what)
	return err
}

func (c *console) printResumed(target string, dry bool, done platform.Resumed) error {
	word := "resumed   "
	if dry {
		word = "dry run    would resume"
	}
	page := &page{w: c.out}
	for _, p := range done.Pauses {
		page.line("", fmt.Sprintf("%s %s; it was paused by %s: %s", word, target, p.Author, p.Reason))
	}
	if s := done.Still; s != nil {
		page.line("", fmt.Sprintf("still      stopped: %s %s is paused by %s: %s", s.Kind, s.Target, s.Author, s.Reason))
	}
	return page.err
}

func newPauses(c *console) *cobra.Command {
	var format string
	cmd := &cobra.Command{Use: "pauses", Short: "List what is paused, by whom and why", Args: cobra.NoArgs}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		var list platform.PauseList
		if err := cl.get(cmd.Context(), executorPath("pauses"), nil, &list); err != nil {
			return err
		}
		nothing(c, format, len(list.Pauses), "nothing is paused")
		return c.show(format, list.Pauses, func() error {
			return printTable(c.out, terminalWidth(c.out), list.Pauses, []api.Column[platform.Pause]{
				{Name: "at", Value: func(p platform.Pause) string { return human(p.At) }},
				{Name: "kind", Value: func(p platform.Pause) string { return p.Kind }},
				{Name: "target", Value: func(p platform.Pause) string { return p.Target }},
				{Name: "by", Value: func(p platform.Pause) string { return p.Author }},
				{Name: "until", Value: func(p platform.Pause) string { return human(p.Until) }},
				{Name: "response", Value: func(p platform.Pause) string { return p.Response }},
				{Name: "reason", Value: func(p platform.Pause) string { return p.Reason }},
			})
		})
	}
	return cmd
}
