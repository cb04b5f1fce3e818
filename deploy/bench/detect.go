package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// detect runs the benchmarks of the rule engine, each on one core, and prints
// their figures with how much matched: the shipped pack over our events with
// JSON taken apart before, foreign rules, correlations, and the memory of
// 100,000 keys.
func (b *bench) detect(ctx context.Context) error {
	bin := filepath.Join(b.dir, "sigma.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", bin, "./detectors/sigma")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build benchmarks: %w\n%s", err, out)
	}
	run := exec.CommandContext(ctx, bin, "-test.run", "^$", "-test.bench", "Shipped|Foreign|Correlation|Keys", "-test.benchtime", "2s")
	run.Env = append(os.Environ(), "GOMAXPROCS=1")
	out, err := run.Output()
	if err != nil {
		return fmt.Errorf("run benchmarks: %w\n%s", err, out)
	}
	fmt.Printf("\nrule engine, on one core\n")
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[0], "Benchmark") {
			fmt.Printf("%-48s %s\n", strings.TrimPrefix(f[0], "Benchmark"), strings.Join(f[2:], " "))
		}
	}
	return nil
}
