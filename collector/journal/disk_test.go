package journal_test

import (
	"testing"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small are options under which segments are many and nothing happens by time.
func small(dir string) journal.Options {
	return journal.Options{
		Dir: dir, Decode: journaltest.Decode, Own: journaltest.Own, SegmentBytes: 64 << 10, MaxBytes: 1 << 20, ReserveBytes: 128 << 10,
		TailBytes: 64 << 10, Tick: -1,
	}
}

func open(t *testing.T, o journal.Options) *journal.Disk {
	t.Helper()
	d, err := journal.OpenDisk(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestDiskConforms(t *testing.T) {
	for _, c := range []struct {
		name string
		tail int64
	}{{"at the tail", 1 << 20}, {"behind the tail", 1}} {
		t.Run(c.name, func(t *testing.T) {
			journaltest.Run(t, func(t *testing.T) journaltest.OpenFunc {
				dir := t.TempDir()
				return func(t *testing.T) journal.Journal {
					o := small(dir)
					o.TailBytes = c.tail
					return open(t, o)
				}
			})
		})
	}
}
