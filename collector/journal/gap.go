package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// gap returns the batch that stands for offsets [from, to).
func (d *Disk) gap(from, to Offset, reason string) *schemas.Batch {
	return &schemas.Batch{Header: schemas.Header{Offset: from}, Gap: &schemas.Gap{From: from, To: to, Reason: reason}}
}

// damaged returns the gap of offsets [from, to), lost between bytes [pos, end)
// of s, and has it reported.
func (d *Disk) damaged(s *segment, from, to Offset, pos, end int64, reason string) *schemas.Batch {
	d.gaps.report(lost{s: s, from: from, to: to, pos: pos, end: end, reason: reason})
	return d.gap(from, to, reason)
}

// lost is a gap to be reported.
type lost struct {
	s        *segment // nil if there are no bytes to keep
	from, to Offset
	pos, end int64
	reason   string
}

// gapReporter tells of each gap once, also over restarts: the event has an id
// made of the gap, and the copy in quarantine says that it was told.
type gapReporter struct {
	d    *Disk
	mu   sync.Mutex
	todo []lost
	news []health
	told map[[2]Offset]bool
}

func newGapReporter(d *Disk) *gapReporter {
	return &gapReporter{d: d, told: map[[2]Offset]bool{}}
}

func (g *gapReporter) report(l lost) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := [2]Offset{l.from, l.to}
	if !g.told[key] {
		g.told[key] = true
		g.todo = append(g.todo, l)
		g.d.nudge()
	}
}

// evicted has the removal of unread batches told.
func (g *gapReporter) evicted(from, to Offset) {
	g.tellLater(health{"journal.evicted", fmt.Sprintf("batches %d to %d were removed before every cursor had read them: max_bytes is reached and evict_unread is set", from, to-1), from, to})
}

// permitted has an event appended about the operator's flag.
func (g *gapReporter) permitted(head Offset) {
	g.tellLater(health{"journal.evict_unread", "the operator allows that batches are removed before every cursor has read them, once max_bytes is reached (evict_unread)", head, head})
}

// strange has an event appended about a batch that cannot be decoded.
func (g *gapReporter) strange(at Offset, reason string) {
	g.tellLater(health{"journal.undecodable", reason, at, at + 1})
}

func (g *gapReporter) tellLater(h health) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.news = append(g.news, h)
	g.d.nudge()
}

// health is an event to be appended.
type health struct {
	kind, reason string
	from, to     Offset
}

// run reports what there is; what fails stays for the next time.
func (g *gapReporter) run() {
	g.mu.Lock()
	todo, news := g.todo, g.news
	g.todo, g.news = nil, nil
	g.mu.Unlock()
	for i, h := range news {
		if err := g.d.health(h.kind, h.reason, h.from, h.to); err != nil {
			g.d.log.Warn("cannot append a health event of the journal; trying again", "kind", h.kind, "err", err)
			g.mu.Lock()
			g.news = append(g.news, news[i:]...)
			g.mu.Unlock()
			break
		}
	}
	for i, l := range todo {
		if err := g.tell(l); err != nil {
			g.d.log.Warn("cannot report a gap of the journal; trying again", "err", err)
			g.mu.Lock()
			g.todo = append(g.todo, todo[i:]...)
			g.mu.Unlock()
			return
		}
	}
}

func (g *gapReporter) tell(l lost) error {
	name := fmt.Sprintf("gap-%020d-%020d.bin", l.from, l.to)
	path := filepath.Join(g.d.o.Dir, quarantineDir, name)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	g.d.metrics.gap(l.to - l.from)
	g.d.log.Error("journal has a gap", "from", l.from, "to", l.to, "reason", l.reason, "quarantine", path)
	reason := fmt.Sprintf("batches %d to %d are %s; their bytes are in quarantine/%s; run: agentrail log check", l.from, l.to-1, l.reason, name)
	if err := g.d.health("journal.gap", reason, l.from, l.to); err != nil {
		return err
	}
	if l.s == nil || l.end <= l.pos {
		return os.WriteFile(path, nil, 0o600)
	}
	return l.s.quarantine(path, l.pos, l.end)
}

// health appends an event about the journal itself, once for its kind and
// offsets.
func (d *Disk) health(kind, reason string, from, to Offset) error {
	if d.o.Own == nil {
		return nil
	}
	now := d.o.Now()
	b, err := d.o.Own(d.o.Tenant, schemas.ClassHealth, "health", now.UnixNano(), schemas.Health{
		Kind: kind, Tenant: d.o.Tenant, Reason: reason, From: from, To: to, At: now.UTC(),
	})
	if err != nil {
		return fmt.Errorf("make %s event: %w", kind, err)
	}
	b.ID = schemas.ProducerID(kind, from, uint32(to-from))
	b.Flags |= schemas.BatchSelf
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = d.Append(ctx, b)
	return err
}
