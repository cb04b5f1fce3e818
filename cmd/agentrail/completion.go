package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
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
func (cl *client) completeAlerts(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var list api.AlertList
	return cl.complete(cmd, args, "alerts?limit=20", &list, func() (out []cobra.Completion) {
		for _, a := range list.Alerts {
			out = append(out, cobra.CompletionWithDesc(a.ID, clean(string(a.Severity)+" "+a.Rule+" "+firstOf(a.Entity.Name, a.Entity.ID))))
		}
		return out
	})
}

// complete offers for the first argument what is in the answer to a GET. A
// service that does not answer in time offers nothing.
func (cl *client) complete(cmd *cobra.Command, args []string, path string, into any, offer func() []cobra.Completion) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
	defer cancel()
	path, query, _ := strings.Cut(path, "?")
	q, err := url.ParseQuery(query)
	if err != nil || cl.get(ctx, path, q, into) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return offer(), cobra.ShellCompDirectiveNoFileComp
}

// nothing says on standard error what to try when a table has no rows.
func nothing(c *console, format string, rows int, hint string) {
	if rows == 0 && format == "table" {
		fmt.Fprintln(c.err, "nothing: "+hint)
	}
}
