// Command agentrail is the audit trail and the alarm for AI agents that act in
// the background: one binary, one verb per file.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

// Exit codes of every verb.
const (
	exitOK      = 0
	exitFailure = 1 // it failed, or it found what it was asked to look for
	exitUsage   = 2 // it was called wrongly
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], &console{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv, now: time.Now,
	})
	stop()
	os.Exit(code)
}

// console is what a verb may touch of the process around it.
type console struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string
	now      func() time.Time
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, c *console) int {
	root := newRoot(c)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[*findings](err); !ok {
		fmt.Fprintln(c.err, "error: "+clean(err.Error()))
		if h, ok := errors.AsType[*hinted](err); ok {
			fmt.Fprintln(c.err, "hint: "+clean(h.hint))
		}
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	return exitFailure
}

func newRoot(c *console) *cobra.Command {
	root := &cobra.Command{
		Use:   "agentrail",
		Short: "Audit trail and alarm for AI agents that act in the background",
		Long: "Agentrail keeps what agents do as evidence, detects abuse within a second and tells the SOC.\n" +
			"Start with: agentrail up\n" +
			"Let your shell complete verbs, flags, their values and ids of alerts: agentrail completion --help",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noVerb,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("see: "+cmd.CommandPath()+" --help", "%w", err)
	})
	root.AddCommand(
		newUp(c), newDemo(c), newServe(c), newTap(c), newTop(c), newDoctor(c),
		newEvents(c), newRuns(c), newAlerts(c), newCase(c), newDLQ(c), newLedgerVerb(c), newSink(c), newReplay(c), newImport(c), newMapping(c), newRules(c),
		newLog(c), newVerify(c), newBacktest(c), newValidate(c), newSample(c), newToken(c), newUser(c), newEngine(c), newVersion(c),
		newAgents(c), newGate(c), newExecutor(c), newSampleMCP(), newSubscribe(c), newSubscriptions(c), newPause(c), newResume(c), newPauses(c), newApprove(c),
		newPanic(c), newResponses(c), newGrafana(c), newDev(c),
	)
	checkArgs(root)
	return root
}

// noVerb names the verb that was probably meant.
func noVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "agentrail --help lists the verbs"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean: " + strings.Join(near, ", ") + "?"
	}
	return usagef(hint, "unknown verb %q of %s", args[0], cmd.CommandPath())
}

// checkArgs makes every complaint about arguments a usage error, and gives
// commands that only group others a check and their help as main path.
func checkArgs(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		checkArgs(sub)
	}
	if cmd.RunE == nil && cmd.Run == nil {
		cmd.Args = noVerb
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			var verbs []string
			for _, sub := range cmd.Commands() {
				verbs = append(verbs, sub.Name())
			}
			return usagef("verbs: "+strings.Join(verbs, ", "), "%s needs a verb", cmd.CommandPath())
		}
	}
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		var usage *usageError
		if err == nil || errors.As(err, &usage) {
			return err
		}
		return usagef("usage: "+cmd.UseLine(), "%w", err)
	}
}

// hinted is an error with what to run next.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

func hintf(hint, format string, args ...any) error {
	return &hinted{err: fmt.Errorf(format, args...), hint: hint}
}

// usageError is an error of the caller.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(hint, format string, args ...any) error {
	return &usageError{hintf(hint, format, args...)}
}

// findings ends a verb with exit code 1 after it has printed what it found.
type findings struct{ n int }

func (e *findings) Error() string { return fmt.Sprintf("%d findings", e.n) }
