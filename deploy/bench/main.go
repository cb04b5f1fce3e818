// Bench measures the whole program on one machine and prints ratios: events
// per CPU-second of `agentrail serve` from HTTP to a Splunk HEC that only
// counts, with the parts switched on one by one, beside a bare JSON parser that
// extracts the same fields from the same records.
//
//	go run ./deploy/bench [-events 600000] [-rows spine,stages,store,latency,journal,detect,backtest,sinks,pages]
//
// The journal row compares appends to the journal with hashicorp/raft-wal, whose
// module is fetched for it; the sinks row, which runs when it is named, compares
// each sink with the exporter of an OpenTelemetry Collector that is built for it.
//
// The pages row fills a server with -stored events and asks every page of the
// console for them; it needs some 14 GB for ten million, and is run only when it
// is named.
//
// CPU is user plus system time of the process from /proc, children apart. The
// receiver runs as its own process and checks that each event arrived once.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
)

var (
	bin    = flag.String("bin", "bin/agentrail", "program to measure")
	events = flag.Int("events", 600_000, "records per run")
	reps   = flag.Int("reps", 3, "runs per row; the median is printed")
	rows   = flag.String("rows", "bound,spine,stages,store,latency,journal,detect,backtest", "what to run")
	stored = flag.Int("stored", 1_000_000, "events of the journal in the rows backtest and pages")
	asks   = flag.Int("asks", 30, "how often the pages row asks for each page")
	folder = flag.String("folder", "", "folder of the server of the pages row: filled if it is new, kept, and used again")
	siem   = flag.String("siem", "", "serve as the counting receiver on this address (used by the program itself)")
	wire   = flag.String("wire", "", "what -siem serves beside HTTP: syslog@, grpc@ or kafka@ and an address")
	keep   = flag.Bool("keep", false, "keep the working folder")
	only   = flag.String("sinks", "", "the sinks of the sinks row; empty: all")
	readme = flag.String("readme", "", "file into which the sinks row writes its table")
	prof   = flag.String("profile", "", "write a CPU profile of serve in the spine row there, in the sinks row one for each sink")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *siem != "" {
		kind, addr, _ := strings.Cut(*wire, "@")
		exit(runSIEM(ctx, *siem, kind, addr))
	}
	exit(run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "agentrail-bench-")
	if err != nil {
		return err
	}
	if !*keep {
		defer os.RemoveAll(dir)
	}
	want := strings.Split(*rows, ",")
	b := &bench{dir: dir}
	if *rows != "pages" { // which has records of its own
		fmt.Printf("%d records a run, %d runs a row, medians\n", *events, *reps)
		b.data = makeData(*events, 1)
		fmt.Printf("records: %.0f bytes on average, %.1f %% pass the filter\n\n", float64(len(b.data.body))/float64(*events), 100*float64(b.data.kept)/float64(*events))
	}
	for _, r := range []struct {
		name string
		run  func(context.Context) error
	}{{"bound", b.bound}, {"spine", b.spine}, {"stages", b.stages}, {"store", b.store}, {"latency", b.latency}, {"journal", b.journal}, {"detect", b.detect}, {"backtest", b.backtest}, {"pages", b.pages}, {"sinks", b.sinks}} {
		if !slices.Contains(want, r.name) {
			continue
		}
		if err := r.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}
