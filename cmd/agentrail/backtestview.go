package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// print writes the report in a format.
func (r *backtestReport) print(c *console, format string) error {
	if format == "json" {
		return printJSON(c.out, r)
	}
	w := &reportWriter{w: c.out, markdown: format == "markdown"}
	w.head("Backtest of " + r.Journal)
	span := "all events"
	if !r.From.IsZero() || !r.To.IsZero() {
		span = "events from " + firstOf(human(r.From), "the beginning") + " to " + firstOf(human(r.To), "the end")
	}
	w.text(fmt.Sprintf("%s; %d events read in %.1f s; %d alerts by %d rules, %d rules silent", span, r.Events, r.Seconds, r.Alerts, len(r.Rules), len(r.Silent)))
	if r.Missing > 0 || r.Unread > 0 {
		w.text(fmt.Sprintf("NOT READ: %d batches are damaged or gone, %d cannot be decoded %s", r.Missing, r.Unread, r.FirstFail))
	}
	if len(r.Rules) > 0 {
		w.head("Would have fired")
		rows := [][]string{{"rule", "mode", "severity", "alerts", "events", "entities", "suppressed", "first", "last"}}
		for _, x := range r.Rules {
			rows = append(rows, []string{x.Rule, string(x.Mode), x.Severity, fmt.Sprint(x.Alerts), fmt.Sprint(x.Events), fmt.Sprint(x.Entities), fmt.Sprint(x.Suppressed), human(x.First), human(x.Last)})
		}
		w.table(rows)
		for _, x := range r.Rules {
			for _, e := range x.Examples {
				w.item(e.Rule + " on " + e.Entity + ", " + human(e.First) + ": " + e.Reason)
			}
		}
	}
	w.responses(r.Responses)
	if d := r.Difference; d != nil {
		w.head("Against the other version")
		w.text(fmt.Sprintf("%d alerts in both, %d only in the new one, %d only in the old one", d.Both, len(d.OnlyNew), len(d.OnlyOld)))
		w.fired("only new", d.OnlyNew)
		w.fired("only old", d.OnlyOld)
	}
	return w.err
}

// reportWriter writes a report as text or as Markdown.
type reportWriter struct {
	w        io.Writer
	markdown bool
	err      error
}

func (w *reportWriter) line(s string) {
	if w.err == nil {
		_, w.err = io.WriteString(w.w, s+"\n")
	}
}

func (w *reportWriter) head(s string) {
	if w.markdown {
		w.line("## " + w.cell(s) + "\n")
		return
	}
	w.line(clean(s))
}

func (w *reportWriter) text(s string) {
	if w.markdown {
		w.line(w.cell(s) + "\n")
		return
	}
	w.line("  " + clean(s))
}

func (w *reportWriter) item(s string) {
	if w.markdown {
		w.line("- " + w.cell(s))
		return
	}
	w.line("  - " + clean(s))
}

// cell is foreign text within Markdown: nothing in it is markup.
func (w *reportWriter) cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "`", "'", "[", `\[`, "*", `\*`, "_", `\_`, "\n", " ").Replace(clean(s))
}

// table writes rows of which the first is the head.
func (w *reportWriter) table(rows [][]string) {
	if w.markdown {
		for i, row := range rows {
			for k := range row {
				row[k] = w.cell(row[k])
			}
			w.line("| " + strings.Join(row, " | ") + " |")
			if i == 0 {
				w.line("|" + strings.Repeat("---|", len(row)))
			}
		}
		w.line("")
		return
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for k := range row {
			row[k] = clean(row[k])
			widths[k] = max(widths[k], len(row[k]))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for k, cell := range row {
			fmt.Fprintf(&b, "  %-*s", widths[k], cell)
		}
		w.line(strings.TrimRight(b.String(), " "))
	}
}

// responses are what policies would have done.
func (w *reportWriter) responses(all []pauseCount) {
	if all == nil {
		return
	}
	w.head("Would have been answered")
	if len(all) == 0 {
		w.text("nothing: no policy wanted any of the alerts")
		return
	}
	rows := [][]string{{"policy", "action", "target", "would be", "times", "lasted", "first", "by rule"}}
	for _, p := range all {
		lasted := time.Duration(p.Lasted * float64(time.Second)).String()
		if p.Lasted == 0 {
			lasted = "-"
		}
		rows = append(rows, []string{p.Policy, p.Action, firstOf(p.Target, "-"), p.Status, fmt.Sprint(p.Times), lasted, human(p.First), p.Each[0].Rule})
	}
	w.table(rows)
}

// fired lists alerts, the first of many.
func (w *reportWriter) fired(what string, all []*fired) {
	const most = 50
	for i, f := range all {
		if i == most {
			w.item(fmt.Sprintf("and %d more; --output json has all", len(all)-most))
			return
		}
		w.item(fmt.Sprintf("%s: %s on %s, %s to %s, %d events: %s", what, f.Rule, f.Entity, human(f.First), human(f.Last), f.Count, f.Reason))
	}
}
