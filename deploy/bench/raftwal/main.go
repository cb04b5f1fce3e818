// Raftwal appends entries to github.com/hashicorp/raft-wal, synced one by one,
// while readers read each of them, and prints seconds of wall and processor
// time. It is a module of its own so that the product does not depend on what
// it is measured against; the journal row of deploy/bench builds and runs it.
package main

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

var (
	dir     = flag.String("dir", "", "folder of the log")
	entries = flag.Int("entries", 1000, "entries to append")
	size    = flag.Int("size", 256<<10, "bytes of an entry")
	readers = flag.Int("readers", 3, "readers of every entry")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	w, err := wal.Open(*dir)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	data := make([]byte, *size)
	for i := range data {
		data[i] = byte('a' + i%26)
	}
	began, used := time.Now(), processor()
	written := make([]chan uint64, *readers)
	failed := make(chan error, *readers)
	var wg sync.WaitGroup
	for i := range written {
		written[i] = make(chan uint64, *entries)
		wg.Go(func() {
			for n := range written[i] {
				var l raft.Log
				if err := w.GetLog(n, &l); err != nil {
					failed <- fmt.Errorf("read entry %d: %w", n, err)
					return
				}
			}
		})
	}
	for n := range uint64(*entries) {
		if err := w.StoreLogs([]*raft.Log{{Index: n + 1, Term: 1, Data: data}}); err != nil {
			return fmt.Errorf("append entry %d: %w", n+1, err)
		}
		for _, c := range written {
			c <- n + 1
		}
	}
	for _, c := range written {
		close(c)
	}
	wg.Wait()
	wall, cpu := time.Since(began), processor()-used
	select {
	case err := <-failed:
		return err
	default:
	}
	fmt.Println(wall.Seconds(), cpu.Seconds())
	return w.Close()
}

func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
