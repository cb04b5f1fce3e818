package sinks

import (
	"encoding/json"
	"sync/atomic"

	"github.com/agentrail/agentrail/schemas"
)

// head keeps the newest signed head that a forwarder has passed, whether or not
// its sink takes evidence: alerts carry it, so that each of them, wherever it
// is copied to, pins all of the journal up to shortly before it.
type head struct{ newest atomic.Pointer[schemas.Head] }

// pass looks whether the batch holds a head. There is one a minute at most.
func (h *head) pass(b *schemas.Batch) {
	if b.Class != schemas.ClassEvidence {
		return
	}
	for i := range b.Events {
		var got schemas.Head
		if json.Unmarshal(b.Events[i].Raw, &got) != nil || got.Signature == "" {
			continue
		}
		for was := h.newest.Load(); was == nil || was.Offset < got.Offset; was = h.newest.Load() {
			if h.newest.CompareAndSwap(was, &got) {
				break
			}
		}
	}
}
