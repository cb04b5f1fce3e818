package collector

import (
	"context"
	"fmt"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

// Rereader is a Source that can take one of its rejected records again, as it
// was, with the mapping of today.
type Rereader interface {
	// Reread appends the record, or returns why it is rejected again. It takes
	// ownership of the record's bytes.
	Reread(ctx context.Context, tenant string, record []byte) error
}

// Reread implements Rereader.
func (s *intake) Reread(ctx context.Context, tenant string, record []byte) error {
	b := newBatch(tenant, s.name, s.cfg.Log, typeJSON, s.now(), record)
	return reread(ctx, s.read, s.append, b, int(s.cfg.MaxRecord))
}

// Reread implements Rereader.
func (s *file) Reread(ctx context.Context, tenant string, record []byte) error {
	b := newBatch(tenant, s.name, s.cfg.Log, typeJSON, s.now(), record)
	if *s.cfg.Backfill {
		b.Flags |= schemas.BatchBackfill
	}
	return reread(ctx, s.read, s.append, b, int(s.cfg.MaxRecord))
}

// Reread implements Rereader.
func (s *syslog) Reread(ctx context.Context, tenant string, record []byte) error {
	b := newBatch(tenant, s.name, s.cfg.Log, typeJSON, s.now(), record)
	return reread(ctx, s.mapping.Read, s.append, b, int(s.cfg.MaxRecord))
}

// Reread implements Rereader.
func (s *bucketSource) Reread(ctx context.Context, tenant string, record []byte) error {
	m, err := s.mappings.Mapping(s.cfg.Mapping)
	if err != nil {
		return err
	}
	b := newBatch(tenant, s.name, s.cfg.Log, typeJSON, s.now(), record)
	if s.cfg.Backfill {
		b.Flags |= schemas.BatchBackfill
	}
	return reread(ctx, m.Read, s.append, b, int(s.cfg.MaxRecord))
}

// Reread implements Rereader.
func (s *bigquerySource) Reread(ctx context.Context, tenant string, record []byte) error {
	b := newBatch(tenant, s.name, s.cfg.Log, typeJSON, s.now(), record)
	if s.cfg.Backfill {
		b.Flags |= schemas.BatchBackfill
	}
	return reread(ctx, s.mapping.Read, s.append, b, int(s.cfg.MaxRecord))
}

func reread(ctx context.Context, read readFunc, appendTo AppendFunc, b *schemas.Batch, maxRecord int) error {
	rejects, err := read(b, decode.Limits{RecordBytes: maxRecord})
	if err != nil {
		return err
	}
	if len(rejects) > 0 {
		return fmt.Errorf("rejected again: %s", rejects[0].Reason)
	}
	_, err = appendTo(ctx, b)
	return err
}
