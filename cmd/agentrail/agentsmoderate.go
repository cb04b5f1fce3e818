package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/executor/platform"
)

// moderation is one of the verbs by which moderators decide on an agent.
type moderation struct {
	verb, short, long, example string
	reason                     bool // it needs one
	done                       func(a platform.Agent) string
}

func newAgentsPublish(c *console) *cobra.Command {
	return newModeration(c, moderation{
		verb: "publish", short: "Publish an agent: from now on it may run in background for its subscribers",
		long: "Publish an agent as it was reviewed. With --version or --digest (of `agentrail agents review`) another one than that is refused.\n" +
			"Needs the role moderator or admin: default members may not share or publish.",
		example: "  agentrail agents publish weekly-digest --version 7",
		done: func(a platform.Agent) string {
			return fmt.Sprintf("%s: version %s is published; it takes %s", a.Name, a.Published, a.Audience)
		},
	})
}

func newAgentsRequestChanges(c *console) *cobra.Command {
	return newModeration(c, moderation{
		verb: "request-changes", short: "Say what has to change before an agent is published",
		example: `  agentrail agents request-changes weekly-digest --reason "the channel must be one of ours"`, reason: true,
		done: func(a platform.Agent) string {
			return fmt.Sprintf("%s: changes requested: %s", a.Name, a.ChangesRequested)
		},
	})
}

func newAgentsUnpublish(c *console) *cobra.Command {
	return newModeration(c, moderation{
		verb: "unpublish", short: "Take an agent back: nothing of it runs in background any more",
		long:    "Take an agent back. What runs in background is stopped; subscriptions stay and rest until it is published again.",
		example: `  agentrail agents unpublish weekly-digest --reason "writes to the wrong board"`, reason: true,
		done: func(a platform.Agent) string { return fmt.Sprintf("%s: is not published", a.Name) },
	})
}

func newAgentsLimit(c *console) *cobra.Command {
	return newModeration(c, moderation{
		verb: "limit-subscribers", short: "Say who may subscribe to an agent: moderators, a cohort, or all",
		long:    "Say who may subscribe. New agents take moderators only; a pilot cohort comes next.",
		example: "  agentrail agents limit-subscribers weekly-digest --to cohort --user dana@example.com --user mo@example.com\n  agentrail agents limit-subscribers weekly-digest --to all",
		done: func(a platform.Agent) string {
			return strings.TrimRight(fmt.Sprintf("%s: takes %s %s", a.Name, a.Audience, strings.Join(a.Cohort, ", ")), " ")
		},
	})
}

func newModeration(c *console, m moderation) *cobra.Command {
	var format string
	var req platform.Decision
	cmd := &cobra.Command{Use: m.verb + " AGENT", Short: m.short, Long: m.long, Example: m.example, Args: cobra.ExactArgs(1)}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.ValidArgsFunction = cl.completeAgents
	usage := "why; kept with the decision"
	if m.reason {
		usage += " (mandatory)"
	}
	cmd.Flags().StringVar(&req.Reason, "reason", "", usage)
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "only check that it could be done")
	switch m.verb {
	case "publish":
		cmd.Flags().StringVar(&req.Version, "version", "", "that was reviewed; another one is refused")
		cmd.Flags().StringVar(&req.Digest, "digest", "", "of the spec that was reviewed; another one is refused")
	case "limit-subscribers":
		cmd.Flags().StringVar(&req.Audience, "to", "", "moderators, cohort or all (mandatory)")
		cmd.Flags().StringArrayVar(&req.Cohort, "user", nil, "of the cohort; may be given again")
		closedSet(cmd, "to", "moderators", "cohort", "all")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		if m.reason && strings.TrimSpace(req.Reason) == "" {
			return usagef("add --reason \"why\"", "agents %s needs a reason", m.verb)
		}
		if m.verb == "limit-subscribers" && req.Audience == "" {
			return usagef("add --to moderators, --to cohort --user NAME, or --to all", "agents %s needs to know whom to take", m.verb)
		}
		var a platform.Agent
		if err := cl.post(cmd.Context(), executorPath("agents/"+url.PathEscape(args[0])+"/"+m.verb), req, &a); err != nil {
			return err
		}
		return c.show(format, a, func() error {
			text := m.done(a)
			if req.DryRun {
				text = "dry run: nothing was changed; it could be done. " + a.Name + " is " + a.State
			}
			_, err := fmt.Fprintln(c.out, clean(text))
			return err
		})
	}
	return cmd
}

// completeAgents offers the names of the agents.
func (cl *client) completeAgents(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var list platform.AgentList
	return cl.complete(cmd, args, executorPath("agents"), &list, func() (out []cobra.Completion) {
		for _, a := range list.Agents {
			out = append(out, cobra.CompletionWithDesc(a.Name, clean(a.State+" "+a.Objective)))
		}
		return out
	})
}
