package collector

import (
	"encoding/hex"
	"fmt"
	"time"
)

// tempoState is the cursor of one source, kept in one file.
type tempoState struct {
	Version int       `json:"version"`
	Until   time.Time `json:"until"` // everything that Tempo showed up to then is in the journal

	path string
}

func loadTempoState(path string) (*tempoState, error) {
	s := &tempoState{Version: 1, path: path}
	if err := loadState(path, s); err != nil {
		return nil, err
	}
	if s.Version != 1 {
		return nil, fmt.Errorf("%s has version %d, this program knows 1", path, s.Version)
	}
	return s, nil
}

// spanKey names a span.
type spanKey struct {
	trace [16]byte
	span  [8]byte
}

// spanKeyOf returns the name of a span; ok is false if its ids are no ids.
func spanKeyOf(trace, span []byte) (k spanKey, ok bool) {
	if len(trace) != len(k.trace) || len(span) != len(k.span) {
		return k, false
	}
	copy(k.trace[:], trace)
	copy(k.span[:], span)
	return k, true
}

// maxSeen is how many spans are remembered. Past it all are forgotten: they are
// asked for again, and the journal finds that it has them.
const maxSeen = 1_000_000

// tempoSeen is what was taken of the traces that searches still find.
type tempoSeen struct {
	traces map[[16]byte]*seenTrace
	spans  int
	round  int // of searches
}

type seenTrace struct {
	summary string
	at      time.Time // when it was last asked for
	round   int       // in which it was last found
	spans   map[[8]byte]struct{}
}

func newTempoSeen() *tempoSeen { return &tempoSeen{traces: map[[16]byte]*seenTrace{}} }

// changed reports whether a trace is to be asked for: it is new, looks another,
// or was asked for so long ago that spans may have come which a search does not
// show.
func (s *tempoSeen) changed(f tempoFind, now time.Time, again time.Duration) bool {
	t := s.traces[traceKey(f.id)]
	if t == nil {
		return true
	}
	t.round = s.round
	return t.summary != f.summary || now.Sub(t.at) >= again || now.Before(t.at)
}

func (s *tempoSeen) of(key [16]byte) *seenTrace {
	t := s.traces[key]
	if t == nil {
		t = &seenTrace{round: s.round, spans: map[[8]byte]struct{}{}}
		s.traces[key] = t
	}
	return t
}

// note keeps that the trace was asked for.
func (s *tempoSeen) note(f tempoFind, now time.Time) {
	t := s.of(traceKey(f.id))
	t.summary, t.at = f.summary, now
}

func (s *tempoSeen) has(k spanKey) bool {
	t := s.traces[k.trace]
	if t == nil {
		return false
	}
	_, ok := t.spans[k.span]
	return ok
}

func (s *tempoSeen) add(spans map[spanKey]struct{}) {
	for k := range spans {
		t := s.of(k.trace)
		if _, ok := t.spans[k.span]; !ok {
			t.spans[k.span] = struct{}{}
			s.spans++
		}
	}
}

// forget ends a round of searches: what none of them found no later one will.
func (s *tempoSeen) forget() {
	if s.spans > maxSeen {
		*s = *newTempoSeen()
		return
	}
	for key, t := range s.traces {
		if t.round < s.round {
			s.spans -= len(t.spans)
			delete(s.traces, key)
		}
	}
	s.round++
}

func traceKey(id string) (key [16]byte) {
	_, _ = hex.Decode(key[:], []byte(id)) // checked when it was found
	return key
}
