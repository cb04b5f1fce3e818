package main

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/store/engine"
	"github.com/agentrail/agentrail/schemas"
)

// paper is a terminal as far as the view needs one: it breaks lines at its
// width and knows the sequences that the view writes.
type paper struct {
	cols     int
	rows     [][]rune
	row, col int
	styled   bool // something was coloured
}

func (s *paper) Write(p []byte) (int, error) {
	text := []rune(string(p))
	for i := 0; i < len(text); i++ {
		switch r := text[i]; {
		case r == '\n':
			s.row, s.col = s.row+1, 0
		case r == '\r':
			s.col = 0
		case r == '\x1b' && i+1 < len(text) && text[i+1] == '[':
			end := i + 2
			for end < len(text) && (text[end] == ';' || '0' <= text[end] && text[end] <= '9') {
				end++
			}
			s.sequence(text[end], string(text[i+2:end]))
			i = end
		default:
			if s.col == s.cols {
				s.row, s.col = s.row+1, 0
			}
			s.put(r)
		}
	}
	return len(p), nil
}

func (s *paper) sequence(kind rune, args string) {
	n, _ := strconv.Atoi(args)
	switch kind {
	case 'A':
		s.row = max(s.row-n, 0)
	case 'J':
		s.line()
		s.rows = s.rows[:s.row+1]
		s.rows[s.row] = s.rows[s.row][:min(s.col, len(s.rows[s.row]))]
	case 'm':
		s.styled = true
	default:
		panic("unknown sequence " + string(kind))
	}
}

func (s *paper) line() {
	for len(s.rows) <= s.row {
		s.rows = append(s.rows, nil)
	}
}

func (s *paper) put(r rune) {
	s.line()
	for len(s.rows[s.row]) <= s.col {
		s.rows[s.row] = append(s.rows[s.row], ' ')
	}
	s.rows[s.row][s.col] = r
	s.col++
}

// resize breaks the lines anew, as terminals do; the cursor stays at the end.
func (s *paper) resize(cols int) {
	s.cols = cols
	var rows [][]rune
	for _, row := range s.rows {
		for len(row) > cols {
			rows, row = append(rows, row[:cols]), row[cols:]
		}
		rows = append(rows, row)
	}
	s.rows, s.row = rows, len(rows)-1
	s.col = len(rows[s.row])
}

func (s *paper) String() string {
	var b strings.Builder
	for _, row := range s.rows {
		b.WriteString(strings.TrimRight(string(row), " ") + "\n")
	}
	return b.String()
}

func terminalView(cols, rows int) (*upView, *paper) {
	s := &paper{cols: cols}
	v := newUpView(&console{out: s, env: func(string) string { return "" }})
	v.terminal, v.colour = true, true
	v.size = func() (int, int) { return s.cols, rows }
	return v, s
}

func someStatus(received uint64) upStatus {
	return upStatus{
		Status: api.Status{
			Stages:    []api.Stage{{Name: "received", Events: received, Rejected: 2}, {Name: "journalled", Events: received}, {Name: "stored"}, {Name: "forwarded", Events: 5}},
			Consumers: []api.ConsumerStage{{Name: "detectors", Lag: 1}, {Name: "store", Lag: 1234}},
		},
		alerts: 3,
	}
}

// frame compares what stands on the screen.
func frame(t *testing.T, s *paper, want string) {
	t.Helper()
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), s.String()); diff != "" {
		t.Errorf("screen differs (-want +got):\n%s", diff)
	}
}

