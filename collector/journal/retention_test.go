package journal_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
)

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
