package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
)

// checkParts opens mappings, sources, detectors and sinks as serve does, with
// nothing behind them, and returns the faults of all of them together.
func (cfg *config) checkParts(ctx context.Context) error {
	mappings, err := decode.Open("", cfg.Mappings...)
	if err != nil {
		return fmt.Errorf("read mappings: %w", err)
	}
	dir, err := os.MkdirTemp("", "agentrail-validate-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(dir)
	log := slog.New(slog.DiscardHandler)
	nowhere := func(context.Context, *schemas.Batch) (uint64, error) { return 0, errors.New("BUG: validate appends") }
	var faults []error
	for _, c := range cfg.Sources {
		_, err := collector.Open(ctx, c, collector.Deps{
			Append: nowhere, Decode: mappings, Log: log, Reg: prometheus.NewRegistry(), Tenant: cfg.Auth.Tenant, DataDir: dir,
		})
		faults = append(faults, err)
	}
	_, err = detectors.NewEngine(detectors.Options{Detectors: cfg.Detectors, Ruling: cfg.ruling(), Append: nowhere, Own: decode.Own, Vocabulary: mappings.Vocabulary(), Strict: true})
	faults = append(faults, err)
	for _, c := range cfg.Sinks {
		faults = append(faults, checkSink(ctx, c, log))
	}
	faults = append(faults, cfg.checkAlerting())
	if cfg.Executor != nil {
		faults = append(faults, cfg.Executor.checkFiles())
	}
	return errors.Join(faults...)
}

// checkSink opens the sink and the filter before it, without an outside.
func checkSink(ctx context.Context, c plug.Config, log *slog.Logger) error {
	s, common, err := sinks.Open(ctx, c, sinks.Deps{Log: log, DryRun: true})
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := sinks.NewForwarder(sinks.Options{Name: c.Name, Common: common, Log: log, Metrics: sinks.NewMetrics(prometheus.NewRegistry())}); err != nil {
		return c.Errorf("%v", err)
	}
	return nil
}
