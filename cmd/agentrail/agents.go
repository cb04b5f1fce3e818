package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/executor"
)

func newAgents(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agents",
		Short: "Agents: check their specs, review, publish and run them",
		Long: "Agents are specs: YAML files, kept in git, that say what an agent reads, does, and where to, and what bounds it.\n" +
			"validate and test look at files; the other verbs ask the executor.",
	}
	cmd.AddCommand(
		newAgentsValidate(c), newAgentsTest(c),
		newAgentsList(c), newAgentsReview(c), newAgentsAccess(c), newAgentsRun(c), newAgentsRuns(c),
		newAgentsPublish(c), newAgentsRequestChanges(c), newAgentsUnpublish(c), newAgentsLimit(c),
	)
	return cmd
}

func newAgentsValidate(c *console) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Explain every fault of specs with its line",
		Long: "Explain every fault of specs with its line and what to write instead. Nobody is asked over the network.\n" +
			"Ends with 0 if no spec has an error, else 1; warnings alone end with 0.",
		Example: "  agentrail agents validate agents/*.yaml\n  agentrail agents validate --output json weekly-digest.yaml",
		Args:    cobra.MinimumNArgs(1),
	}
	cmd.Flags().StringVarP(&format, "output", "o", "table", "format: table or json")
	closedSet(cmd, "output", "table", "json")
	cmd.RunE = func(_ *cobra.Command, files []string) error {
		if format != "table" && format != "json" {
			return usagef("use --output table or json", "unknown output format %q", format)
		}
		all := []executor.Fault{}
		for _, file := range files {
			_, faults, err := executor.Load(file)
			if err != nil {
				return hintf("name a file with the spec of an agent", "%w", err)
			}
			all = append(all, faults...)
		}
		return c.printFaults(format, len(files), all)
	}
	return cmd
}

func (c *console) printFaults(format string, files int, faults []executor.Fault) error {
	n := 0
	for _, f := range faults {
		if f.Severity == executor.SeverityError {
			n++
		}
	}
	if format == "json" {
		if err := printJSON(c.out, faults); err != nil {
			return err
		}
	} else {
		p := &page{w: c.out}
		for _, f := range faults {
			p.line("", fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Severity, f.Message))
			if f.Hint != "" {
				p.line("", "  -> "+f.Hint)
			}
		}
		p.line("", fmt.Sprintf("%d %s, %d %s, %d %s", files, plural(files, "spec", "specs"), n, plural(n, "error", "errors"), len(faults)-n, plural(len(faults)-n, "warning", "warnings")))
		if p.err != nil {
			return p.err
		}
	}
	if n > 0 {
		return &findings{n}
	}
	return nil
}
