package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/detectors/sigma"
)

func newRules(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "rules", Short: "Write, format, test, try and list Sigma rules; asks no server"}
	cmd.AddCommand(newRulesNew(c), newRulesFmt(c), newRulesTest(c), newRulesEval(c), newRulesList(c), newRulesCoverage(c))
	return cmd
}

// ruleset is where rules and the map for them come from.
type ruleset struct {
	dir, mapFile string
	any          bool
	m            *sigma.Map
}

func (r *ruleset) load(c *console) (*sigma.Set, error) {
	var err error
	if r.m, err = readSigmaMap(r.mapFile); err != nil {
		return nil, err
	}
	info, err := os.Stat(r.dir)
	if err != nil {
		return nil, hintf("name the folder that holds the rules", "read rules: %w", err)
	}
	if !info.IsDir() {
		return nil, usagef("name the folder that holds it", "read rules: %s is not a folder", r.dir)
	}
	set, err := sigma.Load(os.DirFS(r.dir), strings.TrimSuffix(r.dir, "/")+"/", sigma.Options{Map: r.m, AnyLogsource: r.any})
	if err != nil {
		return nil, err
	}
	for _, why := range set.Refused {
		fmt.Fprintln(c.err, "refused: "+clean(why.Error()))
	}
	return set, nil
}

func readSigmaMap(name string) (*sigma.Map, error) {
	if name == "" {
		return sigma.ShippedMap()
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read map: %w", err)
	}
	return sigma.ParseMap(name, data)
}

func newRulesEval(c *console) *cobra.Command {
	var r ruleset
	var events string
	var late time.Duration
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "Run rules over a file of records and print what matches",
		Long: "Run every rule of a folder over a file of JSON records (one a line, or an array; - is standard input) and print one\n" +
			"JSON line for each match: rule id, number of the record from 1 on, and the fields that matched. Rules that only feed\n" +
			"correlations print nothing. Standard error ends with the count of rules loaded, refused and matched.\n" +
			"Exit code 1 if a rule was refused or a record could not be read.",
		Example: "  agentrail rules eval --rules rules/ --events cloudtrail.ndjson\n" +
			"  agentrail rules eval --rules rules/ --events any.json --any-logsource",
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&r.dir, "rules", "", "folder of rules")
	f.StringVar(&events, "events", "", "file of records; - is standard input")
	f.StringVar(&r.mapFile, "map", "", "which records are of which logsource, and where fields are; default: the shipped map")
	f.BoolVar(&r.any, "any-logsource", false, "try every rule on every record")
	f.DurationVar(&late, "lateness", 10*time.Minute, "how far behind the newest record a match still counts in windows")
	cmd.RunE = func(*cobra.Command, []string) error {
		if r.dir == "" || events == "" {
			return usagef("agentrail rules eval --rules DIR --events FILE", "--rules and --events are needed")
		}
		if late <= 0 {
			return usagef("such as 10m", "--lateness is %s", late)
		}
		set, err := r.load(c)
		if err != nil {
			return err
		}
		in := io.NopCloser(c.in)
		if events != "-" {
			if in, err = os.Open(events); err != nil {
				return fmt.Errorf("read records: %w", err)
			}
		}
		defer in.Close()
		e := &ruleEval{c: c, m: r.m, out: bufio.NewWriter(c.out), matched: map[*sigma.Rule]int{}, eval: sigma.NewEvaluator(set, sigma.EvalOptions{Lateness: late})}
		err = errors.Join(eachRecord(in, e.record), e.out.Flush())
		e.summary(set)
		if err != nil {
			return fmt.Errorf("read records in %s: %w", events, err)
		}
		if n := len(set.Refused) + e.bad; n > 0 {
			return &findings{n}
		}
		return nil
	}
	return cmd
}

// ruleEval runs records through an evaluator and writes matches.
type ruleEval struct {
	c       *console
	m       *sigma.Map
	eval    *sigma.Evaluator
	out     *bufio.Writer
	matched map[*sigma.Rule]int
	n       int // records so far, bad ones too
	bad     int
	untimed int
	newest  int64
	err     error
}

// ruleMatch is one line of the answer.
type ruleMatch struct {
	Rule     string              `json:"rule"`
	Event    int                 `json:"event"`
	Title    string              `json:"title"`
	Level    string              `json:"level"`
	Fields   map[string][]string `json:"fields"`
	Observed *float64            `json:"observed,omitempty"`
	Place    string              `json:"place"`
}

// record takes one record. One that cannot be read is named, and the others go
// on; only the output can fail.
func (e *ruleEval) record(line []byte) error {
	e.n++
	r, err := sigma.ParseRecord(line)
	if err != nil {
		const most = 10
		if e.bad++; e.bad <= most {
			fmt.Fprintf(e.c.err, "record %d: %s\n", e.n, clean(err.Error()))
		}
		return nil
	}
	at, ok := e.m.TimeOf(r)
	if !ok {
		// It happened when the record before it did.
		e.untimed++
		at = e.newest
	}
	// A record from the future moves no window.
	at = min(at, e.c.now().Add(5*time.Minute).UnixNano())
	e.newest = at
	e.eval.Record(r, at, e.match)
	return e.err
}

