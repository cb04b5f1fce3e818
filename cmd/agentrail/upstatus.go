package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/store/engine"
)

// upStatus is what the status shows: what went through each stage, how far the
// slowest consumer is behind, and what is not as it should be.
type upStatus struct {
	api.Status
	store  storeNews // how the store comes up
	alerts int       // told so far
}

// atTail is how many batches a consumer may be behind and count as at the
// tail: ticks and signed heads always go on.
const atTail = 2

// block is one line per stage: a label and what stands behind it.
func (s upStatus) block() [][2]string {
	var out [][2]string
	for _, st := range s.Stages {
		text := grouped(st.Events)
		if st.Rejected > 0 {
			text += fmt.Sprintf(", %s refused", grouped(st.Rejected))
		}
		if st.Name == "stored" {
			text = join(text, s.storing())
		}
		out = append(out, [2]string{st.Name, text})
	}
	out = append(out, [2]string{"detectors", join(fmt.Sprintf("%d alerts", s.alerts), s.behind("detectors"))}, [2]string{"lag", s.lag()})
	for _, why := range s.NotReady {
		if !strings.HasPrefix(why, "store: ") {
			out = append(out, [2]string{"not ready", why})
		}
	}
	return out
}

// line is the same in one line.
func (s upStatus) line() string {
	var b strings.Builder
	for _, row := range s.block() {
		fmt.Fprintf(&b, "%s %s  ", row[0], row[1])
	}
	return strings.TrimRight(b.String(), " ")
}

// storing says how the store comes up, or how far it is behind.
func (s upStatus) storing() string {
	switch {
	case s.store.open:
		return s.behind("store")
	case s.store.total > 0:
		return fmt.Sprintf("fetching the engine, %d of %d MB", s.store.done>>20, s.store.total>>20)
	case s.store.err != nil:
		if _, missing := errors.AsType[*engine.MissingError](s.store.err); missing {
			return "no engine"
		}
		return "not open, tried again"
	}
	return "starting"
}

// behind says how far a consumer is behind, or nothing if it is not.
func (s upStatus) behind(consumer string) string {
	for _, c := range s.Consumers {
		if c.Name == consumer && c.Lag > atTail {
			return grouped(c.Lag) + " batches behind"
		}
	}
	return ""
}

func (s upStatus) lag() string {
	slowest, lag := "", uint64(atTail)
	for _, c := range s.Consumers {
		if c.Lag > lag {
			slowest, lag = c.Name, c.Lag
		}
	}
	if slowest == "" {
		return "none"
	}
	return fmt.Sprintf("%s batches (%s)", grouped(lag), slowest)
}

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + ", " + b
}

// grouped writes a number with a comma between thousands.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
