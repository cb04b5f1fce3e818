package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"

	"github.com/agentrail/agentrail/sinks/sinktest/receivers"
)

// writeTable writes the table as a page: a row for each misfortune, a column
// for each sink.
func writeTable(file string, kinds []receivers.Kind, cells [][]cell) error {
	var b bytes.Buffer
	b.WriteString("# Sinks under faults of their receivers\n\nMade by `make sinkfaults DOC=docs/sinkfaults.md`; not edited by hand. ")
	b.WriteString("Kept: nothing was lost, nothing was there twice where the receiver knows ids, nothing was sent that the protocol forbids,\n")
	b.WriteString("a healthy sink beside had all before the failing one recovered, and the ledger accounts for every event. ")
	b.WriteString("A dead letter is named with its reason. Receivers are strict servers in the process (`sinks/sinktest`).\n\n| |")
	for _, k := range kinds {
		fmt.Fprintf(&b, " %s |", k.Name)
	}
	b.WriteString("\n|---|")
	for range kinds {
		b.WriteString("---|")
	}
	b.WriteByte('\n')
	var notes []string
	for n, m := range misfortunes {
		fmt.Fprintf(&b, "| %s |", m.name)
		for i, k := range kinds {
			c := cells[i][n]
			switch {
			case c.beside != "":
				at := slices.Index(notes, c.beside)
				if at < 0 {
					at = len(notes)
					notes = append(notes, c.beside)
				}
				fmt.Fprintf(&b, " %d) |", at+1)
			case c.broken(k, m) != nil:
				b.WriteString(" BROKEN |")
			case c.dead > 0:
				fmt.Fprintf(&b, " kept, %d dead letter |", c.dead)
			default:
				b.WriteString(" kept |")
			}
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	for i, note := range notes {
		fmt.Fprintf(&b, "%d) %s\n", i+1, note)
	}
	return os.WriteFile(file, b.Bytes(), 0o644) //nolint:gosec // a page to be read
}
