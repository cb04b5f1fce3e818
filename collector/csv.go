package collector

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/internal/plug"
)

// The source csv reads files of rows, such as the Admin Console's export of the
// audit log. It is the source file with other defaults: format csv, mode once
// and, whatever the mode, backfill true.
func init() {
	Register("csv", func(_ context.Context, c plug.Config, d Deps) (Source, error) {
		history := true
		return newFile(c, d, fileConfig{Mode: "once", Format: formatCSV, Backfill: &history})
	})
}

const formatCSV = "csv"

// cutRows takes whole rows from the data at r's place. The head of the table is
// taken first, as a chunk without records; the body of each later one begins
// with it.
func (s *file) cutRows(r *reading, c chunk, data []byte, end bool) (_ chunk, more bool) {
	if r.at.Table == nil {
		head, more, err := decode.ReadHead(data, s.cfg.dialect, end)
		if err == nil && !more {
			err = s.mapping.CheckHead(head)
		}
		if err != nil || more {
			r.unfit = err
			return c, more
		}
		r.table, r.at.Table = head, bytes.Clone(data[:head.Size])
		c.used = head.Size
		return c, false
	}
	if r.table == nil {
		head, _, err := decode.ReadHead(r.at.Table, s.cfg.dialect, true)
		if err == nil {
			err = s.mapping.CheckHead(head)
		}
		if err != nil { // the config has changed
			r.unfit = err
			return c, false
		}
		r.table = head
	}
	c.used = r.table.Cut(data, maxLines, int(s.cfg.MaxRecord), end)
	if c.used == 0 && len(data) > int(s.cfg.MaxRecord) {
		c.used, c.long = int(s.cfg.MaxRecord)+1, true
	}
	if c.used == 0 {
		return c, true
	}
	c.body = slices.Concat(r.at.Table, data[:c.used])
	c.starts = []span{{body: int64(len(r.at.Table)), file: c.from}}
	return c, false
}

// refuseTable parks one dead letter about a table that cannot be read, and
// leaves it where it is: it is tried again when the file or the config changes.
func (s *file) refuseTable(ctx context.Context, r *reading, data []byte) error {
	s.fault(r.path, r.unfit)
	code := decode.CodeBadHead
	if e, ok := errors.AsType[*decode.HeadError](r.unfit); ok {
		code = e.Code
	}
	c := chunk{from: r.at.Offset, body: data[:min(len(data), decode.DeadLetterBytes)]}
	return s.parkPlace(ctx, r, c, code, r.unfit.Error())
}

// refused reports whether the file is one that could not be read as a table and
// has not changed since.
func (r *reading) refused() bool {
	if r.unfit == nil {
		return false
	}
	info, err := r.f.Stat()
	if err == nil && info.Size() == r.size && info.ModTime().UnixNano() == r.mtime {
		return true
	}
	r.unfit = nil
	return false
}
