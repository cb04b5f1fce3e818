package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/agentrail/agentrail/collector/survey"
)

const topHelp = `agentrail top

  q, esc     end
  p, space   pause; once more goes on
  tab, <- -> choose a panel: alerts, busiest, consumers, detectors
  up, down   choose an alert
  enter      end and print the command that shows the alert
  ?          this page

Rates are events a second, over the last interval and over the last minute.
Usual is what is usual for a minute in which there is traffic.

any key goes back`

// view draws the screen: exactly as wide and at most as high as it is.
func (m *topModel) view() string {
	if m.help {
		return m.fit(strings.Split(topHelp, "\n"))
	}
	lines := m.head()
	for i, p := range m.order() {
		if i == 0 || m.height == 0 || len(lines)+3 < m.height {
			lines = append(lines, "")
			lines = append(lines, m.drawPanel(p)...)
		}
	}
	return m.fit(lines)
}

// table is the whole as text for pipes.
func (m *topModel) table(width int) string {
	old := *m
	old.width, old.height, old.panel, old.row = width, 0, 0, -1
	return old.view() + "\n"
}

func (m *topModel) fit(lines []string) string {
	if m.height > 0 && len(lines) > m.height {
		lines = lines[:m.height]
	}
	for i, l := range lines {
		if m.width > 0 && !strings.Contains(l, "\x1b") && runewidth.StringWidth(l) > m.width {
			lines[i] = runewidth.Truncate(l, m.width, "…")
		}
	}
	return strings.Join(lines, "\n")
}

