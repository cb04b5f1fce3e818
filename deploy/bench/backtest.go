package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// storedBatch is how many records one batch of the stored journal has.
const storedBatch = 2000

// backtest writes a journal of -stored events and has the program run the
// shipped rules over it, alone and with the detectors that are on by default.
func (b *bench) backtest(ctx context.Context) error {
	dir := filepath.Join(b.dir, "stored")
	began := time.Now()
	if err := store(ctx, dir, *stored); err != nil {
		return err
	}
	fmt.Printf("\nbacktest over %d stored events (written in %.0f s)\n", *stored, time.Since(began).Seconds())
	for _, row := range []struct {
		name string
		args []string
	}{{"the shipped rules", nil}, {"with the default detectors", []string{"--detectors"}}} {
		cmd := exec.CommandContext(ctx, *bin, append([]string{"backtest", "--data", dir, "--output", "json"}, row.args...)...)
		began := time.Now()
		out, err := cmd.Output()
		if err != nil {
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				return fmt.Errorf("%w: %s", err, exit.Stderr)
			}
			return err
		}
		var r struct {
			Events, Alerts int64
			Rules          []struct{ Events int64 }
		}
		if err := json.Unmarshal(out, &r); err != nil {
			return err
		}
		if r.Events != int64(*stored) {
			return fmt.Errorf("%d events of %d were read", r.Events, *stored)
		}
		matched := int64(0)
		for _, x := range r.Rules {
			matched += x.Events
		}
		wall, cpu := time.Since(began).Seconds(), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
		fmt.Printf("%-48s %9.0f events/s, %.1f s, %.1f CPU-s; %d events matched, %d alerts\n", row.name, float64(r.Events)/wall, wall, cpu.Seconds(), matched, r.Alerts)
	}
	return nil
}

// store writes the data folder of a server that has taken in n records.
func store(ctx context.Context, dir string, n int) error {
	mappings, err := decode.Open(filepath.Join(dir, "mappings"), filepath.Join("schemas", "mapping", "examples", "flat.yaml"))
	if err != nil {
		return err
	}
	flat, err := mappings.Mapping("flat")
	if err != nil {
		return err
	}
	j, err := journal.OpenDisk(ctx, journal.Options{
		Dir: filepath.Join(dir, "journal"), Decode: mappings.Decode, Tick: -1, MaxBytes: 64 << 30, Retention: 10 * 365 * 24 * time.Hour, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	r, at := rand.New(rand.NewPCG(1, 7)), time.Date(2026, 1, 15, 8, 0, 0, 0, time.UTC)
	var d dataset
	for i := 0; i < n; {
		var body []byte
		for range min(storedBatch, n-i) {
			at = at.Add(time.Duration(r.IntN(20)) * time.Millisecond)
			body = d.record(body, r, at, i)
			i++
		}
		x := &schemas.Batch{Header: schemas.Header{Tenant: "default", Source: "audit", Class: schemas.ClassActivity, Received: at.UnixNano()}, Body: body}
		if _, err := flat.Read(x, decode.Limits{}); err != nil {
			return errors.Join(err, j.Close())
		}
		if _, err := j.Append(ctx, x); err != nil {
			return errors.Join(err, j.Close())
		}
	}
	return j.Close()
}
