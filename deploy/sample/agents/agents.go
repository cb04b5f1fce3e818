// Package agents is the dozen agents that `agentrail up` runs: their specs, and
// a small MCP server with the tools that they use, for machines without npm.
package agents

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed *.yaml
var specs embed.FS

// inputs are what the agents read, by path below the folder.
var inputs = map[string]string{
	"reports/open.md":    "# Open reports\n\n- OPS-1 the night job is late\n- OPS-2 a disk is nearly full\n",
	"incidents/today.md": "09:12 the login page was slow\n09:40 it was quick again\n",
	"changes/merged.md":  "- faster search\n- a new page for runs\n",
	"policies/travel.md": "Trips are booked by the team's assistant.\n",
	"private/ledger.md":  "nobody may write here in background\n",
	"out/README.md":      "What the sample agents write.\n",
	"pages/README.md":    "Pages that people agreed to.\n",
	"drop/README.md":     "A file that is dropped here is filed as minutes.\n",
}

// Write puts the specs into dir and the files that they read below folder,
// unless they are there already: a person may have changed them.
func Write(dir, folder string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of agents: %w", err)
	}
	files, err := specs.ReadDir(".")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	for _, f := range files {
		text, err := specs.ReadFile(f.Name())
		if err != nil {
			panic("BUG: " + err.Error())
		}
		if err := keep(filepath.Join(dir, f.Name()), strings.ReplaceAll(string(text), "FOLDER", folder)); err != nil {
			return err
		}
	}
	for name, text := range inputs {
		if err := keep(filepath.Join(folder, filepath.FromSlash(name)), text); err != nil {
			return err
		}
	}
	return nil
}

// keep writes a file unless there is one.
func keep(file, text string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write sample: %w", err)
	}
	return nil
}

// Sources are the inputs of the specs with the file that each is read from.
func Sources(folder string) map[string]string {
	out := map[string]string{}
	for name := range inputs {
		dir := filepath.Dir(filepath.Join(folder, filepath.FromSlash(name)))
		switch filepath.Base(dir) {
		case "reports", "incidents", "changes", "policies":
			out["files:"+dir] = filepath.Join(folder, filepath.FromSlash(name))
		}
	}
	return out
}

// Published are the agents that a moderator has published, as `up` begins. The
// others wait for a review.
var Published = []string{"weekly-digest", "incident-scribe", "release-notes", "policy-answers", "glossary-keeper", "sum-checker", "escalation-watcher", "meeting-minutes", "board-sync", "expense-filer"}

// Runaway is the agent that `agentrail demo runaway` lets misbehave.
const Runaway = "board-sync"
