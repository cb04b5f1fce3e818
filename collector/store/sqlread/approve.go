package sqlread

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/collector/store/engine"
)

// approve asks the engine what it understands by the statement, notes in u what
// it reads of content, and refuses what is not allowed. The parser comes first,
// since the analyzer may run subqueries that give a constant.
func (d *Reader) approve(ctx context.Context, sql string, v url.Values, c Caller, u *understood) error {
	v = maps.Clone(v)
	for _, name := range wire {
		v.Del(name)
	}
	v.Set("default_format", "JSONCompactEachRow")
	v.Set("max_result_rows", "100000") // of the explanation, not of the answer
	v.Set("max_result_bytes", "16777216")
	// In parentheses nothing but a query can stand: no second statement, no
	// FORMAT, no INTO OUTFILE.
	if err := d.explain(ctx, "EXPLAIN AST SELECT * FROM (\n"+sql+"\n)", v, d.parsed(c, u)); err != nil {
		return err
	}
	return d.explain(ctx, "EXPLAIN QUERY TREE "+sql, v, d.analysed(c, u))
}

// explain runs an EXPLAIN and hands its lines to look.
func (d *Reader) explain(ctx context.Context, sql string, v url.Values, look func(line string) error) error {
	resp, err := d.ask(ctx, sql, v, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
		return errors.New(strings.TrimSpace(string(b)))
	}
	lines, seen := bufio.NewScanner(resp.Body), false
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var row [1]string
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return fmt.Errorf("read what the engine understood: %w", err)
		}
		seen = true
		if err := look(row[0]); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read what the engine understood: %w", err)
	}
	if !seen {
		return errors.New("the engine does not say what it understood")
	}
	return nil
}

// parsed looks at the lines of EXPLAIN AST, such as
// "      TableIdentifier default.events (alias e)".
func (d *Reader) parsed(c Caller, u *understood) func(string) error {
	var before string // kind of the line before
	return func(line string) error {
		kind, rest, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
		last := before
		before = kind
		name, _, _ := strings.Cut(rest, " (")
		if kind == "TableIdentifier" {
			u.name(strings.TrimPrefix(name, d.o.Database+"."))
		}
		switch {
		case kind == "Function" && last == "TableExpression":
			return engine.Refused(497, "ACCESS_DENIED", "no table functions here: "+name)
		case kind == "Function" && engine.ReachesOut(name):
			return engine.Refused(497, "ACCESS_DENIED", "not to be called here: "+name)
		case kind == "Set":
			return engine.Refused(164, "READONLY", "no settings in the statement")
		case kind == "TableIdentifier" && strings.Contains(name, "."):
			if table, ours := strings.CutPrefix(name, d.o.Database+"."); !ours || !allowed(table, c) {
				return d.denied(name, c)
			}
		case kind == "TableIdentifier" && !allowed(name, c) && (contents[name] != "" || slices.Contains(hidden, name)):
			return d.denied(name, c)
		case kind == "Identifier" && foreign.MatchString(name):
			return d.denied(name, c)
		}
		return nil
	}
}

// foreign matches names of databases that every ClickHouse has.
var foreign = regexp.MustCompile(`(?i)^(system|information_schema)\.`)

var (
	treeTable    = regexp.MustCompile(`^ *TABLE id: .*\btable_name: (.+)$`)
	treeFunction = regexp.MustCompile(`^ *TABLE_FUNCTION id:`)
	modifiers    = regexp.MustCompile(`, (final|sample_size|sample_offset): .*$`)
)

// analysed looks at the lines of EXPLAIN QUERY TREE, in which every name is
// resolved: "TABLE id: 23, alias: __table2, table_name: default.events".
func (d *Reader) analysed(c Caller, u *understood) func(string) error {
	return func(line string) error {
		u.column(line)
		if treeFunction.MatchString(line) {
			return engine.Refused(497, "ACCESS_DENIED", "no table functions here")
		}
		m := treeTable.FindStringSubmatch(line)
		if m == nil {
			return nil
		}
		name := modifiers.ReplaceAllString(m[1], "")
		if name == "system.one" { // of a SELECT without FROM
			return nil
		}
		table, ours := strings.CutPrefix(name, d.o.Database+".")
		if !ours || !allowed(table, c) {
			return d.denied(name, c)
		}
		if id := treeID.FindStringSubmatch(line); id != nil {
			u.resolve(id[1], table)
		} else {
			u.name(table)
		}
		return nil
	}
}

func (d *Reader) denied(name string, c Caller) error {
	return engine.Refused(497, "ACCESS_DENIED", "not to be read here: "+name+"; there are "+names(c))
}
