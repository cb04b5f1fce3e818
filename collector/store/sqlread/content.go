package sqlread

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agentrail/agentrail/collector/store/engine"
)

// Read is a statement that reads content: one that names a table of contents
// anywhere, whether or not a word of it stands in the answer.
type Read struct {
	Statement  string
	Parameters map[string]string // of {name:Type} in it
	Tables     []string
	Columns    []string // such as raw.content; raw.* where the engine does not tell
	Status     int      // of the answer; an error may quote content, too
	Rows       int64    // of the answer; -1: not known
	Bytes      int64    // of the answer as sent
	More       bool     // the answer is longer than what is held back; Rows and Bytes come in a second Read
	Again      bool     // this is the second
}

// held is how much of an answer with content is kept back until it is on record.
const held = 4 << 20

// understood is what a statement reads of content, as far as it is known.
type understood struct {
	named   map[string]bool     // tables, by the parser
	sources map[string]string   // tables by the id of their node, by the analyzer
	columns map[string][]string // by the id of what they are of
}

func newUnderstood() *understood {
	return &understood{named: map[string]bool{}, sources: map[string]string{}, columns: map[string][]string{}}
}

// name notes that the statement names the table.
func (u *understood) name(table string) {
	if contents[table] != "" {
		u.named[table] = true
	}
}

// resolve notes that the analyzer's node is the table.
func (u *understood) resolve(id, table string) {
	if contents[table] != "" {
		u.named[table] = true
		u.sources[id] = table
	}
}

var (
	treeID     = regexp.MustCompile(`^ *TABLE id: (\d+),`)
	treeColumn = regexp.MustCompile(`^ *COLUMN id: \d+, column_name: (.+?), result_type: .*\bsource_id: (\d+)$`)
)

// column notes a line of the analyzer that is a column.
func (u *understood) column(line string) {
	if m := treeColumn.FindStringSubmatch(line); m != nil && !slices.Contains(u.columns[m[2]], m[1]) {
		u.columns[m[2]] = append(u.columns[m[2]], m[1])
	}
}

// read returns what of content is read; false if none is. A table that only the
// parser saw was read before the analyzer answered: nobody tells which columns.
func (u *understood) read() (r Read, content bool) {
	if len(u.named) == 0 {
		return r, false
	}
	r.Tables = slices.Sorted(maps.Keys(u.named))
	seen, columns := map[string]bool{}, map[string]bool{}
	for id, table := range u.sources {
		seen[table] = true
		for _, c := range u.columns[id] {
			columns[table+"."+c] = true
		}
	}
	for table := range u.named {
		if !seen[table] {
			columns[table+".*"] = true
		}
	}
	r.Columns = slices.Sorted(maps.Keys(columns))
	return r, true
}

// given returns the parameters of the statement.
func given(v url.Values) map[string]string {
	out := map[string]string{}
	for name := range v {
		if p, ok := strings.CutPrefix(name, "param_"); ok {
			out[p] = v.Get(name)
		}
	}
	return out
}

// noted is copy for an answer that may hold content: nothing of it is handed on
// before it is on record, with its size if it is not large, else with its
// size once more when it is known.
func (d *Reader) noted(ctx context.Context, w http.ResponseWriter, resp *http.Response, c Caller, r Read) error {
	first, err := io.ReadAll(io.LimitReader(resp.Body, held))
	if err != nil {
		return engine.Refused(210, "NETWORK_ERROR", "the store's answer breaks off: "+err.Error())
	}
	r.Status, r.Bytes, r.Rows = resp.StatusCode, int64(len(first)), -1
	switch r.More = len(first) == held; {
	case resp.StatusCode != http.StatusOK:
		r.Rows = 0
	case !r.More:
		r.Rows = resultRows(resp)
	}
	if err := c.Note(ctx, r); err != nil {
		return engine.Refused(210, "NETWORK_ERROR", "content that cannot go on record is not shown: "+err.Error())
	}
	body := &counted{r: io.MultiReader(bytes.NewReader(first), resp.Body)}
	if r.More {
		defer func() { // also where the answer breaks off
			r.Again, r.More, r.Bytes, r.Rows = true, false, body.n, resultRows(resp)
			_ = c.Note(context.WithoutCancel(ctx), r) // the first one stands
		}()
	}
	return d.copy(w, resp, body)
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// resultRows is how many rows the answer has, as the store says behind it (the
// embedded engine) or before it (ClickHouse, which waits for the end); -1 where
// it does not say.
func resultRows(resp *http.Response) int64 {
	for _, h := range []http.Header{resp.Trailer, resp.Header} {
		var s struct {
			Rows string `json:"result_rows"`
		}
		if json.Unmarshal([]byte(h.Get(engine.SummaryHeader)), &s) != nil {
			continue
		}
		if n, err := strconv.ParseInt(s.Rows, 10, 64); err == nil {
			return n
		}
	}
	return -1
}
