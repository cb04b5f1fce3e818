package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// closedSet lets the shell complete a flag with these values.
func closedSet(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(slices.Clone(values), cobra.ShellCompDirectiveNoFileComp))
}

// completePatience is how long a person who presses tab waits for the server.
const completePatience = 700 * time.Millisecond

// completeAlerts offers the ids of the newest alerts with what they are about.
// A server that does not answer in time offers nothing.
func (cl *client) completeAlerts(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
	defer cancel()
	var list api.AlertList
	if cl.get(ctx, "alerts", url.Values{"limit": {"20"}}, &list) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, a := range list.Alerts {
		out = append(out, cobra.CompletionWithDesc(a.ID, clean(string(a.Severity)+" "+a.Rule+" "+firstOf(a.Entity.Name, a.Entity.ID))))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// nothing says on standard error what to try when a table has no rows.
func nothing(c *console, format string, rows int, hint string) {
	if rows == 0 && format == "table" {
		fmt.Fprintln(c.err, "nothing: "+hint)
	}
}
