// Package journaltest holds what every implementation of journal.Journal must
// do, and makes batches to do it with.
package journaltest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Batch returns a batch of n activity records; name and position make their
// ids and bytes, so two batches of the same name hold the same events.
func Batch(name string, n int) *schemas.Batch {
	b := &schemas.Batch{Header: schemas.Header{
		Tenant: "acme", Source: "audit", Log: "test", Class: schemas.ClassActivity,
		Decoder: "journaltest", DecoderVersion: 1, ContentType: "application/x-ndjson",
	}}
	for i := range n {
		Add(b, sha256.Sum256(fmt.Appendf(nil, "%s/%d", name, i)), fmt.Sprintf(`{"name":%q,"n":%d}`, name, i))
	}
	return b
}

// Add appends a record to the batch. The first 16 bytes of seed are its id.
func Add(b *schemas.Batch, seed [32]byte, raw string) {
	start := len(b.Body)
	b.Body = append(append(b.Body, raw...), '\n')
	b.Records = append(b.Records, schemas.Record{
		Start: uint32(start), Length: uint32(len(raw)), ID: schemas.ID(seed[:16]), Digest: sha256.Sum256([]byte(raw)),
	})
	if err := Decode(b); err != nil {
		panic("BUG: " + err.Error())
	}
}

// Decode fills Events from Records: kind "test", the record as Raw.
func Decode(b *schemas.Batch) error {
	if b.Decoder != "journaltest" && b.Decoder != "agentrail" {
		return fmt.Errorf("unknown decoder %q", b.Decoder)
	}
	b.Events = make([]schemas.Event, len(b.Records))
	for i, r := range b.Records {
		b.Events[i] = schemas.Event{
			ID: r.ID, Digest: r.Digest, Flags: r.Flags, Index: uint32(i), Class: b.Class, Tenant: b.Tenant, Source: b.Source,
			Kind: "test", Time: time.Date(2026, 1, 2, 3, 4, 5, i, time.UTC).UnixNano(), Received: b.Received,
			Raw: b.Body[r.Start : r.Start+r.Length],
		}
		if b.Decoder == "agentrail" {
			b.Events[i].Kind = b.Log
		}
	}
	return nil
}

// Own makes a batch of Agentrail's own events, as decode.Own does. The kind
// travels in Log.
func Own(tenant string, class schemas.Class, kind string, received int64, docs ...any) (*schemas.Batch, error) {
	b := &schemas.Batch{Header: schemas.Header{
		Tenant: tenant, Source: "agentrail", Log: kind, Class: class, Received: received,
		Decoder: "agentrail", DecoderVersion: 1, ContentType: "application/x-ndjson", Flags: schemas.BatchSelf,
	}}
	for i, d := range docs {
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		Add(b, sha256.Sum256(fmt.Appendf(nil, "%s/%d/%s", kind, i, raw)), string(raw))
	}
	return b, nil
}
