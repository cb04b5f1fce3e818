package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// promise prints a line for a promise, and remembers it if it was broken.
func (s *server) promise(what string, n int, ok bool) {
	word := "kept"
	if !ok {
		word = "BROKEN"
		s.broken = append(s.broken, errors.New(what))
	}
	fmt.Printf("%-64s %8d  %s\n", what, n, word)
}

// verify holds what is there against the sender's ledger.
func verify(ctx context.Context, s *server, sent *sender) error {
	if err := s.drained(ctx, ""); err != nil {
		return err
	}
	promise, data := s.promise, s.data()
	promise("records acknowledged", sent.acknowledged(), sent.acknowledged() > 0)

	rows, err := s.rows(ctx)
	if err != nil {
		return err
	}
	lost, doubled, phantom := compare(rows, sent)
	promise("acknowledged records missing in ClickHouse", lost, lost == 0)
	promise("records doubled in ClickHouse, without FINAL", doubled, doubled == 0)
	promise("records in ClickHouse that were never sent", phantom, phantom == 0)

	if err := s.stop(); err != nil {
		return err
	}
	archive, err := archived(filepath.Join(s.dir, "archive.ndjson"))
	if err != nil {
		return err
	}
	lost, again, _ := compare(archive, sent)
	promise("acknowledged records missing in the file sink", lost, lost == 0)
	fmt.Printf("%-64s %8d  (at least once: each carries its id)\n", "records delivered again to the file sink", again)

	got, want, err := replay(ctx, data)
	if err != nil {
		return err
	}
	promise("alert transitions in the journal", len(got), len(got) > 0)
	missing, extra := difference(want, got), difference(got, want)
	promise("transitions that a fresh engine raises and the journal lacks", len(missing), len(missing) == 0)
	promise("transitions that the journal has too much or twice", len(extra), len(extra) == 0)

	if err := undisturbed(ctx, s, sent, rows); err != nil {
		return err
	}

	for _, args := range [][]string{
		{"log", "check", "--data", data},
		{"verify", "--data", data, "--key", filepath.Join(s.dir, "head.key.pub")},
	} {
		out, err := exec.CommandContext(ctx, *bin, args...).CombinedOutput()
		promise("agentrail "+args[0]+" says that nothing was changed", 1, err == nil)
		if err != nil {
			fmt.Printf("%s\n", out)
		}
	}
	return nil
}

// rows counts the rows of each record in ClickHouse by the id that its source
// gave it.
func (s *server) rows(ctx context.Context) (map[string]int, error) {
	r, err := s.open(ctx, "/agentrail/v1/events?class=activity&format=ndjson&limit=1000000")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if from := r.Header.Get("Agentrail-Answered-From"); from != "" {
		return nil, fmt.Errorf("rows come from %s, not from ClickHouse", from)
	}
	return countIDs(r.Body)
}

func archived(path string) (map[string]int, error) {
	all := map[string]int{}
	files, err := filepath.Glob(strings.TrimSuffix(path, ".ndjson") + "*")
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		var lines io.Reader = f
		if strings.HasSuffix(name, ".gz") { // the sink packs what is full
			lines, err = gzip.NewReader(f)
		}
		var ids map[string]int
		if err == nil {
			ids, err = countIDs(lines)
		}
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		for id, n := range ids {
			all[id] += n
		}
	}
	return all, nil
}

func countIDs(r io.Reader) (map[string]int, error) {
	ids := map[string]int{}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var ev struct {
			Class    string `json:"class"`
			SourceID string `json:"source_id"`
		}
		if err := json.Unmarshal(sc.Bytes(), &ev); err != nil {
			return nil, fmt.Errorf("%w in %.200s", err, sc.Bytes())
		}
		if ev.Class == "activity" {
			ids[ev.SourceID]++
		}
	}
	return ids, sc.Err()
}

// compare returns how many acknowledged ids are missing, how many are there
// more than once, and how many were never sent.
func compare(ids map[string]int, s *sender) (lost, doubled, phantom int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.acked {
		if ids[id] == 0 {
			lost++
		}
	}
	for id, n := range ids {
		if n > 1 {
			doubled++
		}
		if !s.sent[id] {
			phantom++
		}
	}
	return lost, doubled, phantom
}

// difference returns what of a is not in b, each as often as it is there.
func difference(a, b []string) (out []string) {
	have := map[string]int{}
	for _, k := range b {
		have[k]++
	}
	for _, k := range a {
		if have[k]--; have[k] < 0 {
			out = append(out, k)
		}
	}
	return out
}

// replay returns the alert transitions that are in the journal, and those that
// a fresh engine raises from its activity.
func replay(ctx context.Context, data string) (got, want []string, err error) {
	set, err := decode.Open("")
	if err != nil {
		return nil, nil, err
	}
	var parts []plug.Config
	for kind, fields := range map[string]string{"subscription": "zone: America/New_York", "burst": "", "denial": ""} {
		c, err := plug.NewConfig(kind, kind, fields)
		if err != nil {
			return nil, nil, err
		}
		parts = append(parts, c)
	}
	engine, err := detectors.NewEngine(detectors.Options{Detectors: parts, Own: decode.Own, Vocabulary: set.Vocabulary(), Tools: set.Tool, Append: func(_ context.Context, b *schemas.Batch) (uint64, error) {
		want = append(want, transitions(b)...)
		return 0, nil
	}})
	if err != nil {
		return nil, nil, err
	}
	err = read(ctx, data, func(b *schemas.Batch) error {
		if b.Class == schemas.ClassAlert {
			got = append(got, transitions(b)...)
		}
		return engine.Consume(ctx, []*schemas.Batch{b})
	})
	return got, want, err
}

// read gives every batch of a journal to fn.
func read(ctx context.Context, data string, fn func(*schemas.Batch) error) error {
	set, err := decode.Open(filepath.Join(data, "mappings"))
	if err != nil {
		return err
	}
	j, err := journal.OpenDisk(ctx, journal.Options{Dir: filepath.Join(data, "journal"), Decode: set.Decode, ReserveBytes: -1, Tick: -1})
	if err != nil {
		return err
	}
	defer j.Close()
	cur, err := j.Open(ctx, "", 0, journal.FromStart())
	if err != nil {
		return err
	}
	defer cur.Close()
	for end := j.Head(); ; {
		rctx, cancel := context.WithTimeout(ctx, time.Minute)
		b, err := cur.Next(rctx)
		cancel()
		if err != nil {
			return err
		}
		if err := fn(b); err != nil {
			return err
		}
		if journal.NextOffset(b) >= end {
			return nil
		}
	}
}

// transitions names the transitions of alerts in a batch.
func transitions(b *schemas.Batch) []string {
	var out []string
	for i := range b.Events {
		var a schemas.Alert
		if b.Events[i].Kind == "alert" && json.Unmarshal(b.Events[i].Raw, &a) == nil {
			out = append(out, fmt.Sprintf("%s/%d/%s", a.ID, a.Seq, a.Transition))
		}
	}
	return out
}
