package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/decode"
)

func newMapping(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mapping",
		Short: "Look at what a mapping makes of records, and at the shipped mappings",
	}
	cmd.AddCommand(newMappingTest(c), newMappingList(c), newMappingShow(c))
	return cmd
}

func newMappingList(c *console) *cobra.Command {
	return &cobra.Command{Use: "ls", Short: "List the shipped mappings", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		names, isMapping, err := decode.ShippedNames()
		if err != nil {
			return err
		}
		for _, n := range names {
			what := "a mapping"
			if !isMapping[n] {
				what = "tables that mappings use"
			}
			if _, err := fmt.Fprintf(c.out, "%-12s %s\n", n, what); err != nil {
				return err
			}
		}
		return nil
	}}
}

func newMappingShow(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Print a shipped mapping, to copy and change", Args: cobra.ExactArgs(1),
		Example: "  agentrail mapping show audit > my-audit.yaml   # keep its name and list it under mappings:",
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := decode.Shipped(args[0])
			if err != nil {
				return usagef("agentrail mapping ls lists them", "%w", err)
			}
			_, err = c.out.Write(b)
			return err
		},
	}
}

func newMappingTest(c *console) *cobra.Command {
	im := &importer{c: c, dryRun: true}
	var lines int
	var format string
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Say which field of an event comes from which field of the records",
		Long: "Read a sample of a file (NDJSON, a JSON array, CSV; plain, gzip or zstd) and say which field of an event was filled from\n" +
			"which path or column, in how many of the records, and what of the records no field took. Asks no server.",
		Example: "  agentrail mapping test audit.ndjson --lines 1000\n  agentrail mapping test export.csv --mapping my-csv.yaml",
		Args:    cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&im.mapping, "mapping", "", "name of a shipped mapping, or a file; default: told by the records")
	f.IntVar(&lines, "lines", 1000, "records to look at")
	f.StringVar(&im.delimiter, "delimiter", "auto", "of CSV: comma, semicolon, tab, auto")
	f.StringVar(&im.zone, "zone", "", "of times in CSV that name none")
	f.BoolVar(&im.csv, "csv", false, "the file is CSV, whatever it begins with")
	addOutput(cmd, &format)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if err := checkOutput(format); err != nil {
			return err
		}
		if lines < 1 {
			return usagef("use --lines 1 or more", "--lines is %d", lines)
		}
		t, err := im.test(args[0], lines)
		if err != nil {
			return err
		}
		return t.print(c, format)
	}
	return cmd
}

// mappingTest is what a mapping made of a sample.
type mappingTest struct {
	mapping  string
	n        int // records that could be read
	origins  map[originKey]*originCount
	order    map[string]int // of fields
	unread   counts
	spelled  map[string]string // unread paths as they were first met, by lower case
	found    *tally
	rejected int
}

type originKey struct{ field, from string }

type originCount struct {
	n      int
	sample string
}

// test reads up to that many records.
func (im *importer) test(name string, most int) (*mappingTest, error) {
	if err := im.openMappings(); err != nil {
		return nil, err
	}
	in, _, err := im.open(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	parts, err := im.partsOf(name, in)
	if err != nil {
		return nil, err
	}
	defer parts.Close()
	t := &mappingTest{origins: map[originKey]*originCount{}, order: map[string]int{}, unread: counts{}, spelled: map[string]string{}, found: newTally()}
	run := &importRun{im: im, name: name, parts: parts, total: t.found}
	for t.n+t.rejected < most {
		p, err := parts.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if run.source == "" {
			if err := run.choose(p); err != nil {
				return nil, err
			}
			t.mapping = run.local.Name()
		}
		rejects, err := run.local.Explain(partBatch(p), decode.Limits{}, func(e decode.Explanation) {
			if t.n < most {
				t.add(e)
			}
		})
		if err != nil && !errors.Is(err, decode.ErrNothing) {
			return nil, err
		}
		for _, r := range rejects {
			t.rejected++
			t.found.reject(fmt.Sprintf("%s: line %d", name, p.Line+r.Line), r.Code, r.Reason)
		}
	}
	return t, nil
}

func (t *mappingTest) add(e decode.Explanation) {
	t.n++
	t.found.event(e.Event)
	for _, o := range e.Origins {
		from := o.Path
		if from == "" {
			from = "(" + o.Why + ")"
		}
		k := originKey{o.Field, from}
		c := t.origins[k]
		if c == nil {
			if len(t.origins) >= maxCounted {
				continue
			}
			c = &originCount{sample: o.Value}
			if o.Field == "time" && o.Path == "" {
				c.sample = "" // of today
			}
			t.origins[k] = c
			if _, known := t.order[o.Field]; !known {
				t.order[o.Field] = len(t.order)
			}
		}
		c.n++
	}
	for _, path := range e.Unread {
		if low := strings.ToLower(path); t.spelled[low] == "" {
			t.spelled[low] = path
		}
		t.unread.add(t.spelled[strings.ToLower(path)])
	}
}

// mappingRow is one line of the answer: a field and where it came from.
type mappingRow struct {
	Field  string  `json:"field"`
	From   string  `json:"from"`
	Share  float64 `json:"share"` // of the records that could be read
	Sample string  `json:"sample"`
}

func (t *mappingTest) rows() (out []mappingRow) {
	share := func(n int) float64 { return float64(n) / float64(max(t.n, 1)) }
	for k, c := range t.origins {
		out = append(out, mappingRow{Field: k.field, From: k.from, Share: share(c.n), Sample: c.sample})
	}
	slices.SortFunc(out, func(a, b mappingRow) int {
		return cmp.Or(cmp.Compare(t.order[a.Field], t.order[b.Field]), cmp.Compare(b.Share, a.Share), cmp.Compare(a.From, b.From))
	})
	for _, path := range slices.SortedFunc(maps.Keys(t.unread), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.unread[b], t.unread[a]), cmp.Compare(a, b))
	}) {
		out = append(out, mappingRow{Field: "(nothing)", From: path, Share: share(t.unread[path])})
	}
	return out
}

func (t *mappingTest) print(c *console, format string) error {
	columns := []api.Column[mappingRow]{
		{Name: "field", Value: func(r mappingRow) string { return r.Field }},
		{Name: "from", Value: func(r mappingRow) string { return r.From }},
		{Name: "share", Value: func(r mappingRow) string { return strconv.FormatFloat(100*r.Share, 'f', 0, 64) + "%" }},
		{Name: "sample", Value: func(r mappingRow) string { return short(r.Sample) }},
	}
	if err := printRows(c, format, t.rows(), columns, columns); err != nil || format != "table" {
		return err
	}
	p := &page{w: c.out}
	p.line("", "")
	p.line("", fmt.Sprintf("%d records read by mapping %s, %d rejected", t.n, t.mapping, t.rejected))
	p.list("rejected", t.found.first)
	for _, l := range []struct {
		name string
		of   map[string]int
	}{{"unknown types", t.found.unknownKinds}, {"unknown endpoints", t.found.unknownEnds}, {"flags", t.found.flags}} {
		if len(l.of) > 0 {
			p.line(l.name, t.found.list(l.of))
		}
	}
	if n := t.found.flags["time_missing"]; n > 0 {
		p.line("times not read", fmt.Sprintf("%d: see time.layout in agentrail mapping show csv", n))
	}
	return p.err
}

// short cuts a sample for a table.
func short(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
