package main

import (
	"slices"
	"time"
)

// topModel is what top shows and how keys change it. It knows no terminal and
// no server.
type topModel struct {
	server        string
	color         bool
	width, height int // 0: unbounded

	now     *topData
	history []topRates // of the last minute, oldest first
	paused  bool
	help    bool
	panel   int
	row     int
	chosen  string // alert that enter was pressed on
}

// topRates are the totals of the stages at a time.
type topRates struct {
	at     time.Time
	totals map[string]uint64
}

// Panels in the order in which tab goes through them.
const (
	panelAlerts = iota
	panelBusy
	panelConsumers
	panelDetectors
	panels
)

func newTopModel(server string) *topModel { return &topModel{server: server} }

// take takes in a look. A paused model stays as it is. When the server cannot
// be asked, the last look stays and says so.
func (m *topModel) take(d *topData) {
	if m.paused {
		return
	}
	if d.lost != "" && m.now != nil {
		old := *m.now
		old.lost = d.lost
		m.now = &old
		return
	}
	m.now = d
	if d.status == nil {
		return
	}
	totals := map[string]uint64{}
	for _, s := range d.status.Stages {
		totals[s.Name] = s.Events
	}
	if n := len(m.history); n > 0 && totals["received"] < m.history[n-1].totals["received"] {
		m.history = nil // the server was started again
	}
	m.history = append(m.history, topRates{d.at, totals})
	for len(m.history) > 2 && d.at.Sub(m.history[1].at) >= time.Minute {
		m.history = m.history[1:]
	}
	m.row = min(m.row, max(m.rows()-1, 0))
}

// rate returns the events a second of a stage over the last interval and over
// the last minute, and whether there are two looks to tell it by.
func (m *topModel) rate(stage string) (last, minute float64, known bool) {
	n := len(m.history)
	if n < 2 {
		return 0, 0, false
	}
	since := func(from topRates) float64 {
		to := m.history[n-1]
		return float64(to.totals[stage]-from.totals[stage]) / max(to.at.Sub(from.at).Seconds(), 0.001)
	}
	return since(m.history[n-2]), since(m.history[0]), true
}

// rows returns how many rows of the panel can be chosen.
func (m *topModel) rows() int {
	if m.now == nil || m.panel != panelAlerts {
		return 0
	}
	return len(m.now.alerts)
}

// key does what a key says and reports whether it ends the program.
func (m *topModel) key(k string) (end bool) {
	if m.help {
		m.help = false
		return k == "ctrl+c"
	}
	switch k {
	case "q", "ctrl+c", "esc":
		return true
	case "p", " ":
		m.paused = !m.paused
	case "?", "h":
		m.help = true
	case "tab", "right":
		m.panel, m.row = (m.panel+1)%panels, 0
	case "shift+tab", "left":
		m.panel, m.row = (m.panel+panels-1)%panels, 0
	case "down", "j":
		m.row = min(m.row+1, max(m.rows()-1, 0))
	case "up", "k":
		m.row = max(m.row-1, 0)
	case "enter":
		if m.row < m.rows() {
			m.chosen = m.now.alerts[m.row].ID
			return true
		}
	}
	return false
}

// order returns the panels, the chosen one first where there is no room for
// all.
func (m *topModel) order() []int {
	all := []int{panelAlerts, panelBusy, panelConsumers, panelDetectors}
	return slices.Concat(all[m.panel:], all[:m.panel])
}
