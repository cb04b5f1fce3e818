package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// undisturbed plays what the journal of s holds, in the order of its sender, to
// a server of its own that nobody kills, and holds the alerts of the two
// against each other by rule and entity.
func undisturbed(ctx context.Context, s *server, sent *sender, there map[string]int) error {
	dir := filepath.Join(s.dir, "undisturbed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	calm, err := newServer(ctx, dir)
	if err != nil {
		return err
	}
	if err := calm.configure(withDetectors+withoutStore, ""); err != nil {
		return err
	}
	if err := calm.start(ctx); err != nil {
		return err
	}
	defer calm.kill()
	again := newSender(calm, 0)
	again.pause = time.Millisecond
	for i, d := range sent.order {
		// The last request may have arrived without an answer.
		if there[d.Records[0].ID] == 0 {
			continue
		}
		if !again.post(ctx, d) {
			return fmt.Errorf("play to an undisturbed server: request %d of %d was not taken", i+1, len(sent.order))
		}
	}
	s.promise("records played to an undisturbed server", again.acknowledged(), again.acknowledged() >= sent.acknowledged())
	if err := calm.drained(ctx, ""); err != nil {
		return err
	}
	if err := calm.stop(); err != nil {
		return err
	}
	got, err := told(ctx, s.data())
	if err != nil {
		return err
	}
	want, err := told(ctx, calm.data())
	if err != nil {
		return err
	}
	missing, extra := difference(want, got), difference(got, want)
	s.promise("alerts of the undisturbed server, by rule and entity", len(want), len(want) > 0)
	s.promise("of these missing after the kills", len(missing), len(missing) == 0)
	s.promise("alerts only after the kills", len(extra), len(extra) == 0)
	for _, k := range missing {
		fmt.Println("  missing:", k)
	}
	for _, k := range extra {
		fmt.Println("  too much:", k)
	}
	return nil
}

// told returns the rule and entity of each alert in a journal, once.
func told(ctx context.Context, data string) ([]string, error) {
	var out []string
	err := read(ctx, data, func(b *schemas.Batch) error {
		for i := range b.Events {
			var a schemas.Alert
			if b.Events[i].Kind != "alert" {
				continue
			}
			if err := json.Unmarshal(b.Events[i].Raw, &a); err != nil {
				return fmt.Errorf("read alert at %d/%d: %w", b.Offset, i, err)
			}
			out = append(out, strings.Join([]string{a.Rule, a.Entity.Kind, a.Entity.ID}, " "))
		}
		return nil
	})
	slices.Sort(out)
	return slices.Compact(out), err
}
