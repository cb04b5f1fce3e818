package journal_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// TestCrashChild is that process: it appends from four goroutines and says on
// standard output what was acknowledged, until it is killed.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("only for TestKill")
	}
	o := small(dir)
	o.MaxBytes = 1 << 30 // no push-back, however quick the disk is
	d := open(t, o)
	c, err := d.Open(t.Context(), "reader", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
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
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
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

// TestCursors: commits survive, a torn slot falls back to the one before it, and
// a damaged entry makes consumers begin at the oldest batch rather than skip.
func TestCursors(t *testing.T) {
	dir := t.TempDir()
	d := open(t, small(dir))
	c, err := d.Open(t.Context(), "c", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		appendOne(t, d, fmt.Sprint("b", i))
		c.Commit(uint64(i))
		if err := d.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Open(t.Context(), "unused", 0, journal.FromNow()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	list, err := journal.Cursors(dir)
	if err != nil || len(list) != 2 || list[0].Name != "c" || list[0].Committed != 5 {
		t.Fatalf("cursors %+v, %v", list, err)
	}
	if err := journal.RemoveCursor(dir, "unused"); err != nil {
		t.Fatal(err)
	}
	if err := journal.RemoveCursor(dir, "unused"); err == nil {
		t.Fatal("removed twice")
	}
	path := filepath.Join(dir, "cursors", "cursors.dat")
	whole := slurp(t, path)
	f := func(damage func(p []byte), from journal.From, want journal.Offset) {
		t.Helper()
		p := slices.Clone(whole)
		damage(p)
		write(t, path, p)
		d := open(t, small(dir))
		c, err := d.Open(t.Context(), "c", 0, from)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := c.Next(t.Context()); err != nil || b.Offset != want {
			t.Errorf("offset %d, %v; want %d", b.Offset, err, want)
		}
		if err := errors.Join(c.Close(), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	slot := func(p []byte, newest bool) []byte {
		a, b := p[:512], p[512:1024]
		if (a[8] > b[8]) == newest {
			return a
		}
		return b
	}
	f(func(p []byte) {}, journal.FromStart(), 5)
	f(func(p []byte) { slot(p, false)[100] ^= 1 }, journal.FromStart(), 5)
	f(func(p []byte) { slot(p, true)[20] ^= 1 }, journal.FromStart(), 4)
	f(func(p []byte) { p[30] ^= 1; p[512+30] ^= 1 }, journal.FromNow(), 0)
}

// TestSnapshotDamage: a damaged snapshot is not given to the consumer; the one
// before it is.
func TestSnapshotDamage(t *testing.T) {
	dir := t.TempDir()
	d := open(t, small(dir))
	c, err := d.Open(t.Context(), "c", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		appendOne(t, d, fmt.Sprint("b", i))
		if err := c.Snapshot(t.Context(), uint64(i), &counter{[]byte{byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	snaps, _ := filepath.Glob(filepath.Join(dir, "cursors", "*.snap"))
	if len(snaps) != 2 {
		t.Fatalf("snapshots %v", snaps)
	}
	p := slurp(t, snaps[1])
	p[16] ^= 1
	write(t, snaps[1], p)
	var s counter
	if o, err := c.Restore(&s); err != nil || o != 1 || !slices.Equal(s.seen, []byte{1}) {
		t.Fatalf("restored %v at %d, %v", s.seen, o, err)
	}
	if err := errors.Join(c.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := journal.Repair(dir, false)
	if err != nil || len(r.Actions) != 1 || r.Actions[0].Path != snaps[1] {
		t.Fatalf("repair %+v, %v", r, err)
	}
	if _, err := os.Stat(r.Actions[0].To); err != nil {
		t.Fatal(err)
	}
}

// TestEndBeforeCursor: a consumer has read what is no longer there. Offsets go
// on after what it read, and the hole is a gap.
func TestEndBeforeCursor(t *testing.T) {
	dir := t.TempDir()
	d := open(t, small(dir))
	c, err := d.Open(t.Context(), "c", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		appendOne(t, d, fmt.Sprint("b", i))
	}
	c.Commit(4)
	if err := errors.Join(c.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	path := segmentFiles(t, dir)[0]
	p := slurp(t, path)
	write(t, path, p[:frameStarts(p)[2]])
	d = open(t, small(dir))
	if o := appendOne(t, d, "after"); o != 4 {
		t.Fatalf("offset %d was given twice", o)
	}
	want := []string{"b0", "b1", "gap[2,4)", "after"}
	if got := read(t, d); len(got) < 4 || !slices.Equal(got[:4], want) {
		t.Fatalf("%v, want %v", got, want)
	}
}

// TestTick: without data a tick comes, and it has no events.
func TestTick(t *testing.T) {
	o := small(t.TempDir())
	o.Tick = 5 * time.Millisecond
	d := open(t, o)
	c, err := d.Open(t.Context(), "", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var last int64
	for range 3 {
		b, err := c.Next(t.Context())
		if err != nil || !b.Tick() || len(b.Events) != 0 || b.Received < last {
			t.Fatalf("%+v, %v", b, err)
		}
		last = b.Received
	}
}

// TestRetention removes by age what was read, and by the operator's word what
// was not.
func TestRetention(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := small(dir)
	o.Retention, o.Now = time.Hour, func() time.Time { return now }
	d := open(t, o)
	c, err := d.Open(t.Context(), "c", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := d.Append(t.Context(), journaltest.Batch(fmt.Sprint("b", i), 200)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	now = now.Add(2 * time.Hour)
	d = open(t, o)
	d.Tidy()
	if d.First() != 0 {
		t.Fatalf("unread batches were removed: the first is %d", d.First())
	}
	if c, err = d.Open(t.Context(), "c", 0, journal.FromStart()); err != nil {
		t.Fatal(err)
	}
	c.Commit(10)
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	d.Tidy()
	if d.First() == 0 {
		t.Fatal("old batches that were read are still there")
	}
	if err := errors.Join(c.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(8 * 24 * time.Hour)
	d = open(t, o)
	if list := d.Cursors(); len(list) != 1 || !list[0].Abandoned {
		t.Fatalf("cursors %+v", list)
	}
}

func TestEvictUnread(t *testing.T) {
	o := small(t.TempDir())
	o.MaxBytes, o.EvictUnread = 256<<10, true
	d := open(t, o)
	c, err := d.Open(t.Context(), "c", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	until(t, d, func() bool { return slices.Equal(read(t, d), []string{"health journal.evict_unread"}) })
	for i := range 60 {
		if _, err := d.Append(t.Context(), journaltest.Batch(fmt.Sprint("b", i), 100)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := c.Next(t.Context())
	if err != nil || b.Gap == nil || b.Gap.From != 0 || b.Gap.To != d.First() {
		t.Fatalf("%+v, %v", b, err)
	}
	if next, err := c.Next(t.Context()); err != nil || next.Offset != b.Gap.To {
		t.Fatalf("%+v, %v", next, err)
	}
	until(t, d, func() bool { return slices.Contains(read(t, d), "health journal.evicted") })
}

// TestUndecodable: a batch that no decoder reads comes as rejected records, and
// one event says why.
func TestUndecodable(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 0, 2)
	o := small(dir)
	o.Decode = func(b *schemas.Batch) error {
		if b.Offset == 1 {
			panic("decoder of another age")
		}
		return journaltest.Decode(b)
	}
	d := open(t, o)
	c, err := d.Open(t.Context(), "", 0, journal.FromOffset(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := c.Next(t.Context())
	if err != nil || len(b.Events) != 2 || b.Events[0].Accepted() || len(b.Events[0].Raw) == 0 {
		t.Fatalf("%+v, %v", b, err)
	}
	until(t, d, func() bool { return slices.Contains(read(t, d), "health journal.undecodable") })
}
