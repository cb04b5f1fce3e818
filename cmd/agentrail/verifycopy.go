package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/notary"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
	"github.com/agentrail/agentrail/sinks/format"
)

// copyCheck is what verify --copy was asked to do.
type copyCheck struct {
	file   string // or folder, or - for the standard input
	dir    string // of a journal; empty: none
	config string // of the server, for its mappings and its sinks; empty: the shipped mappings
	sink   string // in config, whose copy it is; empty: not known
	each   bool   // print a verdict for each event
	format string
}

// verify checks a copy by itself and, with the folder of a journal, holds it
// and the journal to each other: the newest head and each of the events.
func (cc copyCheck) verify(ctx context.Context, c *console, o notary.VerifyOptions) error {
	check, err := cc.fields(ctx)
	if err != nil {
		return err
	}
	options := notary.CopyOptions{Keys: o.Keys, Read: format.Read, Fields: check.verdict}
	if check.sink != nil {
		options.Whole = func(b *schemas.Batch, i int) bool { _, sent := check.sink.Preview(b, &b.Events[i]); return sent }
	}
	got, err := notary.NewCopy(options)
	if err != nil {
		return err
	}
	if err := cc.read(c, got); err != nil {
		return err
	}
	var res *notary.Result
	if cc.dir != "" {
		if got.Newest != nil {
			o.Heads = append(o.Heads, *got.Newest)
		}
		if res, err = notary.Verify(cc.dir, o); err != nil {
			return err
		}
		if err := got.Compare(cc.dir, check.mappings.Decode); err != nil {
			return err
		}
	}
	got.Finish()
	if err := cc.print(c, got, res); err != nil {
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

// fields prepares the check of the fields beside the records.
func (cc copyCheck) fields(ctx context.Context) (*fieldCheck, error) {
	f := &fieldCheck{journal: cc.dir != ""}
	var files []string
	if cc.config != "" {
		cfg, err := loadConfig(cc.config)
		if err != nil {
			return nil, err
		}
		files = cfg.Mappings
		if cc.sink != "" {
			if _, err := cfg.sink(cc.sink); err != nil {
				return nil, err
			}
			if f.sink, err = dryForwarder(ctx, cfg, cc.sink); err != nil {
				return nil, err
			}
			if f.sink.Whole() {
				return nil, usagef("its copy is in the traces' own store", "sink %s sends requests of traces whole", cc.sink)
			}
		}
	}
	store := ""
	if cc.dir != "" {
		store = filepath.Join(filepath.Dir(cc.dir), "mappings")
		if _, err := os.Stat(store); err != nil {
			store = "" // a journal alone: the shipped mappings must do
		}
	}
	var err error
	if f.mappings, err = decode.View(store, files...); err != nil {
		return nil, fmt.Errorf("read mappings: %w", err)
	}
	return f, nil
}

// read reads the file, or every file in the folder.
func (cc copyCheck) read(c *console, got *notary.Copy) error {
	if cc.file == "-" {
		return readCopied(got, "", c.in, nil)
	}
	info, err := os.Stat(cc.file)
	if err != nil {
		return fmt.Errorf("read copy: %w", err)
	}
	if !info.IsDir() {
		return readCopyFile(got, "", cc.file)
	}
	return filepath.WalkDir(cc.file, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(cc.file, path)
		if err != nil {
			return err
		}
		return readCopyFile(got, name, path)
	})
}

func readCopyFile(got *notary.Copy, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read copy: %w", err)
	}
	defer f.Close()
	if err := readCopied(got, name, f, f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// readCopied reads lines, gzipped or not, or a file of Parquet.
func readCopied(got *notary.Copy, name string, in io.Reader, file *os.File) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	magic, err := lines.Peek(4)
	switch {
	case err == nil && string(magic) == "PAR1" && file == nil:
		return usagef("write it to a file, and name that", "Parquet cannot be read from a pipe")
	case err == nil && string(magic) == "PAR1":
		info, err := file.Stat()
		if err != nil {
			return err
		}
		n := 0
		return sinks.ReadLake(file, info.Size(), func(doc []byte) error {
			n++
			got.Line(name, n, doc)
			return nil
		})
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(lines)
		if err != nil {
			return fmt.Errorf("read gzip: %w", err)
		}
		return got.Lines(name, z)
	}
	return got.Lines(name, lines)
}

func (cc copyCheck) print(c *console, got *notary.Copy, res *notary.Result) error {
	if cc.each {
		out := bufio.NewWriter(c.out)
		enc := json.NewEncoder(out)
		if err := got.Each(func(v notary.CopyVerdict) error { return enc.Encode(v) }); err != nil {
			return err
		}
		for _, f := range got.Findings {
			fmt.Fprintln(c.err, f)
		}
		return out.Flush()
	}
	if cc.format == "json" {
		return printJSON(c.out, struct {
			OK      bool           `json:"ok"`
			Copy    *notary.Copy   `json:"copy"`
			Journal *notary.Result `json:"journal,omitempty"`
		}{got.OK() && (res == nil || res.OK()), got, res})
	}
	return cc.printTable(c, got, res)
}

func (cc copyCheck) printTable(c *console, got *notary.Copy, res *notary.Result) error {
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
	p.line("", fmt.Sprintf("%s: %s", cc.file, verdict))
	var text strings.Builder
	fmt.Fprintf(&text, "%d, and %d repeats", got.Events, got.Repeats)
	for _, name := range slices.Sorted(maps.Keys(got.Formats)) {
		fmt.Fprintf(&text, "; %d in %s", got.Formats[name], name)
	}
	p.line("events", text.String())
	if got.OutOfOrder > 0 {
		p.line("order", fmt.Sprintf("%d stand behind a later one; each carries its place, so it is not moved by that", got.OutOfOrder))
	}
	p.line("records", fmt.Sprintf("%d have their digest; %d were redacted or spaced by the sink and prove nothing; the others are not in the copy", got.Proved, got.Unproved))
	by := "their record in the copy, as the mappings read it; time of receipt, source and flags are not in it"
	if res != nil {
		by = "their record in the journal"
	}
	p.line("fields", fmt.Sprintf("%d of %d events are as %s: %d fields; %d were taken out or replaced by the sink and prove nothing", got.Fields.Events, got.Events, by, got.Fields.Same, got.Fields.Redacted))
	if got.Fields.Unchecked > 0 {
		p.line("", fmt.Sprintf("the fields of %d events are claims: there is no record here to hold them to", got.Fields.Unchecked))
	}
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
	if cc.sink == "" {
		p.line("not shown", "that none is left out between the first and the last: name the sink with --config FILE --sink NAME")
	} else {
		p.line("whole", "all that sink "+cc.sink+" sends between the first and the last event was looked for")
	}
	if p.err != nil {
		return p.err
	}
	return printVerified(c, "table", cc.dir, res)
}
