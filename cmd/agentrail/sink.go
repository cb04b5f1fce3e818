package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/sinks"
)

func newSink(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "sink", Short: "Try a sink, and see what a change of its settings would do"}
	cmd.AddCommand(newSinkTest(c), newSinkPlan(c))
	return cmd
}

func newSinkTest(c *console) *cobra.Command {
	var file, format string
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "test NAME",
		Short: "Send one marked event by a sink and say what the receiver does with it",
		Long: "Send one event of kind " + sinks.KindTest + " by the sink of that name in the config, past filter and cursor, and wait for the receiver to confirm it or to have it indexed.\n" +
			"The cursor is not touched and the ledger does not count it; the journal does not hold the event.\n" +
			"Exit code 0: the receiver took it and, where it says, has it. 1: it did not, and why. A sink of kind file is locked by the server that writes it: stop that first.",
		Example: "  agentrail sink test soc --config /etc/agentrail/agentrail.yaml",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&file, "config", "agentrail.yaml", "config file")
	cmd.Flags().StringVarP(&format, "output", "o", "table", "format: table or json")
	cmd.Flags().DurationVar(&patience, "timeout", time.Minute, "how long to wait for the receiver")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if format != "table" && format != "json" {
			return usagef("use --output table or json", "unknown output format %q", format)
		}
		if patience <= 0 {
			return usagef("use --timeout 1m", "--timeout must be positive")
		}
		cfg, err := loadConfig(file)
		if err != nil {
			return err
		}
		sc, err := cfg.sink(args[0])
		if err != nil {
			return err
		}
		trial, err := trySink(cmd.Context(), c, cfg, sc, patience)
		if err != nil {
			return err
		}
		if format == "json" {
			err = printJSON(c.out, trial)
		} else {
			err = printTrial(c, sc, trial)
		}
		if err == nil && !trial.OK() {
			err = &findings{n: 1}
		}
		return err
	}
	return cmd
}

// sink returns the entry of that name.
func (cfg *config) sink(name string) (plug.Config, error) {
	var names []string
	for _, s := range cfg.Sinks {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	if len(names) == 0 {
		return plug.Config{}, usagef("name one under sinks: in "+cfg.file, "there is no sink in the config")
	}
	slices.Sort(names)
	return plug.Config{}, usagef("sinks: "+strings.Join(names, ", "), "there is no sink %q in %s", name, cfg.file)
}

func trySink(ctx context.Context, c *console, cfg *config, sc plug.Config, patience time.Duration) (trial sinks.Trial, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	log := slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, common, err := sinks.Open(ctx, sc, sinks.Deps{Log: log})
	if err != nil {
		return trial, err
	}
	defer func() {
		if e := s.Close(); err == nil && e != nil {
			err = fmt.Errorf("close sink: %w", e)
		}
	}()
	f, err := sinks.NewForwarder(sinks.Options{Name: sc.Name, Sink: s, Common: common, Log: log})
	if err != nil {
		return trial, sc.Errorf("%v", err)
	}
	ev, err := sinks.Marked(sc.Name, cfg.Auth.Tenant, c.now())
	if err != nil {
		return trial, err
	}
	return f.Try(ctx, ev), nil
}

func printTrial(c *console, sc plug.Config, t sinks.Trial) error {
	p := &page{w: c.out}
	p.line("sink", partName(sc))
	p.line("event", t.EventID+", kind "+sinks.KindTest)
	if t.Accepted > 0 {
		p.line("accepted", fmt.Sprintf("after %s, %s", t.Accepted.Round(time.Microsecond), size(int64(t.Bytes))))
	}
	switch {
	case t.How == "found":
		p.line("indexed", "found after "+t.Indexed.Round(time.Microsecond).String())
	case t.Indexed > 0:
		p.line("indexed", "confirmed by the receiver after "+t.Indexed.Round(time.Microsecond).String())
	case t.OK():
		p.line("indexed", "this receiver does not say")
	}
	if t.Note != "" {
		p.line("note", t.Note)
	}
	if !t.OK() {
		p.line("failed", strings.TrimSpace(t.Code+" "+t.Reason))
	}
	return p.err
}
