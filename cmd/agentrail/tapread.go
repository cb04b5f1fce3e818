package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// connectionError is a loss of the stream, after which it is taken up again.
type connectionError struct{ err error }

func (e *connectionError) Error() string { return e.err.Error() }
func (e *connectionError) Unwrap() error { return e.err }

// maxMessage caps one line of the stream, bytes: a record and what it becomes
// as JSON within JSON.
const maxMessage = 64 << 20

// sseMessage is one server-sent event.
type sseMessage struct{ event, data string }

// readMessages calls use for each message and id for each id, which comes
// behind the message that it belongs to: only then has the whole batch come.
func readMessages(r io.Reader, use func(sseMessage) error, id func(string)) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), maxMessage)
	var m sseMessage
	var pending string
	for sc.Scan() {
		name, value, _ := strings.Cut(sc.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case sc.Text() == "":
			if m.data != "" {
				if err := use(m); err != nil {
					return err
				}
			}
			if m = (sseMessage{}); pending != "" {
				id(pending)
				pending = ""
			}
		case name == "event":
			m.event = value
		case name == "data":
			m.data += value
		case name == "id":
			pending = value
		}
	}
	if err := sc.Err(); err != nil {
		return &connectionError{err}
	}
	return &connectionError{errors.New("the server ended the stream")}
}

// read prints one connection. Events that were printed before the connection
// was lost come again with their batch and are left out.
func (t *tap) read(body io.Reader) error {
	return readMessages(body, func(m sseMessage) error {
		if m.event == "gap" {
			return t.gap(m.data)
		}
		var e api.Event
		if err := json.Unmarshal([]byte(m.data), &e); err != nil {
			return hintf("is --server really an Agentrail server, of the same version?", "read event of stream: %w", err)
		}
		at := tapPlace{true, e.Offset, e.Index}
		if t.seen.some && (at.offset < t.seen.offset || at.offset == t.seen.offset && at.index <= t.seen.index) {
			return nil
		}
		if err := t.print(&e, m.data); err != nil {
			return err
		}
		t.seen = at
		if t.printed++; t.printed == t.limit {
			return errEnough
		}
		return nil
	}, func(id string) { t.last = id })
}

func (t *tap) gap(data string) error {
	var g api.StreamGap
	if err := json.Unmarshal([]byte(data), &g); err != nil {
		return hintf("is --server really an Agentrail server, of the same version?", "read gap of stream: %w", err)
	}
	t.missing += g.To - g.From
	_, err := fmt.Fprintf(t.c.err, "hole: batches %d to %d cannot be had: %s\n", g.From, g.To-1, clean(g.Reason))
	return err
}

// print writes one event in one write, so that a closed pipe is noticed at once.
func (t *tap) print(e *api.Event, doc string) error {
	if t.json {
		_, err := t.c.out.Write(append(escapeJSON([]byte(doc)), '\n'))
		return err
	}
	text := t.line.of(e)
	if t.raw && e.Raw != nil && e.Class == schemas.ClassActivity.String() {
		text += "\n    " + visible(*e.Raw)
	}
	_, err := io.WriteString(t.c.out, text+"\n")
	return err
}

// tapLine writes events as aligned lines. Columns grow to what they have to
// hold, up to a bound, and never shrink.
type tapLine struct {
	color  bool
	day    string
	widths [5]int
}

var tapMost = [5]int{9, 3, 36, 26, 22}

// of returns the line of an event: when, how it ended, in the background or
// not, who, which agent, what, with what on what. A new day has a line of its
// own before it.
func (l *tapLine) of(e *api.Event) string {
	at := e.Time.Local()
	head := ""
	if day := at.Format("2006-01-02 MST"); day != l.day {
		l.day, head = day, "-- "+day+"\n"
	}
	if e.Class == schemas.ClassAlert.String() && e.Raw != nil {
		var a schemas.Alert
		if json.Unmarshal([]byte(*e.Raw), &a) == nil {
			return head + l.alert(at, &a)
		}
	}
	who := firstOf(e.ActorEmail, e.Actor, "-")
	mode := "int"
	switch e.Initiator {
	case schemas.InitiatorHuman.String():
	case schemas.InitiatorUnknown.String():
		mode, who = "bg?", "for "+who // nobody says; it counts as background
	default:
		mode, who = "bg", "for "+who
	}
	what := terse(" -> ", e.Tool, firstOf(e.Target, e.Subscription))
	if e.Class == schemas.ClassControl.String() {
		mode = "ctl"
	}
	cells := [5]string{e.Outcome, mode, who, firstOf(e.AgentName, e.Agent, e.Name, "-"), firstOf(e.Action, e.SourceAction, e.Kind)}
	var b strings.Builder
	b.WriteString(head + at.Format("15:04:05.000"))
	for i, cell := range cells {
		b.WriteString("  " + l.cell(i, visible(cell)))
	}
	if what != "" {
		b.WriteString("  " + visible(what))
	}
	if e.Reason != "" {
		b.WriteString("  (" + visible(e.Reason) + ")")
	}
	return strings.TrimRight(b.String(), " ")
}

func (l *tapLine) alert(at time.Time, a *schemas.Alert) string {
	state := string(a.Transition) + alertMarks(a)
	word := paint(l.color, severityColor(a.Severity), "ALERT "+strings.ToUpper(string(a.Severity)))
	return at.Format("15:04:05.000") + "  " + word + "  " + visible(a.Rule) + " (" + state + ")  " + visible(a.Reason) + "  " + visible(a.ID)
}
