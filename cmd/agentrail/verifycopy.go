package main

import (
	"fmt"
	"io"
	"os"

	"github.com/agentrail/agentrail/collector/notary"
)

// verifyCopy checks a copy by itself and, with the folder of a journal, holds
// the journal against it: its newest head and each of its events.
func verifyCopy(c *console, format, file, dir string, o notary.VerifyOptions) error {
	var in io.Reader = c.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("read copy: %w", err)
		}
		defer f.Close()
		in = f
	}
	got, err := notary.ReadCopy(in, o.Keys)
	if err != nil {
		return err
	}
	var res *notary.Result
	if dir != "" {
		if got.Newest != nil {
			o.Heads = append(o.Heads, *got.Newest)
		}
		if res, err = notary.Verify(dir, o); err != nil {
			return err
		}
		if err := got.Compare(dir); err != nil {
			return err
		}
	}
	if format == "json" {
		err = printJSON(c.out, struct {
			OK      bool           `json:"ok"`
			Copy    *notary.Copy   `json:"copy"`
			Journal *notary.Result `json:"journal,omitempty"`
		}{got.OK() && (res == nil || res.OK()), got, res})
	} else {
		err = printCopy(c, file, dir, got, res)
	}
	if err != nil {
		return err
	}
	n := len(got.Findings)
	if res != nil {
		n += len(res.Findings)
	}
	if n > 0 {
		return &findings{n: n}
	}
	return nil
}

func printCopy(c *console, file, dir string, got *notary.Copy, res *notary.Result) error {
	p := &page{w: c.out}
	for _, f := range got.Findings {
		p.line("", f.String())
	}
	if got.Suppressed > 0 {
		p.line("", fmt.Sprintf("and %d more", got.Suppressed))
	}
	verdict := "sound"
	if !got.OK() {
		verdict = "NOT sound"
	}
	p.line("", fmt.Sprintf("%s: %s", file, verdict))
	p.line("events", fmt.Sprintf("%d, and %d repeats", got.Events, got.Repeats))
	p.line("records", fmt.Sprintf("%d have their digest; %d were redacted or spaced by the sink and prove nothing; the others are not in the copy", got.Proved, got.Unproved))
	if got.Newest == nil {
		p.line("signed", "nothing: forward class evidence, too")
	} else {
		p.line("signed", fmt.Sprintf("%d heads are genuine, the newest of frame %d, %s; %d events lie in frames up to it", got.Heads, got.Newest.Offset, human(got.Newest.At), got.Covered))
	}
	if res == nil {
		p.line("not shown", "that the heads are about these events, and that none is left out: give the journal with --data")
		return p.err
	}
	p.line("journal", fmt.Sprintf("%d of the events are in it, unchanged; %d are older than it", got.InJournal, got.Gone))
	if p.err != nil {
		return p.err
	}
	return printVerified(c, "table", dir, res)
}
