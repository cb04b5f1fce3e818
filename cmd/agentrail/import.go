package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/collector/decode"
)

// importer carries out `agentrail import`.
type importer struct {
	c  *console
	cl *client

	source, mapping, delimiter, zone string
	csv, live, dryRun, resume        bool
	guess, apply                     bool
	write                            string

	set    *decode.Set
	digest string // of a mapping file, by which the server is asked for it
	view   *upView
}

func newImport(c *console) *cobra.Command {
	im := &importer{c: c}
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "Bring history: NDJSON, JSON or CSV into a running server",
		Long: "Send files of records (NDJSON, a JSON array, CSV; plain, gzip or zstd; - is standard input) to a running server\n" +
			"as history: alerts on them are shown, never notified. Detectors learn what is usual from them.\n" +
			"An import that was interrupted may be run again: nothing is taken twice. Records without an id of their own are named\n" +
			"by their place in the file, and the file by its first 4 KiB: a file that has grown is the same, an export that begins\n" +
			"elsewhere is another one.\n\n" +
			"For a table whose columns are not known yet, --guess proposes a mapping and changes nothing.",
		Example: "  agentrail import audit.ndjson workflowrun.ndjson.gz\n" +
			"  agentrail import --guess export.csv\n" +
			"  agentrail import --mapping export.yaml --zone Europe/Berlin --dry-run export.csv",
		Args: cobra.MinimumNArgs(1),
	}
	im.cl = addClient(c, cmd)
	f := cmd.Flags()
	f.StringVar(&im.source, "source", "", "name of the source, or its path; default: workflowrun or audit, told by the records")
	f.StringVar(&im.mapping, "mapping", "", "mapping: a name that the server knows, or a file that its config lists; default: the source's")
	f.StringVar(&im.delimiter, "delimiter", "auto", "of CSV: comma, semicolon, tab, auto")
	f.StringVar(&im.zone, "zone", "", "of times in CSV that name none, such as Europe/Berlin; default: the mapping's, else UTC")
	f.BoolVar(&im.csv, "csv", false, "the files are CSV, whatever they begin with")
	f.BoolVar(&im.live, "live", false, "do not mark the records as history: alerts on them are notified")
	f.BoolVar(&im.dryRun, "dry-run", false, "read the files and say what would be sent; asks no server")
	f.BoolVar(&im.resume, "resume", false, "skip what an interrupted run has sent, instead of sending it again")
	f.BoolVar(&im.guess, "guess", false, "propose a mapping for a table; sends nothing")
	f.StringVar(&im.write, "write", "", "with --guess: write the mapping into that file")
	f.BoolVar(&im.apply, "apply", false, "with --guess and --write: then import with it")
	cmd.MarkFlagsMutuallyExclusive("guess", "mapping")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return im.run(cmd.Context(), args) }
	return cmd
}

func (im *importer) run(ctx context.Context, files []string) error {
	if im.guess {
		return im.propose(ctx, files)
	}
	if im.write != "" || im.apply {
		return usagef("add --guess", "--write and --apply are for --guess")
	}
	return im.take(ctx, files)
}

// take reads the files, sends them and reports.
func (im *importer) take(ctx context.Context, files []string) error {
	if err := im.openMappings(); err != nil {
		return err
	}
	progress := *im.c
	progress.out = im.c.err // what is found goes to standard output
	im.view = newUpView(&progress)
	began := im.c.now()
	total := newTally()
	for _, file := range files {
		if err := im.file(ctx, file, total); err != nil {
			im.view.end()
			if errors.Is(err, context.Canceled) {
				return hintf("run it again, with --resume to skip what was sent; nothing is taken twice", "import was interrupted in %s: %d records sent", file, total.sent())
			}
			if total.sent() > 0 {
				_ = total.print(im.c, im)
			}
			return err
		}
	}
	im.view.end()
	if err := total.print(im.c, im); err != nil {
		return err
	}
	if !im.dryRun {
		if err := im.learned(ctx, total, began); err != nil {
			return err
		}
	}
	if total.rejected > 0 {
		return &findings{n: total.rejected}
	}
	return nil
}

// openMappings compiles the shipped mappings and the file of --mapping.
func (im *importer) openMappings() (err error) {
	var files []string
	if isFile(im.mapping) {
		files = []string{im.mapping}
	}
	if im.set, err = decode.Open("", files...); err != nil {
		return err
	}
	if len(files) > 0 {
		name, err := decode.NameOf(im.mapping)
		if err != nil {
			return err
		}
		m, err := im.set.Mapping(name)
		if err != nil {
			return err
		}
		im.mapping, im.digest = name, m.Digest().String()
	}
	return nil
}

// isFile tells a file of a mapping from a name.
func isFile(mapping string) bool {
	if strings.ContainsAny(mapping, "/.") {
		return true
	}
	_, err := os.Stat(mapping)
	return mapping != "" && err == nil
}

// file imports one file.
func (im *importer) file(ctx context.Context, name string, total *tally) error {
	in, size, err := im.open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	read := &counted{r: in}
	parts, err := im.partsOf(name, read)
	if err != nil {
		return err
	}
	defer parts.Close()
	run := &importRun{im: im, name: name, parts: parts, total: total}
	if err := run.begin(); err != nil {
		return err
	}
	for {
		part, err := parts.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if err := run.part(ctx, part); err != nil {
			return err
		}
		im.view.status(progressLine(name, read.n, size, total))
	}
	return run.end()
}

// partsOf cuts a file; its name or a flag says that it is a table.
func (im *importer) partsOf(name string, in io.Reader) (*collector.Parts, error) {
	d, err := decode.NewDialect(im.delimiter, im.zone)
	if err != nil {
		return nil, usagef("write --delimiter comma and --zone Europe/Berlin", "%w", err)
	}
	ext := strings.ToLower(filepath.Ext(strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")))
	parts, err := collector.NewParts(in, im.csv || ext == ".csv" || ext == ".tsv", d)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return parts, nil
}

func (im *importer) open(name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(im.c.in), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("open file: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = hintf("name its files, such as "+filepath.Join(name, "*.ndjson"), "%s is a folder", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// counted counts the bytes that were read.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

func progressLine(name string, done, total int64, t *tally) string {
	text := fmt.Sprintf("%s  %s, %d records", clean(filepath.Base(name)), size(done), t.sent())
	if total > 0 {
		const width = 24
		n := int(min(done*width/total, width))
		text = fmt.Sprintf("%s  [%s%s] %3d%%  %d records", clean(filepath.Base(name)), strings.Repeat("#", n), strings.Repeat(".", width-n), min(done*100/total, 100), t.sent())
	}
	if t.rejected > 0 {
		text += fmt.Sprintf(", %d rejected", t.rejected)
	}
	return text
}

// waits between tries that a server turned down for now.
const (
	firstTry = 500 * time.Millisecond
	mostWait = 30 * time.Second
	maxTries = 20
)
