package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
)

func newSubscribe(c *console) *cobra.Command {
	var format string
	var dry bool
	var req platform.SubscriptionRequest
	cmd := &cobra.Command{
		Use:   "subscribe AGENT",
		Short: "Let an agent run in background on your behalf",
		Long: "Subscribe to a published agent: it runs in background on your behalf, with your permissions and your credentials.\n" +
			"Without --cron it runs when its spec says so.",
		Example: "  agentrail subscribe weekly-digest\n  agentrail subscribe weekly-digest --cron \"0 9 * * 1\" --zone Europe/Berlin --name mondays",
		Args:    cobra.ExactArgs(1),
	}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.ValidArgsFunction = cl.completeAgents
	schedule := addSchedule(cmd, &req)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be asked for")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		req.Agent = args[0]
		if err := schedule(); err != nil {
			return err
		}
		if dry {
			_, err := fmt.Fprintln(c.out, clean("would subscribe you to "+req.Agent))
			return err
		}
		var s platform.Subscription
		if err := cl.post(cmd.Context(), platformPath("createagentsubscription"), req, &s); err != nil {
			return err
		}
		return c.show(format, s, func() error {
			_, err := fmt.Fprintf(c.out, "%s: %s runs on behalf of %s%s\n", s.ID, clean(s.Agent), clean(s.Subscriber), next(s))
			return err
		})
	}
	return cmd
}

func next(s platform.Subscription) string {
	if s.NextRun.IsZero() {
		return ""
	}
	return ", next at " + human(s.NextRun)
}

// addSchedule adds the flags of a schedule; the function it returns puts what was
// given into the request.
func addSchedule(cmd *cobra.Command, req *platform.SubscriptionRequest) func() error {
	var s platform.ScheduleRequest
	cmd.Flags().StringVar(&req.Name, "name", "", "of the subscription, for you")
	cmd.Flags().StringVar(&s.Cron, "cron", "", `schedule instead of the agent's: five fields, such as "0 9 * * 1"`)
	cmd.Flags().StringVar(&s.Zone, "zone", "UTC", "time zone of --cron: Europe/Berlin")
	cmd.Flags().StringVar(&s.Jitter, "jitter", "", "delay of each run by a random time up to this: 5m")
	return func() error {
		if s.Cron == "" && (s.Jitter != "" || cmd.Flags().Changed("zone")) {
			return usagef("add --cron", "--zone and --jitter belong to --cron")
		}
		if s.Cron != "" {
			req.Schedule = &s
		}
		return nil
	}
}

func newSubscriptions(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "subscriptions",
		Short: "List, edit, delete and run subscriptions to agents",
	}
	cmd.AddCommand(newSubscriptionsList(c), newSubscriptionsEdit(c), newSubscriptionsDelete(c), newSubscriptionsRun(c))
	return cmd
}

func newSubscriptionsList(c *console) *cobra.Command {
	var format string
	var f platform.SubscriptionFilter
	cmd := &cobra.Command{Use: "list", Short: "List your subscriptions", Args: cobra.NoArgs}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.Flags().StringVar(&f.Agent, "agent", "", "name of the agent")
	cmd.Flags().BoolVar(&f.All, "all", false, "those of every user, for roles that may see them")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		var list platform.SubscriptionList
		if err := cl.post(cmd.Context(), platformPath("listagentsubscriptions"), f, &list); err != nil {
			return err
		}
		nothing(c, format, len(list.Subscriptions), "no subscription; make one with: agentrail subscribe AGENT; agentrail agents list names the agents")
		return c.show(format, list.Subscriptions, func() error {
			return printTable(c.out, terminalWidth(c.out), list.Subscriptions, subscriptionColumns())
		})
	}
	return cmd
}

func subscriptionColumns() []api.Column[platform.Subscription] {
	return []api.Column[platform.Subscription]{
		{Name: "id", Value: func(s platform.Subscription) string { return s.ID }},
		{Name: "agent", Value: func(s platform.Subscription) string { return s.Agent }},
		{Name: "subscriber", Value: func(s platform.Subscription) string { return s.Subscriber }},
		{Name: "name", Value: func(s platform.Subscription) string { return s.Name }},
		{Name: "last run", Value: func(s platform.Subscription) string { return human(s.LastRun) }},
		{Name: "next run", Value: func(s platform.Subscription) string { return human(s.NextRun) }},
		{Name: "paused", Value: func(s platform.Subscription) string {
			if s.Paused == nil {
				return ""
			}
			return strings.TrimSpace("by " + s.Paused.Author + ": " + s.Paused.Reason)
		}},
	}
}

func newSubscriptionsEdit(c *console) *cobra.Command {
	var format string
	var req platform.SubscriptionRequest
	cmd := &cobra.Command{
		Use: "edit ID", Short: "Change the name or the schedule of a subscription of yours", Args: cobra.ExactArgs(1),
		Example: "  agentrail subscriptions edit sub_1a2b --cron \"0 7 * * *\" --zone Europe/Berlin",
	}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.ValidArgsFunction = cl.completeSubscriptions
	schedule := addSchedule(cmd, &req)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		req.ID = args[0]
		if err := schedule(); err != nil {
			return err
		}
		if req.Name == "" && req.Schedule == nil {
			return usagef("add --name or --cron", "nothing to change")
		}
		var s platform.Subscription
		if err := cl.post(cmd.Context(), platformPath("editagentsubscription"), req, &s); err != nil {
			return err
		}
		return c.show(format, s, func() error {
			_, err := fmt.Fprintf(c.out, "%s: changed%s\n", s.ID, next(s))
			return err
		})
	}
	return cmd
}

func newSubscriptionsDelete(c *console) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{Use: "delete ID", Short: "End a subscription; what runs of it is stopped", Args: cobra.ExactArgs(1)}
	cl := addExecutor(c, cmd)
	cmd.ValidArgsFunction = cl.completeSubscriptions
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if dry {
			_, err := fmt.Fprintln(c.out, clean("would delete "+args[0]))
			return err
		}
		var done struct{ ID string }
		if err := cl.post(cmd.Context(), platformPath("deleteagentsubscription"), platform.SubscriptionID{ID: args[0]}, &done); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.out, "%s: deleted\n", clean(done.ID))
		return err
	}
	return cmd
}

func newSubscriptionsRun(c *console) *cobra.Command {
	r := &runner{c: c}
	cmd := &cobra.Command{
		Use: "run ID", Short: "Run a subscription of yours now, as its schedule would", Args: cobra.ExactArgs(1),
		Long: "Run a subscription of yours now, in background as its schedule would: nobody is asked, what is not allowed is denied. Shows how it ends.",
	}
	r.cl = addExecutor(c, cmd)
	r.flags(cmd)
	cmd.ValidArgsFunction = r.cl.completeSubscriptions
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return r.run(cmd.Context(), platformPath("runagentsubscription"), platform.SubscriptionID{ID: args[0], DryRun: r.dry})
	}
	return cmd
}

// completeSubscriptions offers the caller's subscriptions.
func (cl *client) completeSubscriptions(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var list platform.SubscriptionList
	if len(args) > 0 || cl.post(cmd.Context(), platformPath("listagentsubscriptions"), platform.SubscriptionFilter{}, &list) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, s := range list.Subscriptions {
		out = append(out, cobra.CompletionWithDesc(s.ID, clean(s.Agent+" "+s.Name)))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
