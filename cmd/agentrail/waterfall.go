package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// barWidth is how many columns the time of a run takes.
const barWidth = 32

// printRun draws the run as a waterfall: when, how long and what, a line for each
// span and call, and the views that are missing.
func printRun(w io.Writer, v *api.Joined, width int) error {
	var out bytes.Buffer
	line := func(format string, args ...any) {
		s := strings.TrimRight(clean(fmt.Sprintf(format, args...)), " ")
		if width > 0 {
			s = runewidth.Truncate(s, width, "…")
		}
		out.WriteString(s + "\n")
	}
	line("run %s%s", v.ID, head(v.Run))
	bars := v.Bars()
	from, to := v.Spread(bars)
	for _, b := range bars {
		line("%9s  %s  %8s  %s%s  (%s)", "+"+lasted(b.Start.Sub(from)), drawn(b, from, to), lasted(b.End.Sub(b.Start)), strings.Repeat("  ", b.Depth), b.Label, b.Note)
	}
	for _, m := range v.Missing {
		line("missing: %s", m)
	}
	_, err := w.Write(out.Bytes())
	return err
}

func head(r *api.Run) string {
	if r == nil {
		return ""
	}
	out := []string{""}
	for _, s := range []string{firstOf(r.AgentName, r.Agent), firstOf(r.ActorEmail, r.Actor), r.Initiator, r.Outcome, r.Reason, human(r.Started), lasted(r.Ended.Sub(r.Started))} {
		if s != "" {
			out = append(out, s)
		}
	}
	return strings.Join(out, "  ")
}

// drawn is the bar of one line.
func drawn(b api.Bar, from, to time.Time) string {
	whole := max(to.Sub(from), 1)
	at := func(t time.Time) int {
		return min(max(int(float64(t.Sub(from))/float64(whole)*barWidth), 0), barWidth)
	}
	start := min(at(b.Start), barWidth-1)
	n := max(at(b.End)-start, 1)
	return strings.Repeat("·", start) + strings.Repeat("█", n) + strings.Repeat("·", barWidth-start-n)
}

// lasted is a duration in three digits or so.
func lasted(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