// head says who the server is, whether it is ready, and how much goes through.
func (m *topModel) head() []string {
	d := m.now
	first := "agentrail top  " + m.server + "  " + d.at.Local().Format("15:04:05 MST")
	if m.paused {
		first += "  PAUSED"
	}
	lines := []string{visible(first)}
	if d.lost != "" {
		lines = append(lines, m.paintLine(colorStrong, "LOST       "+d.lost+"; what is below is old"))
	}
	if d.status == nil {
		return append(lines, m.paintLine(colorDim, "pipeline   "+d.noStatus))
	}
	st := d.status
	state := m.paintLine(colorGreen, "READY      version "+st.Version+", up for "+ago(d.at.Sub(st.Started)))
	if !st.Ready {
		state = m.paintLine(colorStrong, "NOT READY  "+strings.Join(st.NotReady, "; "))
	}
	lines = append(lines, state, "")
	lines = append(lines, fmt.Sprintf("%-12s %14s %12s %12s %10s", "STAGE", "EVENTS", "/S NOW", "/S MINUTE", "REJECTED"))
	for _, s := range st.Stages {
		now, minute := "-", "-"
		if a, b, ok := m.rate(s.Name); ok {
			now, minute = decimal(a), decimal(b)
		}
		lines = append(lines, fmt.Sprintf("%-12s %14d %12s %12s %10d", visible(s.Name), s.Events, now, minute, s.Rejected))
	}
	return lines
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

// paintLine cleans and cuts before it colours, so that no code is cut.
func (m *topModel) paintLine(color int, text string) string {
	text = visible(text)
	if m.width > 0 && runewidth.StringWidth(text) > m.width {
		text = runewidth.Truncate(text, m.width, "…")
	}
	return paint(m.color, color, text)
}

func (m *topModel) drawPanel(p int) []string {
	mark := " "
	if p == m.panel && m.row >= 0 {
		mark = ">"
	}
	switch p {
	case panelAlerts:
		return m.alertPanel(mark)
	case panelBusy:
		return m.busyPanel(mark)
	case panelConsumers:
		return m.consumerPanel(mark)
	}
	return m.detectorPanel(mark)
}

func (m *topModel) alertPanel(mark string) []string {
	d := m.now
	if d.noAlerts != "" {
		return []string{mark + "OPEN ALERTS", m.paintLine(colorDim, "  "+d.noAlerts)}
	}
	if len(d.alerts) == 0 {
		return []string{mark + "OPEN ALERTS", "  none"}
	}
	lines := []string{fmt.Sprintf("%sOPEN ALERTS  %-13s %-8s %s", mark, "SEVERITY", "AGO", "REASON")}
	for i, a := range d.alerts {
		at := " "
		if m.panel == panelAlerts && i == m.row {
			at = ">"
		}
		text := fmt.Sprintf(" %s            %-13s %-8s %s: %s", at, a.Severity, brief(d.at.Sub(a.LastSeen)), a.Rule, a.Reason)
		lines = append(lines, m.paintLine(severityColor(a.Severity), text))
	}
	return lines
}

// brief writes a length of time in a few characters.
func brief(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

const busyRows = 5

func (m *topModel) busyPanel(mark string) []string {
	if m.now.noBusy != "" {
		return []string{mark + "BUSIEST", m.paintLine(colorDim, "  "+m.now.noBusy)}
	}
	head, cell := mark+"BUSIEST", 36
	lists := [3][]survey.Key{m.now.busy.Agents, m.now.busy.Actors, m.now.busy.Tools}
	lines := []string{fmt.Sprintf("%-10s", head)}
	for i, name := range []string{"AGENTS", "ACTORS", "TOOLS"} {
		lines[0] += pad(fmt.Sprintf("%-*s %5s %5s", cell-18, name, "/MIN", "USUAL"), cell-4, i == 2)
	}
	rows := 0
	for _, l := range lists {
		rows = max(rows, min(len(l), busyRows))
	}
	for r := range rows {
		cells := []string{"          "}
		for i, l := range lists {
			text := ""
			if r < len(l) {
				text = busyCell(l[r], cell-18)
			}
			cells = append(cells, pad(text, cell-4, i == 2))
		}
		lines = append(lines, strings.TrimRight(strings.Join(cells, ""), " "))
	}
	if rows == 0 {
		lines = append(lines, "          nothing in the last minute")
	}
	lines[0] = strings.TrimRight(lines[0], " ")
	return lines
}

func busyCell(k survey.Key, width int) string {
	usual := "-"
	if k.Usual != nil {
		usual = decimal(*k.Usual)
	}
	name := runewidth.FillRight(runewidth.Truncate(visible(firstOf(k.Name, k.Key)), width, "…"), width)
	return fmt.Sprintf("%s %5d %5s", name, k.PerMinute, usual)
}

func pad(s string, width int, last bool) string {
	if last {
		return s
	}
	return runewidth.FillRight(s, width)
}

func (m *topModel) consumerPanel(mark string) []string {
	if m.now.status == nil {
		return []string{mark + "CONSUMERS", m.paintLine(colorDim, "  "+m.now.noStatus)}
	}
	lines := []string{fmt.Sprintf("%sCONSUMERS    %8s %10s %8s %8s  %s", mark, "BEHIND", "SECONDS", "RETRIES", "PARKED", "LAST ERROR")}
	for _, c := range m.now.status.Consumers {
		color := colorNone
		if c.LastError != "" || c.OldestUnread > 60 {
			color = colorYellow
		}
		name := runewidth.FillRight(runewidth.Truncate(visible(c.Name), 12, "…"), 12)
		lines = append(lines, m.paintLine(color, strings.TrimRight(fmt.Sprintf("  %s %8d %10.1f %8d %8d  %s", name, c.Lag, c.OldestUnread, c.Retries, c.Parked, c.LastError), " ")))
	}
	return lines
}

func (m *topModel) detectorPanel(mark string) []string {
	if m.now.status == nil {
		return []string{mark + "DETECTORS", m.paintLine(colorDim, "  "+m.now.noStatus)}
	}
	lines := []string{fmt.Sprintf("%sDETECTORS    %8s %10s  %s", mark, "KEYS", "LEARNING", "UNTIL, AT THE EARLIEST")}
	for _, l := range m.now.status.Learning {
		until := "-"
		if !l.Ready.IsZero() {
			until = l.Ready.Local().Format("2006-01-02 15:04 MST")
		} else if l.Learning > 0 {
			until = "each needs " + l.Needs
		}
		name := runewidth.FillRight(runewidth.Truncate(visible(l.Detector), 12, "…"), 12)
		lines = append(lines, m.paintLine(colorNone, fmt.Sprintf("  %s %8d %10d  %s", name, l.Keys, l.Learning, until)))
	}
	return lines
}
