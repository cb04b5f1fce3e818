package main

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/collector/journal"
)

func newLogCheck(c *console) *cobra.Command {
	var data, format string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read the whole journal and name what is damaged; changes nothing",
		Long:  "Read the whole journal and compare checksums, digests, the chain and the offsets. It may run beside a server. Exit code 1 means that something was found.",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&data, "data", "data", "data folder of the server, or the folder of a journal")
	cmd.Flags().StringVarP(&format, "output", "o", "table", "format: table or json")
	cmd.RunE = func(*cobra.Command, []string) error {
		if format != "table" && format != "json" {
			return usagef("use --output table or json", "unknown output format %q", format)
		}
		dir, err := journalFolder(data)
		if err != nil {
			return err
		}
		r, err := journal.Check(dir)
		if err != nil {
			return err
		}
		if format == "json" {
			err = printJSON(c.out, r)
		} else {
			err = printCheck(c, r)
		}
		if err == nil && !r.OK() {
			err = &findings{n: len(r.Faults)}
		}
		return err
	}
	return cmd
}

func printCheck(c *console, r *journal.CheckReport) error {
	p := &page{w: c.out}
	for _, f := range r.Faults {
		p.line("", fmt.Sprintf("%s at batch %d (%s, byte %d): %s", f.Code, f.Offset, filepath.Base(f.Segment), f.Byte, f.Detail))
	}
	verdict := "no damage"
	if !r.OK() {
		verdict = fmt.Sprintf("%d faults", len(r.Faults))
	}
	p.line("", fmt.Sprintf("%s: %s", r.Dir, verdict))
	p.line("segments", fmt.Sprintf("%d, %s", r.Segments, size(r.Bytes)))
	if r.Frames > 0 {
		p.line("batches", fmt.Sprintf("%d (%d to %d), %d of them ticks", r.Frames, r.First, r.Next-1, r.Ticks))
	}
	p.line("records", fmt.Sprintf("%d: %d duplicates, %d rejected, %d sealed", r.Records, r.Duplicates, r.Rejected, r.Sealed))
	if r.TornTail {
		p.line("end", "an unfinished write: normal while the server runs and after a crash; no index and no cursor says that it was ever whole")
	}
	if !r.OK() {
		p.line("do next", "agentrail log repair --data "+r.Dir+" --dry-run")
	}
	return p.err
}

func newLogRepair(c *console) *cobra.Command {
	var data, format string
	var dry bool
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Put what is damaged into quarantine; deletes nothing",
		Long:  "Put what is damaged into the folder quarantine of the journal. Nothing is deleted. The server must be stopped.",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&data, "data", "data", "data folder of the server, or the folder of a journal")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
	cmd.Flags().StringVarP(&format, "output", "o", "table", "format: table or json")
	cmd.RunE = func(*cobra.Command, []string) error {
		if format != "table" && format != "json" {
			return usagef("use --output table or json", "unknown output format %q", format)
		}
		dir, err := journalFolder(data)
		if err != nil {
			return err
		}
		r, err := journal.Repair(dir, dry)
		if errors.Is(err, journal.ErrLocked) {
			return hintf("stop the server first; log check works beside it", "%w", err)
		}
		if err != nil {
			return err
		}
		if format == "json" {
			return printJSON(c.out, r)
		}
		p := &page{w: c.out}
		for _, a := range r.Actions {
			p.line(map[bool]string{true: "would be"}[dry]+" "+a.What, fmt.Sprintf("%s to %s: %s", a.Path, a.To, a.Reason))
		}
		if len(r.Actions) == 0 {
			p.line("", dir+": nothing to repair")
		}
		return p.err
	}
	return cmd
}

func newLogDump(c *console) *cobra.Command {
	var data string
	var from, to uint64
	cmd := &cobra.Command{
		Use:     "dump",
		Short:   "Write batches and their records as NDJSON",
		Example: "  agentrail log dump --data /var/lib/agentrail --from 1200 --to 1210",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&data, "data", "data", "data folder of the server, or the folder of a journal")
	cmd.Flags().Uint64Var(&from, "from", 0, "offset of the first batch")
	cmd.Flags().Uint64Var(&to, "to", math.MaxUint64, "offset after the last batch")
	cmd.RunE = func(*cobra.Command, []string) error {
		if from >= to {
			return usagef("--from 10 --to 11 is one batch", "--from %d is not before --to %d", from, to)
		}
		dir, err := journalFolder(data)
		if err != nil {
			return err
		}
		w := bufio.NewWriterSize(c.out, 1<<16)
		return errors.Join(journal.Dump(dir, from, to, w), w.Flush())
	}
	return cmd
}
