package alerting

import (
	"container/list"
	"encoding/json"
	"fmt"
	"io"
)

// state is the snapshot.
type state struct {
	Version int        `json:"version"`
	Alerts  []*tracked `json:"alerts"` // the one heard of last comes last
}

// WriteTo writes the feed for a snapshot.
func (f *Feed) WriteTo(w io.Writer) (int64, error) {
	f.mu.Lock()
	s := state{Version: 1}
	for _, in := range []*list.List{f.over, f.open} {
		for e := in.Front(); e != nil; e = e.Next() {
			s.Alerts = append(s.Alerts, e.Value.(*tracked))
		}
	}
	doc, err := json.Marshal(s)
	f.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("write alerting: %w", err)
	}
	n, err := w.Write(doc)
	return int64(n), err
}

// ReadFrom replaces the feed by a snapshot.
func (f *Feed) ReadFrom(in io.Reader) (int64, error) {
	doc, err := io.ReadAll(in)
	n := int64(len(doc))
	if err != nil {
		return n, fmt.Errorf("read alerting: %w", err)
	}
	var s state
	if err := json.Unmarshal(doc, &s); err != nil {
		return n, fmt.Errorf("read alerting: %w", err)
	}
	if s.Version != 1 {
		return n, fmt.Errorf("read alerting: snapshot has version %d, this program knows 1", s.Version)
	}
	alerts := map[string]*tracked{}
	for _, t := range s.Alerts {
		if t == nil || t.Alert.ID == "" || alerts[t.Alert.ID] != nil || t.Life.State == "" || len(t.Labels) == 0 {
			return n, fmt.Errorf("read alerting: snapshot holds an alert that cannot be")
		}
		alerts[t.Alert.ID] = t
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.alerts, f.dirty = alerts, map[string]bool{}
	f.open.Init()
	f.over.Init()
	for _, t := range s.Alerts {
		f.place(t)
		f.dirty[t.Alert.ID] = true
	}
	f.poke()
	return n, nil
}
