package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// Bounds of one insert. ClickHouse keeps an insert whole, and its token's
// promise with it, only while it is one block; the driver builds the block in
// memory; and two blocks can be made at once on two cores.
const (
	maxInsertRows  = 25_000
	maxInsertBytes = 16 << 20 // of raw content
)

// row is an event with what the batch knows about it.
type row struct {
	*schemas.Event
	backfill bool
}

// plan is the accepted events of some batches, grouped by partition.
type plan struct {
	shard    uint16
	from, to uint64
	parts    []uint32 // in ascending order
	byPart   map[uint32][]row
	spans    map[uint32][]spanRef // of those rows that are spans
	rows     int
	bad      []journal.RejectedItem
}

// makePlan groups the events. The same batches always make the same plan.
func makePlan(batches []*schemas.Batch) *plan {
	p := &plan{byPart: map[uint32][]row{}, spans: map[uint32][]spanRef{}}
	for i, b := range batches {
		from, to := b.Offset, b.Offset+1
		if b.Gap != nil {
			from, to = b.Gap.From, b.Gap.To
		}
		if i == 0 {
			p.shard, p.from, p.to = b.Shard, from, to
		}
		p.from, p.to = min(p.from, from), max(p.to, to)
		for ev := range b.Accepted() {
			part := partition(ev.Time, ev.Received)
			p.byPart[part] = append(p.byPart[part], row{ev, !b.Live()})
			p.rows++
		}
		p.addSpans(b)
	}
	for part := range p.byPart {
		p.parts = append(p.parts, part)
	}
	slices.Sort(p.parts)
	return p
}

// Event times further from the time of receipt than this are not believed.
const (
	oldest = int64(400 * 24 * time.Hour)
	newest = int64(24 * time.Hour)
)

// partition is the month of the event's time as YYYYMM if that lies in
// [received - 400 days, received + 1 day], else 0. At most fifteen months can
// be written to at a time, whatever times records claim.
func partition(at, received int64) uint32 {
	if at < received-oldest || at > received+newest {
		return 0
	}
	y, m, _ := time.Unix(0, at).UTC().Date()
	return uint32(y*100 + int(m))
}

// token names one insert. Its repeat after a crash has the same name.
func (p *plan) token(table string, part uint32, chunk int) string {
	b := make([]byte, 0, 64)
	b = append(b, "agentrail/insert/"...)
	b = append(b, table...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, p.shard)
	b = binary.BigEndian.AppendUint64(b, p.from)
	b = binary.BigEndian.AppendUint64(b, p.to)
	b = binary.BigEndian.AppendUint32(b, part)
	b = binary.BigEndian.AppendUint32(b, uint32(chunk))
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// chunks cuts rows into inserts below the bounds.
func chunks(rows []row, bytes func(row) int) [][]row {
	var out [][]row
	start, size := 0, 0
	for i, r := range rows {
		n := bytes(r)
		if i > start && (i-start >= maxInsertRows || size+n > maxInsertBytes) {
			out = append(out, rows[start:i])
			start, size = i, 0
		}
		size += n
	}
	if start < len(rows) {
		out = append(out, rows[start:])
	}
	return out
}

// inKeyOrder returns a copy of the rows in the order of the tables events and
// raw. ClickHouse stores a block that comes sorted as it is; else it sorts it
// and copies every column once more.
func inKeyOrder(rows []row) []row {
	out := slices.Clone(rows)
	slices.SortFunc(out, func(x, y row) int {
		if c := cmp.Compare(x.Tenant, y.Tenant); c != 0 {
			return c
		}
		if c := cmp.Compare(x.Kind, y.Kind); c != 0 {
			return c
		}
		if c := cmp.Compare(x.Time, y.Time); c != 0 {
			return c
		}
		if c := bytes.Compare(x.ID[:], y.ID[:]); c != 0 {
			return c
		}
		return bytes.Compare(x.Digest[:], y.Digest[:])
	})
	return out
}
