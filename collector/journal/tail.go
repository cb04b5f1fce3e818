package journal

import (
	"sync"
	"unsafe"

	"github.com/agentrail/agentrail/schemas"
)

// tailCache keeps the newest batches, decoded as they were appended, so that
// all cursors at the tail share them.
type tailCache struct {
	mu      sync.RWMutex
	limit   int64
	bytes   int64
	first   Offset           // of batches[head]
	batches []*schemas.Batch // from head on, without holes
	head    int
	news    chan struct{} // closed when there is something new
	closed  bool
}

func newTailCache(limit int64) *tailCache {
	return &tailCache{limit: limit, news: make(chan struct{})}
}

// batchBytes is what a batch holds in memory.
func batchBytes(b *schemas.Batch) int64 {
	return int64(len(b.Body)) + int64(len(b.Records))*int64(unsafe.Sizeof(schemas.Record{})) + int64(len(b.Events))*int64(unsafe.Sizeof(schemas.Event{})) + 512
}

// add takes the batches of a synced group.
func (t *tailCache) add(group []*request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range group {
		if r.known {
			continue
		}
		if t.head == len(t.batches) {
			t.first = r.offset
		}
		t.batches = append(t.batches, r.b)
		t.bytes += batchBytes(r.b)
	}
	for t.bytes > t.limit && t.head < len(t.batches)-1 {
		t.bytes -= batchBytes(t.batches[t.head])
		t.batches[t.head] = nil
		t.head++
		t.first++
	}
	if t.head > 64 && t.head > len(t.batches)/2 {
		n := copy(t.batches, t.batches[t.head:])
		clear(t.batches[n:])
		t.batches, t.head = t.batches[:n], 0
	}
}

// find returns the batch at that offset, or nil.
func (t *tailCache) find(o Offset) *schemas.Batch {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if i := o - t.first; o >= t.first && i < uint64(len(t.batches)-t.head) {
		return t.batches[t.head+int(i)]
	}
	return nil
}

// waiter returns a channel that is closed by the next wake.
func (t *tailCache) waiter() <-chan struct{} {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.news
}

func (t *tailCache) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		close(t.news)
		t.news = make(chan struct{})
	}
}

func (t *tailCache) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		close(t.news)
	}
}
