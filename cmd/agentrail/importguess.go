package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/decode"
)

// propose guesses a mapping for a table and shows it. It is used only if
// --apply says so.
func (im *importer) propose(ctx context.Context, files []string) error {
	switch {
	case len(files) > 1:
		return usagef("name one file", "--guess looks at one file, %d were named", len(files))
	case im.apply && im.write == "":
		return usagef("add --write FILE, and list that file under mappings: in the server's config", "--apply needs a file for the mapping")
	case im.apply && files[0] == "-":
		return usagef("name a file", "--apply reads the file twice, which standard input cannot be")
	}
	g, err := im.look(files[0])
	if err != nil {
		return err
	}
	text := g.Mapping("csv", im.zone)
	if _, err := fmt.Fprintf(im.c.out, "%s\n", text); err != nil {
		return err
	}
	rows := g.Columns
	columns := []api.Column[decode.GuessedColumn]{
		{Name: "column", Value: func(r decode.GuessedColumn) string { return r.Column }},
		{Name: "field", Value: func(r decode.GuessedColumn) string { return r.Field }},
		{Name: "why", Value: func(r decode.GuessedColumn) string { return r.Why }},
		{Name: "sample", Value: func(r decode.GuessedColumn) string { return short(r.Sample) }},
	}
	if err := printTable(im.c.err, terminalWidth(im.c.err), rows, columns); err != nil {
		return err
	}
	for _, n := range g.Notes {
		fmt.Fprintln(im.c.err, "to decide: "+clean(n))
	}
	if !g.Zoned && im.zone == "" {
		fmt.Fprintln(im.c.err, "to decide: times name no zone and are read as UTC; --zone Europe/Berlin writes another one into the mapping")
	}
	if im.write == "" {
		_, err := fmt.Fprintln(im.c.err, "nothing was changed; --write FILE keeps the mapping")
		return err
	}
	if err := writeNew(im.write, text); err != nil {
		return err
	}
	fmt.Fprintf(im.c.err, "written to %s; look at it with: agentrail mapping test %s --mapping %s\n", clean(im.write), shellQuote(files[0]), shellQuote(im.write))
	if !im.apply {
		return nil
	}
	im.guess, im.mapping = false, im.write
	return im.take(ctx, files)
}

// look reads the head and the first rows.
func (im *importer) look(name string) (*decode.Guess, error) {
	in, _, err := im.open(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	im.csv = true
	parts, err := im.partsOf(name, in)
	if err != nil {
		return nil, err
	}
	defer parts.Close()
	p, err := parts.Next()
	if errors.Is(err, io.EOF) {
		p.Body = make([]byte, parts.Head.Size) // a header alone
	} else if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return decode.GuessTable(parts.Head, p.Body[parts.Head.Size:])
}

// writeNew writes a file that is not there yet.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return hintf("name another, or remove it", "%s is there already", path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
