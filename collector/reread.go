package collector

import (
	"context"
	"fmt"

	"github.com/agentrail/agentrail/collector/decode"
)

// Rereader is a Source that can take one of its rejected records again, as it
// was, with the mapping of today.
type Rereader interface {
	// Reread appends the record, or returns why it is rejected again.
	Reread(ctx context.Context, tenant string, record []byte) error
}

// Reread implements Rereader.
func (s *intake) Reread(ctx context.Context, tenant string, record []byte) error {
	b := newBatch(tenant, s.name, s.cfg.Log, "application/json", s.now(), record)
	rejects, err := s.read(b, decode.Limits{RecordBytes: int(s.cfg.MaxRecord)})
	if err != nil {
		return err
	}
	if len(rejects) > 0 {
		return fmt.Errorf("rejected again: %s", rejects[0].Reason)
	}
	_, err = s.append(ctx, b)
	return err
}
