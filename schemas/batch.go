package schemas

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"
)

// Header says where a batch came from and how its records are to be read. It
// is stored in every frame.
type Header struct {
	Shard  uint16
	Offset uint64 // sequence number of the batch in its shard, +1 each; set by Append
	ID     ID     // Append of a known batch id returns the old offset; random for intake, see ProducerID
	Tenant string
	Source string // name of the source in the config; "agentrail" for our own
	Log    string // log name or topic within the source; part of the identity of events
	Class  Class

	Decoder        string // which decoder reads Body: json, csv, agentrail, otlp
	DecoderVersion uint16
	Mapping        Digest // of the mapping used at Append; kept content-addressed in the data folder
	ContentType    string // of Body: application/x-ndjson, application/json, ...
	Received       int64  // Unix nanoseconds UTC; set by Append, never goes back within a shard
	Flags          BatchFlags

	Prev Digest // digest of the frame before; set by Append
	Self Digest // digest of this frame; set by Append
}

// BatchFlags say what kind of batch it is. The values are part of frame v1.
type BatchFlags uint16

// Flags of a batch.
const (
	BatchBackfill BatchFlags = 1 << iota // history: alerts on it are shown, never notified or acted on
	BatchSelf                            // appended by a part of Agentrail itself
	BatchTick                            // no records: time goes on
)

// Record is one entry of a frame's record table: where the record lies in the
// body, what it is called and what was decided about it. 64 bytes on disk.
type Record struct {
	Start  uint32 // first byte in Body
	Length uint32 // bytes
	Flags  Flags
	ID     ID
	Digest Digest // SHA-256 of the record's bytes as stored
}

// Batch is what one Append stores and one Next returns: one frame. Body and
// Records are as appended; Events[i] belongs to Records[i] and Events is empty
// only for ticks and gaps. A batch that came from a journal is shared and must
// not be changed.
type Batch struct {
	Header
	Body    []byte
	Records []Record
	Events  []Event
	Gap     *Gap // set instead of everything else where frames were quarantined
}

// Gap stands for frames that could not be read and were set aside.
type Gap struct {
	From, To uint64 // offsets [From, To)
	Reason   string
}

// Live reports whether alerts on the batch may be notified and acted on.
func (b *Batch) Live() bool { return b.Header.Flags&BatchBackfill == 0 }

// Tick reports whether the batch only says that time goes on.
func (b *Batch) Tick() bool { return b.Header.Flags&BatchTick != 0 }

// Accepted yields the events that count, in order.
func (b *Batch) Accepted() iter.Seq[*Event] {
	return func(yield func(*Event) bool) {
		for i := range b.Events {
			if b.Events[i].Accepted() && !yield(&b.Events[i]) {
				return
			}
		}
	}
}

// ProducerID is the batch id of the n-th batch that a part of Agentrail
// appends for the input at that offset. A replay makes the same id, and Append
// answers with the old offset.
func ProducerID(producer string, offset uint64, n uint32) ID {
	b := make([]byte, 0, 64)
	b = append(b, "agentrail/producer/"...)
	b = append(b, producer...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, offset)
	b = binary.BigEndian.AppendUint32(b, n)
	s := sha256.Sum256(b)
	return ID(s[:16])
}
