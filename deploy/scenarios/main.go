// Scenarios plays labelled days of many seeds to the shipped mappings and
// detectors and says per incident how often it was found, how often its benign
// twin was left in peace, and how long it took: of the day, and of weeks that are
// played as they happen, for what must be learned for longer or shows by what does
// not come; then the same, in one row each, for worlds that nobody had in mind when
// limits and generator were made. It ends non-zero if an incident or a twin of the
// ordinary day was judged wrong.
//
//	go run ./deploy/scenarios -seeds 20
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"time"

	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/deploy/sample/watch"
)

var (
	seeds   = flag.Int("seeds", 20, "days of the ordinary world; each other world has half as many")
	picture = flag.String("svg", "", "write the picture there")
	readme  = flag.String("readme", "", "write the table of worlds into this file, between its marks")
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
	if *seeds < 2 {
		return fmt.Errorf("-seeds %d: at least 2 are needed", *seeds)
	}
	var all []outcome
	for i, w := range worlds() {
		from, n := uint64(0), *seeds
		if i > 0 { // days that nobody has looked at
			from = 1000
		}
		if i > 1 {
			n = *seeds / 2
		}
		o, err := play(ctx, w, from, n)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if all = append(all, o); i < 2 {
			o.print(os.Stdout)
			fmt.Println()
		}
	}
	printWorlds(os.Stdout, all)
	if *picture != "" {
		if err := os.WriteFile(*picture, draw(all[0].with(&all[1])), 0o600); err != nil {
			return fmt.Errorf("write picture: %w", err)
		}
	}
	if *readme != "" {
		if err := publish(*readme, all); err != nil {
			return err
		}
	}
	if usual := &all[0]; usual.found < usual.planted || usual.quiet < usual.planted {
		return fmt.Errorf("%s: %d of %d incidents found, %d of %d twins quiet", usual.world.name, usual.found, usual.planted, usual.quiet, usual.planted)
	}
	return nil
}

// play judges n days of a world, as many at a time as there are processors.
func play(ctx context.Context, w world, from uint64, n int) (outcome, error) {
	out := outcome{world: w, seeds: n}
	scores := make([]*sample.Score, n)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		done int
		fail error
	)
	turn := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range turn {
				s, d, err := judge(ctx, w, from+uint64(i))
				mu.Lock()
				if err != nil {
					fail = err
				} else {
					scores[i] = s
					out.records += d.Records
				}
				done++
				fmt.Fprintf(os.Stderr, "\r%-34s %3d of %d days", w.name, done, n)
				mu.Unlock()
			}
		})
	}
	for i := range n {
		turn <- i
	}
	close(turn)
	wg.Wait()
	fmt.Fprintln(os.Stderr)
	if fail != nil {
		return out, fail
	}
	for _, s := range scores {
		out.add(s)
	}
	return out, nil
}

// judge plays one day, each delivery ten milliseconds after the one before, or
// the weeks of one seed.
func judge(ctx context.Context, w world, seed uint64) (*sample.Score, *sample.Day, error) {
	o := w.options
	o.Seed = seed
	generate, kinds := sample.Generate, watch.Default
	if w.weeks {
		generate, kinds = sample.Weeks, append([]string{"trace"}, watch.Default...)
	}
	d := generate(o)
	v, err := watch.New(kinds...)
	if err != nil {
		return nil, nil, err
	}
	if w.weeks {
		err = v.Happen(ctx, d)
	} else {
		err = v.Day(ctx, d, func(i int) time.Time { return d.End.Add(time.Duration(i) * 10 * time.Millisecond) })
	}
	if err != nil {
		return nil, nil, fmt.Errorf("seed %d: %w", seed, err)
	}
	return sample.Judge(d, v.Alerts, v.Name), d, nil
}
