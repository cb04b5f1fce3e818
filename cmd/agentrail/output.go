package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// formats of --output.
var formats = []string{"table", "json", "csv"}

// addOutput adds the flag --output to the command.
func addOutput(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVarP(into, "output", "o", "table", "format: table, json or csv")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

func checkOutput(format string) error {
	if slices.Contains(formats, format) {
		return nil
	}
	return usagef("use --output table, json or csv", "unknown output format %q", format)
}

// printRows writes rows in the format: the narrow columns as a table, the wide
// ones as CSV, all there is as JSON.
func printRows[T any](c *console, format string, rows []T, narrow, wide []api.Column[T]) error {
	switch format {
	case "json":
		if rows == nil {
			rows = []T{}
		}
		return printJSON(c.out, rows)
	case "csv":
		w, err := api.NewCSV(c.out, wide)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if err := w.Write(r); err != nil {
				return err
			}
		}
		return w.Flush()
	}
	return printTable(c.out, terminalWidth(c.out), rows, narrow)
}

// printTable aligns the rows to the width; 0 means that nothing is cut. What
// does not fit is cut off the last column.
func printTable[T any](w io.Writer, width int, rows []T, columns []api.Column[T]) error {
	cells := make([][]string, 0, len(rows)+1)
	head := make([]string, len(columns))
	widths := make([]int, len(columns))
	for i, col := range columns {
		head[i] = strings.ToUpper(col.Name)
		widths[i] = runewidth.StringWidth(head[i])
	}
	cells = append(cells, head)
	for _, r := range rows {
		line := make([]string, len(columns))
		for i, col := range columns {
			if line[i] = clean(col.Value(r)); line[i] == "" {
				line[i] = "-"
			}
			widths[i] = max(widths[i], runewidth.StringWidth(line[i]))
		}
		cells = append(cells, line)
	}
	var out bytes.Buffer
	for _, line := range cells {
		out.WriteString(alignLine(line, widths, width))
		out.WriteByte('\n')
	}
	_, err := w.Write(out.Bytes())
	return err
}

func alignLine(line []string, widths []int, width int) string {
	var b strings.Builder
	for i, cell := range line {
		if i == len(line)-1 {
			b.WriteString(cell)
			break
		}
		b.WriteString(cell)
		b.WriteString(strings.Repeat(" ", widths[i]-runewidth.StringWidth(cell)+2))
	}
	s := strings.TrimRight(b.String(), " ")
	if width > 0 && runewidth.StringWidth(s) > width {
		s = runewidth.Truncate(s, width, "…")
	}
	return s
}

// terminalWidth returns the width of the terminal that w is, or 0.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// clean returns s fit for one line of a terminal: text of events comes from
// outside and must neither move the cursor nor reorder the line. White space
// becomes a space; control, format and bidirectional characters go.
func clean(s string) string {
	if printable(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r' || r == '\u2028' || r == '\u2029':
			return ' '
		case hostile(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// hostile reports whether a terminal may act on the rune instead of showing it.
func hostile(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp)
}

// printJSON writes the document indented. Runes that a terminal may act on are
// escaped, which means the same to every reader of JSON.
func printJSON(w io.Writer, doc any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err := w.Write(escapeJSON(b.Bytes()))
	return err
}

func escapeJSON(doc []byte) []byte {
	out := doc[:0:0]
	for i := 0; i < len(doc); {
		if doc[i] != 0x7f && doc[i] < utf8.RuneSelf {
			out = append(out, doc[i])
			i++
			continue
		}
		r, n := utf8.DecodeRune(doc[i:])
		switch {
		case hostile(r) && r > 0xffff:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		case hostile(r):
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = append(out, doc[i:i+n]...)
		}
		i += n
	}
	return out
}

// human writes a time for people: local, with its zone.
func human(t time.Time) string {
	if t.IsZero() || t.UnixNano() == 0 {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

// firstOf returns the first text that is not empty.
func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
