package journal_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
	"github.com/agentrail/agentrail/schemas"
)

// The environment of the process that TestKill kills.
const (
	crashDir = "JOURNAL_CRASH_DIR"
	crashRun = "JOURNAL_CRASH_ROUND"
)

// appendUntilKilled is that process: it appends from four goroutines and says
// on standard output what was acknowledged.
func appendUntilKilled(dir string) {
	o := small(dir)
	o.MaxBytes = 1 << 30 // no push-back, however quick the disk is
	d, err := journal.OpenDisk(context.Background(), o)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	c, err := d.Open(context.Background(), "reader", 0, journal.FromStart())
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	go func() {
		for {
			b, err := c.Next(context.Background())
			if err != nil {
				return
			}
			c.Commit(journal.NextOffset(b))
		}
	}()
	for p := range 4 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%s-%d-%d", os.Getenv(crashRun), p, i)
				o, err := d.Append(context.Background(), journaltest.Batch(name, 1+i%7))
				if err != nil {
					fmt.Println("error", err)
					return
				}
				fmt.Printf("ack %d %s\n", o, name)
			}
		}()
	}
	select {}
}

// TestKill kills the process at random moments: what was acknowledged is there,
// once, at its offset, and the journal opens by itself.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[journal.Offset]string{}
	for round := range 5 {
		kill(t, dir, round, acked)
	}
	if len(acked) < 20 {
		t.Fatalf("only %d batches were acknowledged", len(acked))
	}
	report, err := journal.Check(dir)
	if err != nil || !report.OK() {
		t.Fatalf("check: %+v, %v", report, err)
	}
	found := map[journal.Offset]string{}
	err = journal.Walk(dir, 0, 1<<62, func(b *schemas.Batch) error {
		if b.Gap != nil {
			t.Errorf("gap %+v", b.Gap)
		}
		for _, r := range b.Records {
			if r.Flags&schemas.FlagDuplicate != 0 {
				t.Errorf("batch %d has a duplicate", b.Offset)
			}
		}
		_, name, _ := strings.Cut(string(b.Body), `"name":"`)
		name, _, _ = strings.Cut(name, `"`)
		found[b.Offset] = name
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	first := report.First
	for o, name := range acked {
		if o >= first && found[o] != name {
			t.Errorf("batch %d was acknowledged as %q and is %q", o, name, found[o])
		}
	}
}

func kill(t *testing.T, dir string, round int, acked map[journal.Offset]string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("%s=%d", crashRun, round))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	end := time.NewTimer(time.Minute)
	defer end.Stop()
	for n := 0; lines.Scan(); n++ {
		var o journal.Offset
		var name string
		if _, err := fmt.Sscanf(lines.Text(), "ack %d %s", &o, &name); err != nil {
			t.Errorf("child says %q", lines.Text())
			continue
		}
		acked[o] = name
		if n == 0 { // it works: kill it some time from now
			time.AfterFunc(rand.N(150*time.Millisecond), func() { _ = cmd.Process.Kill() })
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
}
