// Package notary makes tampering with the journal show. Frames are chained by
// SHA-256; the notary, a cursor like any other, signs the newest link of the
// chain each minute of journal time with a key that is kept outside the data
// folder, and appends the signed head to the journal, from where it also
// reaches the sinks. Verify proves the chain and the heads offline.
package notary

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// Name of the notary's cursor and of its batches as a producer.
const Name = "notary"

// Kind is the event kind of a signed head, and Source the source of every
// event that Agentrail appends by itself.
const (
	Kind   = "head"
	Source = "agentrail"
)

// Options of a Notary.
type Options struct {
	Key    *Key                                                        // Mandatory.
	Append func(ctx context.Context, b *schemas.Batch) (uint64, error) // Mandatory. Journal.Append.
	// Own makes a batch of our own documents. Mandatory. decode.Own.
	Own    func(tenant string, class schemas.Class, kind string, received int64, docs ...any) (*schemas.Batch, error)
	Tenant string // Mandatory. Whose events the heads are: the operator's own tenant.
	Shard  uint16 // of the cursor that feeds it

	Every     time.Duration // of journal time between heads while there is something new; 0 means one minute
	Heartbeat time.Duration // of journal time between heads while there is nothing new; 0 means one hour

	Log *slog.Logger          // nil: silent
	Reg prometheus.Registerer // nil: no metrics
}

// Notary is a journal.Consumer and a journal.State. When it signs is decided
// by journal time alone and its batch ids by what is signed, so that a replay
// appends no head twice.
type Notary struct {
	o       Options
	metrics *metrics

	mu sync.Mutex // guards s: Close may come from another goroutine than Consume
	s  state
}

// state is what a snapshot keeps.
type state struct {
	Offset   uint64         `json:"offset"` // of the last frame seen
	Digest   schemas.Digest `json:"digest"` // of that frame
	Received int64          `json:"received"`
	SignedAt int64          `json:"signed_at"` // journal time of the last head, or of the first frame seen
	Seen     bool           `json:"seen"`      // a frame was seen
	Fresh    bool           `json:"fresh"`     // something other than heads and ticks came since the last head
}

var (
	_ journal.Consumer = (*Notary)(nil)
	_ journal.State    = (*Notary)(nil)
)

// New returns a Notary. Feed it by journal.Follow with State set to it, and
// call Close when Follow has returned and the journal is still open.
func New(o Options) (*Notary, error) {
	if o.Key == nil || o.Append == nil || o.Own == nil || o.Tenant == "" {
		return nil, errors.New("open notary: key, append, own and tenant are mandatory")
	}
	if o.Every <= 0 {
		o.Every = time.Minute
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Notary{o: o, metrics: newMetrics(o.Reg)}, nil
}

// Consume takes note of each frame and appends a head when one is due. Append
// is retried until ctx ends, since frames before have changed the state.
func (n *Notary) Consume(ctx context.Context, batches []*schemas.Batch) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range batches {
		if b.Gap != nil {
			continue // the frame after it says its own digest; Verify names the gap
		}
		n.see(b)
		due := n.o.Heartbeat
		if n.s.Fresh {
			due = n.o.Every
		}
		if b.Received-n.s.SignedAt < int64(due) {
			continue
		}
		if err := n.sign(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (n *Notary) see(b *schemas.Batch) {
	if !n.s.Seen {
		n.s.SignedAt = b.Received
	}
	n.s.Seen = true
	n.s.Offset, n.s.Digest, n.s.Received = b.Offset, b.Self, b.Received
	n.s.Fresh = n.s.Fresh || !b.Tick() && !isHead(&b.Header)
}

// isHead reports whether the batch is one of our own: heads about heads would
// never end.
func isHead(h *schemas.Header) bool {
	return h.Class == schemas.ClassEvidence && h.Flags&schemas.BatchSelf != 0
}

// stopPatience bounds how long Close tries to append.
const stopPatience = 5 * time.Second

// Close signs what came since the last head, so that a clean stop leaves no
// unsigned tail. It gives up after five seconds: a full disk must not hold up
// the stop, and the next run signs the rest.
func (n *Notary) Close(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.s.Fresh {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	return n.sign(ctx)
}

// sign appends the head of the last frame seen, trying until ctx ends.
func (n *Notary) sign(ctx context.Context) error {
	head, err := n.o.Key.Sign(n.o.Shard, n.s.Offset, n.s.Digest, time.Unix(0, n.s.Received))
	if err != nil {
		return err
	}
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := n.append(ctx, head)
		if err == nil {
			break
		}
		if ctx.Err() != nil || errors.Is(err, journal.ErrClosed) {
			return err
		}
		n.metrics.retries.Inc()
		n.o.Log.Warn("append head, retrying", "offset", head.Offset, "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	n.s.SignedAt, n.s.Fresh = n.s.Received, false
	n.metrics.heads.Inc()
	n.metrics.lastHead.Set(float64(n.s.Received) / float64(time.Second))
	return nil
}

func (n *Notary) append(ctx context.Context, head schemas.Head) error {
	b, err := n.o.Own(n.o.Tenant, schemas.ClassEvidence, Kind, n.s.Received, head)
	if err != nil {
		return fmt.Errorf("make head event: %w", err)
	}
	b.Header.ID = schemas.ProducerID(Name, head.Offset, uint32(n.o.Shard))
	if _, err := n.o.Append(ctx, b); err != nil {
		return fmt.Errorf("append head of offset %d: %w", head.Offset, err)
	}
	return nil
}

// WriteTo writes the state for a snapshot.
func (n *Notary) WriteTo(w io.Writer) (int64, error) {
	n.mu.Lock()
	b, err := json.Marshal(n.s)
	n.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("write notary state: %w", err)
	}
	c, err := w.Write(b)
	return int64(c), err
}

// ReadFrom restores the state from a snapshot.
func (n *Notary) ReadFrom(r io.Reader) (int64, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return int64(len(b)), fmt.Errorf("read notary state: %w", err)
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return int64(len(b)), fmt.Errorf("read notary state: %w", err)
	}
	n.mu.Lock()
	n.s = s
	n.mu.Unlock()
	return int64(len(b)), nil
}
