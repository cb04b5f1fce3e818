package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
)

// TestOffsetAtFindsTheFirstBatchOfATime asks a real journal for times before,
// at, between and behind what it holds.
func TestOffsetAtFindsTheFirstBatchOfATime(t *testing.T) {
	dir := t.TempDir()
	if err := makeJournal(filepath.Join(dir, "journal"), filepath.Join(dir, "head.key"), 20); err != nil {
		t.Fatal(err)
	}
	set, err := decode.Open("")
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.OpenDisk(t.Context(), journal.Options{
		Dir: filepath.Join(dir, "journal"), Decode: set.Decode, Own: decode.Own, SegmentBytes: 64 << 10, ReserveBytes: -1, Tick: -1,
		Now: func() time.Time { return scriptTime.Add(time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	var received []int64
	for o := j.First(); o < j.Head(); o++ {
		_, at, err := receivedAt(t.Context(), j, o)
		if err != nil {
			t.Fatal(err)
		}
		received = append(received, at)
	}
	if len(received) < 20 {
		t.Fatalf("%d batches", len(received))
	}
	for second := -5; second < 220; second += 5 {
		at := scriptTime.Add(time.Duration(second) * time.Second)
		want := j.First()
		for _, r := range received {
			if r < at.UnixNano() {
				want++
			}
		}
		if got, err := offsetAt(j)(t.Context(), at); err != nil || got != want {
			t.Errorf("%d s: offset %d, %v; want %d", second, got, err, want)
		}
	}
}
