package sinks

import (
	"fmt"
	"strconv"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Verbs of the controls that ask for a replay and end the replays of a sink.
const (
	VerbReplay     = "sink.replay"
	VerbReplayStop = "sink.replay_stop"
)

// replayRate is how many events a second are sent again unless the control says.
const (
	replayRate    = 1000
	maxReplayRate = 1_000_000
)

// Replay is what a control of the verb sink.replay asks for: its target is the
// sink, its arguments are from and to (an offset, or a time of receipt in RFC
// 3339), filter (CEL) and rate (events a second).
type Replay struct {
	From, To Bound
	Filter   *Filter
	Rate     int
}

// Bound is an offset or a time of receipt.
type Bound struct {
	Offset uint64
	At     time.Time // zero: Offset holds
}

// ParseReplay reads the arguments of a control.
func ParseReplay(c schemas.Control) (Replay, error) {
	r := Replay{Rate: replayRate}
	var err error
	if r.From, err = parseBound("from", c.Args["from"]); err != nil {
		return r, err
	}
	if r.To, err = parseBound("to", c.Args["to"]); err != nil {
		return r, err
	}
	if r.From.At.IsZero() == r.To.At.IsZero() && !r.From.before(r.To) {
		return r, fmt.Errorf("from %s is not before to %s", c.Args["from"], c.Args["to"])
	}
	if s := c.Args["rate"]; s != "" {
		if r.Rate, err = strconv.Atoi(s); err != nil || r.Rate < 1 || r.Rate > maxReplayRate {
			return r, fmt.Errorf("rate is %q; write events a second, 1 to %d", s, maxReplayRate)
		}
	}
	r.Filter, err = CompileFilter(c.Args["filter"])
	return r, err
}

func parseBound(name, s string) (Bound, error) {
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return Bound{Offset: n}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || at.IsZero() {
		return Bound{}, fmt.Errorf("%s is %q; write an offset, or a time such as 2026-11-23T08:00:00Z", name, s)
	}
	return Bound{At: at}, nil
}

func (b Bound) before(o Bound) bool {
	if b.At.IsZero() {
		return b.Offset < o.Offset
	}
	return b.At.Before(o.At)
}

// reached reports whether the batch lies at or behind the bound.
func (b Bound) reached(batch *schemas.Batch) bool {
	if b.At.IsZero() {
		return batch.Offset >= b.Offset
	}
	return batch.Received >= b.At.UnixNano()
}

// replayJob is one replay and how far it is.
type replayJob struct {
	Control  schemas.Control `json:"control"`
	End      uint64          `json:"end"`  // offset of the control: nothing behind it is sent
	Next     uint64          `json:"next"` // offset that comes next; 0: not begun
	Sent     int64           `json:"sent"`
	Filtered int64           `json:"filtered"`
	Refused  int64           `json:"refused"`
	Missing  uint64          `json:"missing"` // batches that the journal no longer has
	Why      string          `json:"why,omitempty"`
	Ended    string          `json:"ended,omitempty"` // why it ended early

	stop func() // of the attempt that runs
}

// outcome says for people how it went.
func (j *replayJob) outcome() string {
	text := fmt.Sprintf("replay %s of %s: %d events sent again, %d held back by filters, %d refused", j.Control.ID, j.Control.Target, j.Sent, j.Filtered, j.Refused)
	if j.Why != "" {
		text += " (first: " + j.Why + ")"
	}
	if j.Missing > 0 {
		text += fmt.Sprintf("; %d batches are not in the journal any more", j.Missing)
	}
	if j.Ended != "" {
		text += "; ended early: " + j.Ended
	}
	return text
}
