package survey

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxState caps a snapshot, bytes.
const maxState = 256 << 20

// state is the snapshot as stored.
type state struct {
	Version int          `json:"version"`
	Sources []savedState `json:"sources"`
	Names   []savedName  `json:"names"`
	Untold  uint64       `json:"untold"`
}

type savedState struct {
	Tenant string  `json:"tenant"`
	Source string  `json:"source"`
	State  *source `json:"state"`
}

type savedName struct {
	Tenant string `json:"tenant"`
	Agent  string `json:"agent"`
	Name   string `json:"name"`
}

// WriteTo implements journal.State. The same state gives the same bytes.
func (s *Survey) WriteTo(w io.Writer) (int64, error) {
	s.mu.Lock()
	st := state{Version: 1, Untold: s.untold}
	for k, src := range s.sources {
		st.Sources = append(st.Sources, savedState{k.tenant, k.source, src})
	}
	for k, name := range s.names {
		st.Names = append(st.Names, savedName{k.tenant, k.agent, name})
	}
	slices.SortFunc(st.Sources, func(a, b savedState) int {
		return strings.Compare(a.Tenant+"\x00"+a.Source, b.Tenant+"\x00"+b.Source)
	})
	slices.SortFunc(st.Names, func(a, b savedName) int {
		return strings.Compare(a.Tenant+"\x00"+a.Agent, b.Tenant+"\x00"+b.Agent)
	})
	doc, err := json.Marshal(st)
	s.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("save survey: %w", err)
	}
	n, err := w.Write(doc)
	return int64(n), err
}

// ReadFrom implements journal.State. A state that is not whole or past the
// bounds is refused and leaves the survey as it was.
func (s *Survey) ReadFrom(r io.Reader) (int64, error) {
	doc, err := io.ReadAll(io.LimitReader(r, maxState+1))
	if err != nil {
		return int64(len(doc)), fmt.Errorf("restore survey: %w", err)
	}
	var st state
	if len(doc) > maxState {
		err = errors.New("it is too large")
	} else if err = json.Unmarshal(doc, &st); err == nil {
		err = st.check()
	}
	if err != nil {
		return int64(len(doc)), fmt.Errorf("restore survey: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset()
	s.untold = st.Untold
	for _, x := range st.Sources {
		s.sources[sourceKey{x.Tenant, x.Source}] = x.State
	}
	for _, n := range st.Names {
		s.names[agentKey{n.Tenant, n.Agent}] = n.Name
	}
	return int64(len(doc)), nil
}

// check refuses what could not have been written, and sets the bounds.
func (st *state) check() error {
	if st.Version != 1 {
		return fmt.Errorf("version is %d; this program reads version 1", st.Version)
	}
	if len(st.Sources) > maxSources || len(st.Names) > maxNames {
		return errors.New("it holds more than is ever kept")
	}
	for _, x := range st.Sources {
		if x.State == nil {
			return fmt.Errorf("source %q is empty", x.Source)
		}
		fresh := newSource()
		for _, t := range []struct{ have, fresh *strange }{
			{x.State.Kinds, fresh.Kinds},
			{x.State.Endpoints, fresh.Endpoints},
			{x.State.Fields, fresh.Fields},
			{x.State.Codes, fresh.Codes},
		} {
			if t.have == nil || t.have.Items == nil || len(t.have.Items) > t.fresh.max {
				return fmt.Errorf("a list of source %q is not whole", x.Source)
			}
			for name, it := range t.have.Items {
				if it == nil || len(name) > maxName || it.Count == 0 || it.Over > it.Count {
					return fmt.Errorf("an entry of source %q is not whole", x.Source)
				}
			}
			t.have.max = t.fresh.max
		}
	}
	return nil
}

var _ interface {
	io.WriterTo
	io.ReaderFrom
} = (*Survey)(nil)
