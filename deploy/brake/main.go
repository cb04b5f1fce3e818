// Brake measures the brake, whole. Runaway lets agent after agent of a real
// executor write 100 times a second beside others that do their work, until the
// shipped policy has paused it, and says how long that took from the receipt of
// the record that crossed the limit. Day plays labelled days to the detectors
// and the responder with policies that enforce, and says of each incident
// whether it was contained and whether its benign twin was left alone. A promise
// that is broken is an error.
//
//	go run ./deploy/brake -modes runaway,day -trials 200 -bin bin/agentrail
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

var (
	modes  = flag.String("modes", "runaway,day", "what to do; day alone needs no program")
	bin    = flag.String("bin", "bin/agentrail", "program to measure")
	trials = flag.Int("trials", 200, "agents that run away, one after the other")
	store  = flag.String("store", "embedded", "store of the server while they do: embedded or none")
	seeds  = flag.Int("seeds", 5, "labelled days")
	keep   = flag.Bool("keep", false, "keep the folder")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "agentrail-brake-")
	if err != nil {
		return err
	}
	if *keep {
		fmt.Println("folder", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	var broken []error
	for _, m := range []struct {
		name string
		run  func(ctx context.Context, dir string) error
	}{{"runaway", runaways}, {"day", days}} {
		if !slices.Contains(strings.Split(*modes, ","), m.name) {
			continue
		}
		sub := filepath.Join(dir, m.name)
		if err := os.Mkdir(sub, 0o700); err != nil {
			return err
		}
		if err := m.run(ctx, sub); err != nil {
			broken = append(broken, fmt.Errorf("%s: %w", m.name, err))
		}
	}
	return errors.Join(broken...)
}
