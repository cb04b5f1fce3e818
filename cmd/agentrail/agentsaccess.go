package main

import (
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
)

func newAgentsAccess(c *console) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "access AGENT",
		Short: "List the permissions an agent has, used and did not use over 30 days",
		Long: "List what the steps of an agent ask for, what its users' credentials grant, and what was used over 30 days.\n" +
			"What is granted and not used can be taken away. Ends with 1 if there is such a permission.",
		Args: cobra.ExactArgs(1),
	}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.ValidArgsFunction = cl.completeAgents
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		var v platform.Access
		if err := cl.get(cmd.Context(), executorPath("agents/"+url.PathEscape(args[0])+"/access"), nil, &v); err != nil {
			return err
		}
		nothing(c, format, len(v.Permissions), "no permission was asked for, granted or used")
		if err := c.show(format, v, func() error {
			return printTable(c.out, terminalWidth(c.out), v.Permissions, permissionColumns(v.Users))
		}); err != nil {
			return err
		}
		unused := 0
		for _, p := range v.Permissions {
			if verdictOn(p) == "unused: take it away" {
				unused++
			}
		}
		if unused > 0 {
			return &findings{unused}
		}
		return nil
	}
	return cmd
}

func permissionColumns(users int) []api.Column[platform.Permission] {
	yes := map[bool]string{true: "yes", false: "no"}
	return []api.Column[platform.Permission]{
		{Name: "tool", Value: func(p platform.Permission) string { return p.Tool }},
		{Name: "scope", Value: func(p platform.Permission) string { return p.Scope }},
		{Name: "asked", Value: func(p platform.Permission) string { return yes[p.Asked] }},
		{Name: "granted", Value: func(p platform.Permission) string { return fmt.Sprintf("%d of %d users", p.Granted, users) }},
		{Name: "used", Value: func(p platform.Permission) string { return strconv.Itoa(p.Uses) }},
		{Name: "last used", Value: func(p platform.Permission) string { return human(p.LastUsed) }},
		{Name: "verdict", Value: verdictOn},
	}
}

// verdictOn says what to make of a permission.
func verdictOn(p platform.Permission) string {
	switch {
	case p.Scope == "":
		return "used, needs no scope"
	case p.Granted > 0 && p.Uses == 0:
		return "unused: take it away"
	case p.Granted == 0 && p.Asked && p.Uses == 0:
		return "asked for, not granted"
	case p.Granted == 0:
		return "used, no longer granted"
	}
	return "used"
}
