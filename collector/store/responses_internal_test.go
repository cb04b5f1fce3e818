package store

import (
	"io"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/schemas"
)

// FuzzReadStep: whatever a record of a response holds, it is a row that can be
// written, of the response that its own id names, or none.
func FuzzReadStep(f *testing.F) {
	f.Add([]byte(`{"jsonPayload":{"responseAction":{"id":"resp_1","status":"held","until":"2026-11-20T11:00:00Z"}}}`), "resp_1_2")
	f.Add([]byte(`{"jsonPayload":{"responseAction":{"id":"resp_1","until":"9999-12-31T23:59:59Z"}}}`), "resp_1_4294967296")
	f.Add([]byte(`{"jsonPayload":{"responseAction":{"id":["resp_1"]}}}`), "resp_1_2")
	f.Fuzz(func(t *testing.T, raw []byte, id string) {
		s, ok := readStep(row{Event: &schemas.Event{Raw: raw, SourceID: id}})
		if !ok {
			return
		}
		if s.doc.ID == "" || !strings.HasPrefix(id, s.doc.ID+"_") {
			t.Errorf("record %q is a step of %q", id, s.doc.ID)
		}
		e := &encoder{w: io.Discard, buf: make([]byte, 0, nativeBuffer)}
		block(e, []responseRow{s}, responseColumns())
		if err := e.flush(); err != nil {
			t.Error(err)
		}
	})
}
