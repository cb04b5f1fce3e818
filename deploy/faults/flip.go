package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// errFound ends a walk.
var errFound = errors.New("found")

// flip changes one bit of a record in the stopped server's journal and lets a
// new sink read everything: the batch is named, it alone is missing, and one
// event tells of it however often the server is started.
func flip(ctx context.Context, s *server, sent *sender) error {
	dir := filepath.Join(s.data(), "journal")
	hit, err := flipBit(dir)
	if err != nil {
		return err
	}
	fmt.Printf("\na bit flipped in batch %d\n", hit.Offset)
	report, err := journal.Check(dir)
	if err != nil {
		return err
	}
	s.promise("faults that log check names, at that batch", len(report.Faults), len(report.Faults) == 1 && report.Faults[0].Offset == hit.Offset)
	out, err := exec.CommandContext(ctx, *bin, "log", "check", "--data", s.data()).CombinedOutput()
	s.promise("log check ends with an error and the offset", 1, err != nil && bytes.Contains(out, fmt.Appendf(nil, "corrupt at batch %d ", hit.Offset)))
	out, err = exec.CommandContext(ctx, *bin, "verify", "--data", s.data(), "--key", filepath.Join(s.dir, "head.key.pub")).CombinedOutput()
	s.promise("verify names the changed frame", 1, err != nil && bytes.Contains(out, fmt.Appendf(nil, "changed at frame %d:", hit.Offset)))

	second := filepath.Join(s.dir, "second.ndjson")
	if err := s.configure(withDetectors, fmt.Sprintf("  - {kind: file, name: second, path: %s, from: start}\n", second)); err != nil {
		return err
	}
	for range 2 {
		if err := s.start(ctx); err != nil {
			return err
		}
		if err := s.drained(ctx, ""); err != nil {
			return err
		}
		if err := s.stop(); err != nil {
			return err
		}
	}
	ids, err := archived(second)
	if err != nil {
		return err
	}
	lost, _, _ := compare(ids, sent)
	in := 0
	for _, r := range hit.Records {
		if r.Flags&(schemas.FlagRejected|schemas.FlagDuplicate) == 0 {
			in++
		}
	}
	s.promise("acknowledged records that a new sink cannot read: those of it", lost, lost == in)
	gaps, told := 0, 0
	err = journal.Walk(dir, 0, math.MaxUint64, func(b *schemas.Batch) error {
		if b.Gap != nil {
			gaps += int(b.Gap.To - b.Gap.From)
		} else if b.Class == schemas.ClassHealth && bytes.Contains(b.Body, []byte(`"journal.gap"`)) {
			told++
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.promise("batches that are a gap", gaps, gaps == 1)
	s.promise("events that tell of it, after two more starts", told, told == 1)
	return nil
}

// flipBit changes one bit in the middle of a batch of records in the oldest
// closed segment that has one, and returns the batch.
func flipBit(dir string) (*schemas.Batch, error) {
	files, err := filepath.Glob(filepath.Join(dir, "segments", "*.seg"))
	if err != nil || len(files) < 2 {
		return nil, fmt.Errorf("no closed segment in %s: %w", dir, err)
	}
	slices.Sort(files)
	var hit *schemas.Batch
	n := 0
	err = journal.Walk(dir, 0, math.MaxUint64, func(b *schemas.Batch) error {
		if b.Gap == nil && b.Class == schemas.ClassActivity && len(b.Records) > 1 && b.Records[0].Flags == 0 {
			hit, n = b, n+1
		}
		if n == 5 {
			return errFound
		}
		return nil
	})
	if !errors.Is(err, errFound) {
		return nil, fmt.Errorf("no batch to damage: %w", err)
	}
	for _, f := range files[:len(files)-1] {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		if at := bytes.Index(text, hit.Body); at >= 0 {
			text[at+len(hit.Body)/2] ^= 8
			return hit, os.WriteFile(f, text, 0o600)
		}
	}
	return nil, fmt.Errorf("batch %d is in no closed segment", hit.Offset)
}