func (e *ruleEval) match(m *sigma.Match) {
	if m.Again || e.err != nil {
		return
	}
	e.matched[m.Rule]++
	line := ruleMatch{Rule: m.Rule.ID, Event: e.n, Title: m.Rule.Title, Level: m.Rule.Level, Fields: m.Fields(), Place: m.Rule.Place()}
	if m.Rule.Correlation() {
		line.Observed = &m.Observed
	}
	doc, err := json.Marshal(line)
	if err == nil {
		_, err = e.out.Write(append(escapeJSON(doc), '\n'))
	}
	e.err = err
}

func (e *ruleEval) summary(set *sigma.Set) {
	w := e.c.err
	total := 0
	for _, n := range e.matched {
		total += n
	}
	fmt.Fprintf(w, "%d records, %d could not be read, %d matches\n", e.n, e.bad, total)
	if n := len(set.Unserved()); n > 0 {
		fmt.Fprintf(w, "%d rules are for logsources that the map does not have and were not tried: --any-logsource tries all\n", n)
	}
	if s := e.eval.Stats; s != (sigma.Stats{}) {
		fmt.Fprintf(w, "correlations left out %d late matches and %d without a field they group or count by; forgot %d groups and %d entries to make room\n",
			s.Late, s.Ungrouped, s.Evicted, s.Dropped)
	}
	fmt.Fprintf(w, "rules: %d loaded, %d refused, %d matched\n", len(set.Rules), len(set.Refused), len(e.matched))
}

const largestRecord = 16 << 20

// eachRecord cuts lines of JSON, or a JSON array, into records. A line that is
// too long is given as empty, so that it is counted and named.
func eachRecord(in io.Reader, take func([]byte) error) error {
	br := bufio.NewReaderSize(in, 1<<20)
	for {
		b, err := br.Peek(1)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		switch b[0] {
		case ' ', '\t', '\r', '\n', 0xef, 0xbb, 0xbf:
			_, _ = br.Discard(1)
			continue
		case '[':
			return eachElement(br, take)
		}
		return eachLine(br, take)
	}
}

func eachElement(in io.Reader, take func([]byte) error) error {
	dec := json.NewDecoder(in)
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		if err := take(raw); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

func eachLine(br *bufio.Reader, take func([]byte) error) error {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(line) <= largestRecord {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if len(line) > largestRecord {
			line = line[:0]
			if err := take(nil); err != nil {
				return err
			}
		} else if len(bytes.TrimSpace(line)) > 0 {
			if err := take(line); err != nil {
				return err
			}
		}
		line = line[:0]
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func newRulesList(c *console) *cobra.Command {
	var r ruleset
	var format string
	cmd := &cobra.Command{
		Use: "list", Short: "List the rules of a folder and what each is for", Args: cobra.NoArgs,
		Long:    "List the rules of a folder. Rules that cannot be loaded are named on standard error with file, line and reason, and make exit code 1.",
		Example: "  agentrail rules list --rules rules/",
	}
	cmd.Flags().StringVar(&r.dir, "rules", "", "folder of rules")
	cmd.Flags().StringVar(&r.mapFile, "map", "", "which records are of which logsource; default: the shipped map")
	addOutput(cmd, &format)
	cmd.RunE = func(*cobra.Command, []string) error {
		if err := checkOutput(format); err != nil {
			return err
		}
		if r.dir == "" {
			return usagef("agentrail rules list --rules DIR", "--rules is needed")
		}
		set, err := r.load(c)
		if err != nil {
			return err
		}
		if err := printRows(c, format, ruleRows(set), ruleColumns, ruleColumns); err != nil {
			return err
		}
		if n := len(set.Refused); n > 0 {
			return &findings{n}
		}
		return nil
	}
	return cmd
}

// ruleRow is one line of the list.
type ruleRow struct {
	Rule   string   `json:"rule"`
	Level  string   `json:"level"`
	Kind   string   `json:"kind"`
	Title  string   `json:"title"`
	Served bool     `json:"served"` // by a logsource of the map
	Tags   []string `json:"tags"`
	Place  string   `json:"place"`
}

var ruleColumns = []api.Column[ruleRow]{
	{Name: "rule", Value: func(r ruleRow) string { return r.Rule }},
	{Name: "level", Value: func(r ruleRow) string { return r.Level }},
	{Name: "for", Value: func(r ruleRow) string { return r.Kind }},
	{Name: "served", Value: func(r ruleRow) string { return strconv.FormatBool(r.Served) }},
	{Name: "title", Value: func(r ruleRow) string { return short(r.Title) }},
	{Name: "place", Value: func(r ruleRow) string { return r.Place }},
}

func ruleRows(set *sigma.Set) (out []ruleRow) {
	unserved := set.Unserved()
	for _, r := range set.Rules {
		row := ruleRow{Rule: r.ID, Level: r.Level, Kind: r.Logsource.String(), Title: r.Title, Served: !slices.Contains(unserved, r), Tags: r.Tags, Place: r.Place()}
		if r.Correlation() {
			row.Kind = "correlation"
		}
		out = append(out, row)
	}
	slices.SortStableFunc(out, func(a, b ruleRow) int { return cmp.Compare(a.Rule, b.Rule) })
	return out
}
