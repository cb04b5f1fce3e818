package decode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// selfMapping is the shipped mapping of our own records.
var selfMapping = sync.OnceValues(func() (*Mapping, error) {
	s, err := Open("")
	if err != nil {
		return nil, err
	}
	return s.Mapping(Self)
})

// Own makes a batch of our own records: source "agentrail", one JSON document
// a record, flagged BatchSelf. Kind is alert, control, dead_letter, health,
// head or statement, and also the log name; docs are values of the types of package schemas.
// Ids come from the content, so that a replay that makes the same documents
// makes the same ids.
func Own(tenant string, class schemas.Class, kind string, received int64, docs ...any) (*schemas.Batch, error) {
	m, err := selfMapping()
	if err != nil {
		return nil, err
	}
	if _, ok := m.prog.kinds[kind]; !ok {
		return nil, fmt.Errorf("make own records: %q is no kind of ours", kind)
	}
	var body bytes.Buffer
	for _, d := range docs {
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, fmt.Errorf("make own %s record: %w", kind, err)
		}
		body.Write(raw)
		body.WriteByte('\n')
	}
	b := &schemas.Batch{
		Header: schemas.Header{
			Tenant: tenant, Source: Self, Log: kind, Class: class, ContentType: "application/x-ndjson",
			Received: received, Flags: schemas.BatchSelf,
		},
		Body: body.Bytes(),
	}
	rejects, err := m.Read(b, Limits{RecordBytes: 64 << 20, Keys: 1 << 20, Records: 1 << 20})
	if err != nil {
		return nil, fmt.Errorf("make own %s record: %w", kind, err)
	}
	if len(rejects) > 0 {
		return nil, fmt.Errorf("make own %s record: %s", kind, rejects[0].Reason)
	}
	return b, nil
}

// DeadLetterBytes caps the copy of a record in its dead letter.
const DeadLetterBytes = 64 << 10

// DeadLetters makes the dead letters of records that Read rejected. Offset and
// shard are those of the batch: append it first. The bytes are copies.
func DeadLetters(b *schemas.Batch, rejects []Reject) []schemas.DeadLetter {
	out := make([]schemas.DeadLetter, 0, len(rejects))
	for _, r := range rejects {
		raw := b.Body[r.Start : r.Start+r.Length]
		id := b.Records[r.Index].ID.String()
		out = append(out, schemas.DeadLetter{
			ID: "d" + id, Tenant: b.Tenant, Consumer: b.Source, Shard: b.Shard, Offset: b.Offset, Index: r.Index,
			Line: r.Line, EventID: id, Code: r.Code, Reason: r.Reason,
			Bytes: bytes.Clone(raw[:min(len(raw), DeadLetterBytes)]), Size: len(raw), At: time.Unix(0, b.Received).UTC(),
		})
	}
	return out
}
