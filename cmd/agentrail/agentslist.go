package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
)

// executorPath is a path of the executor's own API.
func executorPath(path string) string { return platform.Prefix + "/" + path }

// platformPath is one of the platform's paths.
func platformPath(verb string) string { return platform.PlatformPrefix + "/" + verb }

func newAgentsList(c *console) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the agents of the executor: version, who may subscribe, what is published",
		Example: "  agentrail agents list\n  agentrail agents list --output yaml",
		Args:    cobra.NoArgs,
	}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		var list platform.AgentList
		if err := cl.get(cmd.Context(), executorPath("agents"), nil, &list); err != nil {
			return err
		}
		nothing(c, format, len(list.Agents), "the executor knows no agent; executor.agents in its config names the folder of their specs")
		return c.show(format, list.Agents, func() error {
			for _, a := range list.Agents {
				if a.Fault != "" {
					defer func() { _, _ = c.err.Write([]byte(clean("not used: "+a.Name+": "+a.Fault) + "\n")) }()
				}
			}
			return printTable(c.out, terminalWidth(c.out), list.Agents, agentColumns())
		})
	}
	return cmd
}

func agentColumns() []api.Column[platform.Agent] {
	return []api.Column[platform.Agent]{
		{Name: "agent", Value: func(a platform.Agent) string { return a.Name }},
		{Name: "version", Value: func(a platform.Agent) string { return a.Version }},
		{Name: "mode", Value: func(a platform.Agent) string { return a.Mode }},
		{Name: "state", Value: func(a platform.Agent) string {
			if a.Paused != "" {
				return "paused"
			}
			return a.State
		}},
		{Name: "published", Value: func(a platform.Agent) string { return a.Published }},
		{Name: "subscribers", Value: func(a platform.Agent) string { return a.Audience }},
		{Name: "subscriptions", Value: func(a platform.Agent) string { return strconv.Itoa(a.Subscriptions) }},
		{Name: "starts by", Value: func(a platform.Agent) string { return firstOf(a.Trigger, "people") }},
		{Name: "owner", Value: func(a platform.Agent) string { return a.Owner }},
	}
}
