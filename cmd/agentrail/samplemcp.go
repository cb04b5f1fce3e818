package main

import (
	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/deploy/sample/agents"
)

// newSampleMCP is the MCP server behind the agents of `up`, where npm has not
// brought the reference servers.
func newSampleMCP() *cobra.Command {
	return &cobra.Command{
		Use: "sample-mcp [FOLDER]", Short: "Serve the tools of the sample agents over stdio", Hidden: true, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			folder := ""
			if len(args) > 0 {
				folder = args[0]
			}
			return agents.Serve(cmd.Context(), folder, version)
		},
	}
}
