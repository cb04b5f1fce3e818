package collector

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/schemas"
)

// tableType reads a content type of a table.
func tableType(header string) (media string, table bool, err error) {
	d, table, err := decode.ParseDialect(header)
	if !table || err != nil {
		return "", table, err
	}
	return d.ContentType(), true, nil
}

// reader returns what reads the request: the mapping that its parameter names,
// by name or digest, among those that the server knows; else that of the
// source, of which a table has one of its own.
func (s *intake) reader(r *http.Request, table bool) (readFunc, *problem.Details) {
	name := ""
	if r.URL.RawQuery != "" {
		name = r.URL.Query().Get("mapping")
	}
	if name == "" && !table {
		return s.read, nil
	}
	if name == "" {
		name = s.cfg.CSVMapping
	}
	m, err := s.mapping(name)
	if err != nil {
		return nil, &problem.Details{Status: http.StatusBadRequest, Code: "unknown_mapping", Detail: err.Error()}
	}
	return m.Read, nil
}

func (s *intake) mapping(name string) (*decode.Mapping, error) {
	if raw, err := hex.DecodeString(name); err == nil && len(raw) == len(schemas.Digest{}) {
		m, err := s.mappings.ByDigest(schemas.Digest(raw))
		if err != nil { // which names files of the server
			return nil, fmt.Errorf("there is no mapping with the digest %s; list its file under `mappings:`", name)
		}
		return m, nil
	}
	return s.mappings.Mapping(name)
}

// maxFileID caps the name of a file in Agentrail-Position.
const maxFileID = 128

// position reads the header Agentrail-Position: FILE:BASE. It says that the
// byte at n of the body is the byte at BASE+n of that file, which is what names
// records without an id of their own, as in files. Nil if there is none.
func position(r *http.Request) (func(uint32) string, *problem.Details) {
	v := r.Header.Get("Agentrail-Position")
	if v == "" {
		return nil, nil
	}
	i := strings.LastIndexByte(v, ':')
	base, err := strconv.ParseInt(v[i+1:], 10, 64)
	if i < 1 || i > maxFileID || err != nil {
		return nil, &problem.Details{
			Status: http.StatusBadRequest, Code: "bad_parameter",
			Detail: fmt.Sprintf("Agentrail-Position is %.200q; write FILE:BASE, where BASE is a number of bytes", v),
		}
	}
	file := "import/" + v[:i] + ":"
	return func(start uint32) string { return file + strconv.FormatInt(base+int64(start), 10) }, nil
}

// TableRereader is a Source that can take a rejected row of a table again.
type TableRereader interface {
	// RereadTable appends the row, which stands in a table of its own behind
	// the head of b's, or returns why it is rejected again.
	RereadTable(ctx context.Context, b *schemas.Batch, table []byte) error
}

// RereadTable implements TableRereader.
func (s *intake) RereadTable(ctx context.Context, b *schemas.Batch, table []byte) error {
	m, err := s.mappings.Today(b.Mapping)
	if err != nil {
		return err
	}
	again := newBatch(b.Tenant, s.name, s.cfg.Log, b.ContentType, s.now(), table)
	again.Flags |= b.Header.Flags & schemas.BatchBackfill
	return reread(ctx, m.Read, s.append, again, int(s.cfg.MaxRecord))
}

// RereadTable implements TableRereader.
func (s *file) RereadTable(ctx context.Context, b *schemas.Batch, table []byte) error {
	again := newBatch(b.Tenant, s.name, s.cfg.Log, b.ContentType, s.now(), table)
	again.Flags |= b.Header.Flags & schemas.BatchBackfill
	return reread(ctx, s.read, s.append, again, int(s.cfg.MaxRecord))
}
