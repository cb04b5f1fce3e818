package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/agentrail/agentrail/schemas"
)

// upView prints for people: on a terminal with colour and one status line that
// is written over, elsewhere plain lines.
type upView struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	width    int
	bottom   string                 // the status line that stands at the bottom
	show     func(id string) string // the command that shows an alert; set before the first
	said     time.Time
}

// plainEvery is how often the status is a line of its own without a terminal.
const plainEvery = 5 * time.Second

func newUpView(c *console) *upView {
	v := &upView{out: c.out, width: 100, show: func(id string) string { return "agentrail alerts show " + id }}
	if f, ok := c.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		v.terminal = c.env("TERM") != "dumb"
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
			v.width = w
		}
	}
	return v
}

func (v *upView) line(format string, args ...any) {
	v.print(clean(fmt.Sprintf(format, args...)) + "\n")
}

// print writes text above the status line.
func (v *upView) print(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.terminal && v.bottom != "" {
		fmt.Fprint(v.out, "\r\x1b[K")
	}
	fmt.Fprint(v.out, text)
	if v.terminal && v.bottom != "" {
		fmt.Fprint(v.out, v.bottom)
	}
}

// status replaces the status line.
func (v *upView) status(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r := []rune(text); len(r) > v.width-1 {
		text = string(r[:v.width-1])
	}
	if text == v.bottom {
		return
	}
	if v.terminal {
		v.bottom = text
		fmt.Fprint(v.out, "\r\x1b[K"+text)
		return
	}
	if time.Since(v.said) >= plainEvery {
		v.said, v.bottom = time.Now(), text
		fmt.Fprintln(v.out, text)
	}
}

// end leaves the status line where it stands and begins a new line.
func (v *upView) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.terminal && v.bottom != "" {
		fmt.Fprintln(v.out)
	}
	v.bottom = ""
}

// progress returns a callback that shows how far a download is.
func (v *upView) progress(what string) func(done, total int64) {
	var said time.Time
	return func(done, total int64) {
		if time.Since(said) < 500*time.Millisecond && done != total {
			return
		}
		said = time.Now()
		text := fmt.Sprintf("%s  %d MB", what, done>>20)
		if total > 0 {
			text = fmt.Sprintf("%s  %d of %d MB", what, done>>20, total>>20)
		}
		v.status(text)
	}
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
	sev := fmt.Sprintf("%-8s", strings.ToUpper(string(a.Severity)))
	if v.terminal {
		sev = severityColour[a.Severity] + sev + "\x1b[0m"
	}
	v.print(fmt.Sprintf("%s  %s %-13s %s\n%s-> %s\n",
		a.LastSeen.Local().Format("15:04:05"), sev, clean(a.Rule), clean(a.Reason), strings.Repeat(" ", 10), v.show(a.ID)))
}
