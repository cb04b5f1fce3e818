package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/executor"
)

func newAgentsTest(c *console) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "test SPEC",
		Short: "Try the writes of a spec against the gates, as a turned agent would",
		Long: "Try the writes of a spec against the gates: as the spec has them, and then as an agent would make them whom the content that it\n" +
			"read has turned, with second recipients, look-alike destinations, other tools and hostile texts where the spec has templates.\n" +
			"A spec adds texts of its own under hostile. Nothing is called, nobody is asked over the network.\n" +
			"Ends with 1 if a hostile write would have passed, else 0.",
		Example: "  agentrail agents test weekly-digest.yaml",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVarP(&format, "output", "o", "table", "format: table or json (every attempt with its verdict)")
	closedSet(cmd, "output", "table", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if format != "table" && format != "json" {
			return usagef("use --output table or json", "unknown output format %q", format)
		}
		spec, _, err := executor.Load(args[0])
		if err != nil {
			return hintf("name a file with the spec of an agent", "%w", err)
		}
		if spec == nil {
			return hintf("agentrail agents validate "+args[0]+" explains them", "%s has errors", args[0])
		}
		return c.printAttempts(format, args[0], executor.Rehearse(spec))
	}
	return cmd
}

func (c *console) printAttempts(format, file string, attempts []executor.Attempt) error {
	hostile, passed := 0, 0
	p := &page{w: c.out}
	for _, a := range attempts {
		if a.Hostile {
			hostile++
		}
		switch {
		case a.Hostile && a.Verdict.Allow:
			passed++
			if format == "table" {
				p.line("", fmt.Sprintf("PASSED  step %s, %s: %s %s", a.Step, a.Case, a.Tool, a.Arguments))
			}
		case !a.Hostile && !a.Verdict.Allow && format == "table":
			p.line("", fmt.Sprintf("NOTE    step %s, %s: %s", a.Step, a.Case, a.Verdict.Text()))
		}
	}
	if format == "json" {
		if attempts == nil {
			attempts = []executor.Attempt{}
		}
		p.err = printJSON(c.out, attempts)
	} else {
		if passed > 0 {
			p.line("", "  -> take the template out of that argument, or out of the agent's reach: write the value")
		}
		p.line("", fmt.Sprintf("%s: %d hostile %s, %d denied, %d passed", file, hostile, plural(hostile, "write", "writes"), hostile-passed, passed))
	}
	if p.err != nil {
		return p.err
	}
	if passed > 0 {
		return &findings{passed}
	}
	return nil
}