// TestViewKeepsTheBlockAtTheBottom draws frame by frame what a person sees.
func TestViewKeepsTheBlockAtTheBottom(t *testing.T) {
	v, s := terminalView(60, 40)
	v.line("folder %s", "\x1b[31mdata")
	v.stages(someStatus(1000))
	frame(t, s, `
folder [31mdata
received    1,000, 2 refused
journalled  1,000
stored      0, starting
forwarded   5
detectors   3 alerts
lag         1,234 batches (store)
`)
	v.alert(&schemas.Alert{ID: "a1", Rule: "r", Title: "Loud", Severity: schemas.SeverityHigh, Entity: schemas.Entity{ID: "x"}})
	v.alert(&schemas.Alert{ID: "a2", Severity: schemas.SeverityInformational})
	st := someStatus(2_345_678)
	st.store = storeNews{done: 40 << 20, total: 709 << 20}
	st.NotReady = []string{"store: starting", "journal: no space left"}
	v.stages(st)
	at := (&schemas.Alert{}).LastSeen.Local().Format("15:04:05")
	frame(t, s, `
folder [31mdata
`+at+` HIGH   r 'x' loud -> agentrail alerts show a1
received    2,345,678, 2 refused
journalled  2,345,678
stored      0, fetching the engine, 40 of 709 MB
forwarded   5
detectors   3 alerts
lag         1,234 batches (store)
not ready   journal: no space left
`)
	if !s.styled {
		t.Error("nothing is coloured")
	}

	// A terminal that becomes narrow breaks the block's lines; a wider one does not.
	s.resize(20)
	st = someStatus(7)
	st.store = storeNews{open: true}
	st.Consumers = nil
	v.stages(st)
	frame(t, s, `
folder [31mdata
`+at+` HIGH   r 'x
' loud -> agentrail
alerts show a1
received    7, 2 r…
journalled  7
stored      0
forwarded   5
detectors   3 aler…
lag         none
`)
	s.resize(200)
	v.line("wide")
	v.end()
	v.line("after")
	if got := s.String(); !strings.HasSuffix(got, "alerts show a1\nwide\nreceived    7, 2 r…\njournalled  7\nstored      0\nforwarded   5\ndetectors   3 aler…\nlag         none\nafter\n") {
		t.Errorf("the end is %s", got)
	}
}

func TestViewOnALowTerminal(t *testing.T) {
	v, s := terminalView(200, 6)
	v.colour = false
	v.stages(someStatus(1))
	v.stages(someStatus(2))
	frame(t, s, `
received 2, 2 refused  journalled 2  stored 0, starting  forwarded 5  detectors 3 alerts  lag 1,234 batches (store)
`)
	if s.styled {
		t.Error("coloured without colour")
	}
}

func TestViewWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	v := newUpView(&console{out: &out, env: func(string) string { return "" }})
	v.stages(someStatus(1))
	v.stages(someStatus(2)) // too soon for another line
	v.alert(&schemas.Alert{ID: "a1234567890", Rule: "burst", Severity: schemas.SeverityHigh, Title: "Loud\r\x1b[2J"})
	v.end()
	got := out.String()
	if strings.Count(got, "\n") != 2 || !strings.HasPrefix(got, "received 1, 2 refused  journalled 1  ") || strings.ContainsAny(got, "\r\x1b") {
		t.Errorf("printed %q", got)
	}
	if !strings.HasSuffix(got, "-> agentrail alerts show a1234567\n") {
		t.Errorf("the alert is printed as %q", got)
	}
}

func TestStoring(t *testing.T) {
	f := func(n storeNews, want string) {
		t.Helper()
		if got := (upStatus{store: n}).storing(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(storeNews{}, "starting")
	f(storeNews{err: errors.New("no")}, "not open, tried again")
	f(storeNews{err: &engine.MissingError{Err: errors.New("no npm")}}, "no engine")
	f(storeNews{open: true}, "")
}

// TestStoreMissing: people are told once, in one block, with the three ways out.
func TestStoreMissing(t *testing.T) {
	var out bytes.Buffer
	s := &upStore{view: newUpView(&console{out: &out, env: func(string) string { return "" }}), config: "data/config/agentrail.yaml"}
	s.take(storeNews{err: errors.New("engine died")})
	for range 3 {
		s.take(storeNews{err: &engine.MissingError{Err: engine.ErrNoNPM}})
	}
	if !s.missing() {
		t.Error("the engine is not missing")
	}
	got := out.String()
	if strings.Count(got, "search     off: npm is not installed\n") != 1 || strings.Count(got, "\n") != 6 {
		t.Errorf("printed %s", got)
	}
	for _, way := range []string{"install npm ", "store: {library: ", "store: {kind: clickhouse, dsn_file: ", "data/config/agentrail.yaml", engine.Release} {
		if !strings.Contains(got, way) {
			t.Errorf("%q is not in %s", way, got)
		}
	}
	if got := withoutEngine(errors.New("npm pack: no network"), "c"); !strings.Contains(got, "let npm reach its registry") {
		t.Errorf("without network: %s", got)
	}
	s.take(storeNews{open: true})
	if s.missing() || !strings.HasSuffix(out.String(), "search     ready: events, runs and alerts can be asked for\n") || !s.now().open {
		t.Errorf("printed %s", out.String())
	}
}
