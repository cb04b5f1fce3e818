package sinks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// classes is one more than the highest class.
const classes = int(schemas.ClassHealth) + 1

// perClass counts events by class.
type perClass [classes]int64

// account names the events of one tenant that the journal received in one hour.
type account struct {
	Tenant string `json:"tenant"`
	Hour   int64  `json:"hour"` // hours since 1970, UTC
}

func accountOf(b *schemas.Batch) account { return account{b.Tenant, hourOf(b.Received)} }

func hourOf(unixNano int64) int64 { return unixNano / int64(time.Hour) }

// beginning is when the hour begins.
func (a account) beginning() time.Time { return time.Unix(a.Hour*3600, 0).UTC() }

// entry is what became of the events of an account at one sink. Passed counts
// all that the cursor went past, the sink's or not: it is what the journal is
// held to, whatever the config said at the time.
type entry struct {
	account
	From     uint64   `json:"from"`
	To       uint64   `json:"to"`
	Passed   perClass `json:"passed"`
	Seen     int64    `json:"seen"`
	Filtered int64    `json:"filtered"`
	Dead     int64    `json:"dead"`
	Indexed  int64    `json:"indexed"`
}

// tally is what became of one batch. What was seen and neither filtered nor
// dead was accepted: Consume does not return before.
type tally struct{ seen, filtered, dead, indexed int64 }

// book is the ledger of one sink, by tenant and hour. It is a journal.Settler:
// a batch stands in it once everything before it is done, and what is stored
// belongs to the offset that it is stored with. So a crash makes the sink send
// again, and counts once what was sent twice. Accounts stay until their
// statements are in the journal.
type book struct {
	mu      sync.Mutex
	pending map[uint64]*tally // consumed, not settled: by offset of the batch
	entries map[account]*entry
	started bool
	start   uint64 // the first batch that the sink was given
	startAt int64  // when that was received
	at      int64  // receipt of the newest batch that is settled
	saving  int64  // at, when a snapshot was last written
	stored  int64  // at, when the one before was, which is on disk
	closed  int64  // all statements of hours before this one were made
}

func (k *book) init() { k.pending, k.entries = map[uint64]*tally{}, map[account]*entry{} }

// begin notes where a new sink starts: before it has delivered anything.
func (k *book) begin(batches []*schemas.Batch) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range batches {
		if k.at == 0 && b.Gap == nil && (!k.started || b.Offset < k.start) {
			k.started, k.start, k.startAt, k.closed = true, b.Offset, b.Received, hourOf(b.Received)
		}
	}
}

// offer keeps what became of batches until they are settled. A batch that is
// consumed again counts as it went the last time.
func (k *book) offer(tallies map[uint64]*tally) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.Copy(k.pending, tallies)
}

// settle counts batches; wants says which of them the sink takes. One that it
// takes and that was never consumed to its end has made Consume panic, and its
// records are dead letters.
func (k *book) settle(batches []*schemas.Batch, wants func(schemas.Class, string) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range batches {
		if b.Gap != nil {
			continue
		}
		k.at = max(k.at, b.Received)
		if n := accepted(b); n > 0 {
			k.count(b, n, wants(b.Class, b.Tenant))
		}
		delete(k.pending, b.Offset)
	}
}

func (k *book) count(b *schemas.Batch, n int64, wanted bool) {
	of := accountOf(b)
	e := k.entries[of]
	if e == nil {
		e = &entry{account: of, From: b.Offset}
		k.entries[of] = e
	}
	e.To = b.Offset + 1
	e.Passed.add(b.Class, n)
	if !wanted {
		return
	}
	t := k.pending[b.Offset]
	if t == nil {
		t = &tally{seen: n, dead: n}
	}
	e.Seen += t.seen
	e.Filtered += t.filtered
	e.Dead += t.dead
	e.Indexed += t.indexed
}

func (p *perClass) add(c schemas.Class, n int64) {
	if int(c) < classes {
		p[c] += n
	}
}

// accepted counts the events of the batch that count.
func accepted(b *schemas.Batch) (n int64) {
	for range b.Accepted() {
		n++
	}
	return n
}

// close says that all statements of hours before that one are in the journal.
func (k *book) close(before int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = max(k.closed, before)
	maps.DeleteFunc(k.entries, func(a account, _ *entry) bool { return a.Hour < k.closed })
}

// bookState is the snapshot.
type bookState struct {
	Version int      `json:"version"`
	Started bool     `json:"started"`
	Start   uint64   `json:"start"`
	StartAt int64    `json:"start_at"`
	At      int64    `json:"at"`
	Closed  int64    `json:"closed"`
	Entries []*entry `json:"entries"`
}

func (k *book) writeTo(w io.Writer) (int64, error) {
	k.mu.Lock()
	s := bookState{Version: 1, Started: k.started, Start: k.start, StartAt: k.startAt, At: k.at, Closed: k.closed}
	for _, e := range k.entries {
		s.Entries = append(s.Entries, e)
	}
	k.saving, k.stored = k.at, k.saving
	doc, err := json.Marshal(s)
	k.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("write ledger: %w", err)
	}
	n, err := w.Write(doc)
	return int64(n), err
}

func (k *book) readFrom(r io.Reader) (int64, error) {
	doc, err := io.ReadAll(r)
	n := int64(len(doc))
	if err != nil {
		return n, fmt.Errorf("read ledger: %w", err)
	}
	var s bookState
	if err := json.Unmarshal(doc, &s); err != nil {
		return n, fmt.Errorf("read ledger: %w", err)
	}
	if s.Version != 1 {
		return n, fmt.Errorf("read ledger: snapshot has version %d, this program knows 1", s.Version)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.init()
	k.started, k.start, k.startAt, k.at, k.closed = s.Started, s.Start, s.StartAt, s.At, s.Closed
	k.saving, k.stored = s.At, s.At
	for _, e := range s.Entries {
		if e == nil {
			return n, errors.New("read ledger: snapshot holds an empty account")
		}
		k.entries[e.account] = e
	}
	return n, nil
}

// Settle counts batches that are done. It is what makes a Forwarder a
// journal.Settler, with its ledger as the state.
func (f *Forwarder) Settle(batches []*schemas.Batch) { f.book.settle(batches, f.wants) }

// WriteTo writes the ledger for a snapshot.
func (f *Forwarder) WriteTo(w io.Writer) (int64, error) { return f.book.writeTo(w) }

// ReadFrom replaces the ledger by a snapshot.
func (f *Forwarder) ReadFrom(r io.Reader) (int64, error) { return f.book.readFrom(r) }
