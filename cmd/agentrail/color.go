package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"

	"github.com/agentrail/agentrail/schemas"
)

// Colours of a terminal, as numbers of SGR.
const (
	colorNone   = 0
	colorRed    = 31
	colorGreen  = 32
	colorYellow = 33
	colorStrong = 91 // bright red
	colorDim    = 2
)

func severityColor(s schemas.Severity) int {
	switch s {
	case schemas.SeverityCritical, schemas.SeverityHigh:
		return colorStrong
	case schemas.SeverityMedium:
		return colorYellow
	}
	return colorNone
}

func outcomeColor(outcome string) int {
	switch strings.TrimSpace(outcome) {
	case "denied":
		return colorStrong
	case "error":
		return colorYellow
	case "unknown", "cancelled":
		return colorDim
	}
	return colorNone
}

// paint colours text if on says so. The text must be clean.
func paint(on bool, color int, text string) string {
	if !on || color == colorNone {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", color, text)
}

// visible returns s fit for one line of a terminal, like clean, but shows what
// clean leaves out: control, format and bidirectional characters stand there as
// <U+202E>, bytes that are no UTF-8 as <0xff>.
func visible(s string) string {
	if printable(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, "<0x%02x>", s[i])
		case hostile(r):
			fmt.Fprintf(&b, "<U+%04X>", r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// cell pads a cell of the line to its column and cuts it at the column's most.
func (l *tapLine) cell(i int, text string) string {
	if runewidth.StringWidth(text) > tapMost[i] {
		text = runewidth.Truncate(text, tapMost[i], "…")
	}
	l.widths[i] = max(l.widths[i], runewidth.StringWidth(text))
	padded := text + strings.Repeat(" ", l.widths[i]-runewidth.StringWidth(text))
	if i == 0 {
		return paint(l.color, outcomeColor(text), padded)
	}
	return padded
}
