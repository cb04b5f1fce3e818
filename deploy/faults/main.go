// Faults kills `agentrail serve` with SIGKILL at random moments while one
// ordered sender posts sample days to it, and then holds what is there against
// its own ledger of what was acknowledged: nothing lost, nothing doubled in
// ClickHouse, the alerts those that a fresh engine raises from the same journal
// and, by rule and entity, those of a server that nobody kills, the evidence
// unchanged, and each start without help. Then it flips a
// bit in that journal, sends to receivers that are dead, slow and lying, and
// fills a disk. Each promise is a line.
//
//	go run ./deploy/faults -rounds 50 -bin bin/agentrail
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

var (
	rounds = flag.Int("rounds", 50, "kills")
	bin    = flag.String("bin", "bin/agentrail", "program to kill")
	seed   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the moments and the records")
	engine = flag.Int("engine", 5, "every so many rounds the engine child is killed instead of serve; 0: never")
	modes  = flag.String("modes", "kill,sinks,full", "what to do; table alone needs no program")
	keep   = flag.Bool("keep", false, "keep the folder")
	doc    = flag.String("doc", "", "write the table as a page, too")
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
	dir, err := os.MkdirTemp("", "agentrail-faults-")
	if err != nil {
		return err
	}
	if *keep {
		fmt.Println("folder", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	if *modes == "table" {
		return sinkTable(ctx, *doc)
	}
	fmt.Printf("seed %d\n", *seed)
	var broken []error
	for _, m := range []struct {
		name string
		run  func(context.Context, *server) error
	}{{"kill", kills}, {"sinks", badReceivers}, {"full", fullDisk}} {
		if !slices.Contains(strings.Split(*modes, ","), m.name) {
			continue
		}
		sub := filepath.Join(dir, m.name)
		if err := os.Mkdir(sub, 0o700); err != nil {
			return err
		}
		s, err := newServer(ctx, sub)
		if err != nil {
			return err
		}
		err = m.run(ctx, s)
		s.kill()
		if broken = append(broken, s.broken...); err != nil {
			return errors.Join(append(broken, fmt.Errorf("%s: %w", m.name, err))...)
		}
	}
	return errors.Join(broken...)
}

// kills is the main course: serve and the engine end at random moments.
func kills(ctx context.Context, s *server) error {
	fmt.Printf("\n%d kills of serve and, every %d, of the engine\n", *rounds, *engine)
	if err := s.configure(withDetectors, ""); err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	sender := newSender(s, *seed)
	go sender.run(ctx)
	r := rand.New(rand.NewPCG(*seed, 1))
	var recovery []time.Duration
	for i := range *rounds {
		if err := s.waitFor(ctx, time.Duration(r.Int64N(int64(1200*time.Millisecond)))); err != nil {
			return err
		}
		if i%10 == 9 {
			fmt.Printf("round %d: %d records acknowledged\n", i+1, sender.acknowledged())
		}
		if *engine > 0 && i%*engine == *engine-1 {
			s.killEngine()
			continue
		}
		s.kill()
		before := sender.acks()
		began := time.Now()
		if err := s.start(ctx); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
		if err := sender.awaitAck(ctx, before); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
		recovery = append(recovery, time.Since(began))
	}
	sender.stop()
	slices.Sort(recovery)
	fmt.Printf("kill to next acknowledgement: p50 %.0f ms, max %.0f ms\n",
		recovery[len(recovery)/2].Seconds()*1e3, recovery[len(recovery)-1].Seconds()*1e3)
	if err := verify(ctx, s, sender); err != nil {
		return err
	}
	return flip(ctx, s, sender)
}
