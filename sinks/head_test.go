package sinks

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// TestForwarderPinsAlerts: alerts carry the newest head that was passed, also
// where the sink takes no evidence and whatever order heads come in.
func TestForwarderPinsAlerts(t *testing.T) {
	head := func(at, offset uint64) *schemas.Batch {
		b := testBatch(at, 2)
		b.Class = schemas.ClassEvidence
		b.Events[0].Raw, b.Events[1].Raw = []byte(`{"kind":"another"}`), fmt.Appendf(nil, `{"offset":%d,"signature":"c2ln"}`, offset)
		return b
	}
	alert := func(at uint64) *schemas.Batch {
		b := testBatch(at, 1)
		b.Class, b.Events[0].Class, b.Events[0].Raw = schemas.ClassAlert, schemas.ClassAlert, []byte(`{"id":"a1"}`)
		return b
	}
	s := &fakeSink{}
	f := newTestForwarder(t, s, func(o *Options) { o.Common.Classes = []string{"activity", "alert"} })
	if err := f.Consume(t.Context(), []*schemas.Batch{alert(1), head(3, 2), alert(4), head(6, 5), head(7, 4), alert(8), testBatch(9, 1)}); err != nil {
		t.Fatal(err)
	}
	want := map[uint64]uint64{4: 2, 8: 5}
	for _, ev := range s.last {
		var doc struct {
			Head *schemas.Head `json:"head"`
		}
		if err := json.Unmarshal(format.Native(nil, &ev), &doc); err != nil {
			t.Fatal(err)
		}
		if got := doc.Head; (got != nil) != (want[ev.Offset] > 0) || got != nil && got.Offset != want[ev.Offset] {
			t.Errorf("event of frame %d carries %+v, want that of %d", ev.Offset, got, want[ev.Offset])
		}
		delete(want, ev.Offset)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}
