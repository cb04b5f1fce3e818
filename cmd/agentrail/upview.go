package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"

	"github.com/agentrail/agentrail/schemas"
)

// upView prints for people: on a terminal with a block of status lines that
// stands at the bottom and is drawn anew, elsewhere plain lines.
type upView struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool                      // draws the block
	colour   bool                      // only on a terminal, and not with NO_COLOR
	size     func() (cols, rows int)   // of the terminal, asked each time: it may change
	show     func(alert string) string // the command that shows an alert; set before the first

	cols   int       // that the block was drawn for
	bottom []string  // the block as it stands, without colour
	shown  []string  // the same with colour
	said   time.Time // of the last plain status
	last   string    // plain status that was said last
}

const (
	plainWidth = 120             // columns without a terminal
	plainEvery = 5 * time.Second // how often the status is a line of its own without a terminal
	leastRows  = 12              // below, the block would leave too little of the terminal
)

func newUpView(c *console) *upView {
	v := &upView{
		out: c.out, size: func() (int, int) { return plainWidth, 0 },
		show: func(id string) string { return "agentrail alerts show " + id },
	}
	if f, ok := c.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		v.size = func() (int, int) {
			if cols, rows, err := term.GetSize(int(f.Fd())); err == nil && cols > 0 {
				return cols, rows
			}
			return plainWidth, 0
		}
		v.terminal = c.env("TERM") != "dumb"
		v.colour = v.terminal && c.env("NO_COLOR") == ""
	}
	return v
}

func (v *upView) line(format string, args ...any) {
	v.print(clean(fmt.Sprintf(format, args...)) + "\n")
}

// print writes text, which ends a line, above the status.
func (v *upView) print(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b bytes.Buffer
	v.erase(&b)
	b.WriteString(text)
	v.draw(&b)
	_, _ = v.out.Write(b.Bytes()) // a terminal that is gone ends the program by SIGHUP
}

// stages shows one line per stage at the bottom. On a terminal that is too low,
// and without one, it is a single line.
func (v *upView) stages(s upStatus) { v.set(s.block(), s.line()) }

// status shows a single line at the bottom.
func (v *upView) status(text string) { v.set([][2]string{{"", text}}, text) }

// set replaces what stands at the bottom; line is the same in one line.
func (v *upView) set(block [][2]string, line string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.terminal {
		if line = clean(line); line != v.last && time.Since(v.said) >= plainEvery {
			v.said, v.last = time.Now(), line
			fmt.Fprintln(v.out, line)
		}
		return
	}
	cols, rows := v.size()
	if rows > 0 && rows < leastRows {
		block = [][2]string{{"", line}}
	}
	var bottom, shown []string
	for _, row := range block {
		label := row[0]
		if label != "" {
			label = fmt.Sprintf("%-12s", label)
		}
		plain := runewidth.Truncate(clean(label+row[1]), max(cols-1, 1), "…")
		bottom = append(bottom, plain)
		if rest, ok := strings.CutPrefix(plain, label); ok && v.colour && label != "" {
			plain = "\x1b[2m" + label + "\x1b[0m" + rest
		}
		shown = append(shown, plain)
	}
	if cols == v.cols && slices.Equal(shown, v.shown) {
		return
	}
	var b bytes.Buffer
	v.erase(&b)
	v.cols, v.bottom, v.shown = cols, bottom, shown
	v.draw(&b)
	_, _ = v.out.Write(b.Bytes())
}

// erase removes the block. A terminal that became narrower has broken its lines.
func (v *upView) erase(b *bytes.Buffer) {
	if len(v.bottom) == 0 {
		return
	}
	cols, _ := v.size()
	up := -1
	for _, line := range v.bottom {
		up += max((runewidth.StringWidth(line)+cols-1)/cols, 1)
	}
	b.WriteByte('\r')
	if up > 0 {
		fmt.Fprintf(b, "\x1b[%dA", up)
	}
	b.WriteString("\x1b[J")
}

// draw writes the block; the cursor stays at its end.
func (v *upView) draw(b *bytes.Buffer) { b.WriteString(strings.Join(v.shown, "\n")) }

// end leaves the block where it stands and begins a new line.
func (v *upView) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.bottom) > 0 {
		fmt.Fprintln(v.out)
	}
	v.bottom, v.shown = nil, nil
}

var severityColour = map[schemas.Severity]string{
	schemas.SeverityCritical: "\x1b[1;31m", schemas.SeverityHigh: "\x1b[31m", schemas.SeverityMedium: "\x1b[33m",
	schemas.SeverityLow: "\x1b[36m", schemas.SeverityInformational: "\x1b[2m",
}

// alert prints one alert as one line. Informational ones are left to
// `agentrail alerts`.
func (v *upView) alert(a *schemas.Alert) {
	if a.Severity == schemas.SeverityInformational {
		return
	}
	var paint func(schemas.Severity, string) string
	if v.colour {
		paint = func(s schemas.Severity, text string) string { return severityColour[s] + text + "\x1b[0m" }
	}
	cols, _ := v.size()
	v.print(alertLine(a, cols, v.show(alertPrefix(a.ID)), paint) + "\n")
}
