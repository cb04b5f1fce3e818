package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/collector/store/engine"
)

// newEngine is the child process of the store: it loads the engine's library
// and serves it on a socket until its standard input ends. serve starts it;
// people do not.
func newEngine(c *console) *cobra.Command {
	return &cobra.Command{
		Use:    "engine",
		Short:  "Run the embedded engine as a child of serve",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return engine.ServeChild(cmd.Context(), c.in, slog.New(slog.NewJSONHandler(c.err, nil)))
		},
	}
}
