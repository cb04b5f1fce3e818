package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/executor/platform"
)

func newAgentsReview(c *console) *cobra.Command {
	var format, user string
	cmd := &cobra.Command{
		Use:   "review AGENT",
		Short: "Show all that a moderator has to look at before an agent may write in background",
		Long: "Show what an agent reads and how visible that is, what it does and where to, what starts and bounds it, who may subscribe, what has\n" +
			"changed since the published version, and what every gate would say to each of its writes in background.\n" +
			"Check at each source that the permissions there are right: an agent reads what its user may read.\n" +
			"Ends with 1 if a gate would deny a write.",
		Example: "  agentrail agents review weekly-digest\n  agentrail agents review weekly-digest --user dana@example.com --output json",
		Args:    cobra.ExactArgs(1),
	}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.ValidArgsFunction = cl.completeAgents
	cmd.Flags().StringVar(&user, "user", "", "on whose behalf the gates are asked; default you")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		q := url.Values{}
		if user != "" {
			q.Set("user", user)
		}
		var v platform.Review
		if err := cl.get(cmd.Context(), executorPath("agents/"+url.PathEscape(args[0])+"/review"), q, &v); err != nil {
			return err
		}
		if err := c.show(format, v, func() error { return c.printReview(v, firstOf(user, "you")) }); err != nil {
			return err
		}
		denied := 0
		for _, g := range v.Gates {
			if !g.Verdict.Allow {
				denied++
			}
		}
		if denied > 0 {
			return &findings{denied}
		}
		return nil
	}
	return cmd
}

func (c *console) printReview(v platform.Review, user string) error {
	p := &page{w: c.out}
	a := v.Agent
	p.line("agent", fmt.Sprintf("%s %s, %s, owner %s", a.Name, a.Version, a.Mode, a.Owner))
	p.line("digest", a.Digest)
	p.line("objective", a.Objective)
	p.line("state", strings.Join(nonEmpty(a.State, prefixed("published ", a.Published), prefixed("changes requested: ", a.ChangesRequested), prefixed("paused: ", a.Paused), prefixed("file not used: ", a.Fault)), ", "))
	p.line("starts by", firstOf(a.Trigger, "people only"))
	p.line("subscribers", v.MaySubscribe)
	for _, b := range v.Bounds {
		p.line("bound", b.Name+" "+b.Value)
	}
	for _, in := range v.Inputs {
		p.line("input", strings.Join(nonEmpty(in.Source, in.Kind, in.Visibility, strings.Join(in.Domains, " "), prefixed("reviewed by ", in.Review), prefixed("NOT FIT for background: ", in.Untrusted)), ", "))
	}
	for _, act := range v.Actions {
		text := act.Step + ": " + act.Access + " by " + act.Tool
		if act.Destructive {
			text += ", DESTRUCTIVE"
		}
		p.line("action", strings.Join(nonEmpty(text, prefixed("to ", act.Destination), prefixed("scopes ", strings.Join(act.Scopes, " ")), prefixed("auth ", act.Auth)), ", "))
	}
	for _, d := range v.Destinations {
		p.line("destination", fmt.Sprintf("%s: %s %s %s", d.Name, d.System, d.Environment, d.ID))
	}
	for _, w := range v.Warnings {
		p.line("warning", w)
	}
	p.diff(v)
	p.answers(v, user)
	return p.err
}

// diff prints what has changed since the published version.
func (p *page) diff(v platform.Review) {
	switch {
	case len(v.Diff) > 0:
		p.line("", "")
		p.line("", "changed since the published version "+v.Agent.Published+":")
		for _, line := range v.Diff {
			if !strings.HasPrefix(line, "  ") {
				p.line("", "  "+line)
			}
		}
	case v.Agent.Published != "":
		p.line("", "")
		p.line("", "as published")
	}
}

// answers prints what the gates say, denials with what would open them.
func (p *page) answers(v platform.Review, user string) {
	p.line("", "")
	if len(v.Gates) == 0 {
		p.line("", "no write: the gates have nothing to say")
		return
	}
	p.line("", "what each gate says to a write in background on behalf of "+user+":")
	for _, g := range v.Gates {
		answer := "allows"
		if !g.Verdict.Allow {
			answer = "DENIES " + strings.TrimPrefix(g.Verdict.Text(), "denied by gate "+g.Verdict.Gate+" ") + platform.WhoMay(g.Verdict, v.Agent.Name)
		}
		p.line("", fmt.Sprintf("  %s  %-13s %s", g.Step, g.Gate, answer))
	}
}

func nonEmpty(texts ...string) (out []string) {
	for _, t := range texts {
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}
