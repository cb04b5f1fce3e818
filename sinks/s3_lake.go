package sinks

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// lakeConfig is for layout: security_lake, which writes OCSF as Parquet where
// Amazon Security Lake looks for a custom source: files of one class and one
// day each, zstd, sorted by time. Attributes of the class are columns;
// unmapped is JSON. Assume the provider's role with its external id by a
// profile of the AWS tools.
type lakeConfig struct {
	// Source is the name of the custom source; {class} stands for the number
	// of the OCSF class, since each source of a lake holds one class.
	Source string `yaml:"source"`
	// Account is the AWS account in the path.
	Account string `yaml:"account"`
}

var (
	lakeSource  = regexp.MustCompile(`^[A-Za-z0-9_.-]*\{class\}[A-Za-z0-9_.-]*$`)
	lakeAccount = regexp.MustCompile(`^[0-9]{12}$`)
)

// check sets what the layout decides.
func (l *lakeConfig) check(c *s3Config) error {
	if !lakeSource.MatchString(l.Source) || len(strings.Replace(l.Source, "{class}", "6003", 1)) > 20 {
		return fmt.Errorf("lake.source: %q is not a name of up to 20 letters, digits and _.- with {class} for the number of the class", l.Source)
	}
	if !lakeAccount.MatchString(l.Account) {
		return fmt.Errorf("lake.account: %q is not the 12 digits of an account", l.Account)
	}
	switch c.Common.Format {
	case DefaultCommon().Format:
		c.Common.Format = "ocsf"
	case "ocsf":
	default:
		return errors.New("format: the layout security_lake is OCSF; leave it out")
	}
	if c.Key != "" {
		return errors.New("key: the layout security_lake has its own")
	}
	return nil
}

// lakeFile names what goes into one file.
type lakeFile struct {
	class int
	day   string // eventDay
}

func lakeFileOf(ev *schemas.Event) lakeFile {
	return lakeFile{class: format.OCSFClass(ev), day: ev.When().Format("20060102")}
}

// lakeRow is one event, encoded.
type lakeRow struct {
	at   int // in the write
	time int64
	doc  []byte
}

// writeLake stores the events, by class and day. A file is named by the range
// of its own events: where some are stored and one fails, the events of those
// that are not are written again, to the same keys.
func (s *s3Sink) writeLake(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	receipt := Receipt{Confirm: stored}
	files := map[lakeFile][]lakeRow{}
	for i := range evs {
		ev := &evs[i]
		doc := s.format(nil, ev)
		if i > 0 && (ev.Shard != evs[0].Shard || receipt.Bytes+len(doc) > int(s.conf.Common.Batch.MaxBytes)) {
			break
		}
		receipt.Events, receipt.Bytes = i+1, receipt.Bytes+len(doc)
		f := lakeFileOf(ev)
		files[f] = append(files[f], lakeRow{i, ev.Time, doc})
	}
	order := make([]lakeFile, 0, len(files))
	for f := range files {
		order = append(order, f)
	}
	slices.SortFunc(order, func(a, b lakeFile) int { return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.day, b.day)) })
	for i, f := range order {
		we := s.putLake(ctx, f, evs, files[f])
		if we == nil {
			continue
		}
		if i == 0 {
			return receipt, we
		}
		e := &WriteError{Kind: KindPartial, Code: we.Code, RetryAfter: we.RetryAfter, Err: we.Err}
		for _, left := range order[i:] {
			for _, r := range files[left] {
				e.Again = append(e.Again, r.at)
			}
		}
		slices.Sort(e.Again)
		return receipt, e
	}
	return receipt, nil
}

// putLake stores one file, or returns what went wrong.
func (s *s3Sink) putLake(ctx context.Context, f lakeFile, evs []schemas.Event, rows []lakeRow) *WriteError {
	key := s.lakeKey(f, s3Span(&evs[rows[0].at], &evs[rows[len(rows)-1].at]))
	body, err := encodeLake(f.class, rows)
	if err != nil {
		return &WriteError{Kind: KindRefused, Code: "encode", Err: err}
	}
	if _, err := s.client.PutObject(ctx, s.object(key, "application/vnd.apache.parquet", body)); err != nil {
		return s3Failure(ctx, err)
	}
	return nil
}

func (s *s3Sink) lakeKey(f lakeFile, span string) string {
	source := strings.Replace(s.conf.Lake.Source, "{class}", strconv.Itoa(f.class), 1)
	return fmt.Sprintf("ext/%s/region=%s/accountId=%s/eventDay=%s/%s.parquet", source, s.conf.Region, s.conf.Lake.Account, f.day, span)
}

// encodeLake returns the rows as a file of the class.
func encodeLake(class int, rows []lakeRow) ([]byte, error) {
	slices.SortStableFunc(rows, func(a, b lakeRow) int { return cmp.Compare(a.time, b.time) })
	switch class {
	case 6003:
		return lakeRows[lakeActivity](rows)
	case 3004:
		return lakeRows[lakeEntity](rows)
	case 2004:
		return lakeRows[lakeFinding](rows)
	}
	return lakeRows[lakeBase](rows)
}

func lakeRows[T any](rows []lakeRow) ([]byte, error) {
	typed := make([]T, len(rows))
	for i, r := range rows {
		if err := json.Unmarshal(r.doc, &typed[i]); err != nil {
			return nil, fmt.Errorf("read event %d as columns: %w", i, err)
		}
	}
	var out bytes.Buffer
	w := parquet.NewGenericWriter[T](&out, parquet.Compression(&parquet.Zstd), parquet.CreatedBy("agentrail", "1", ""), parquet.SortingWriterConfig(parquet.SortingColumns(parquet.Ascending("time"))))
	if _, err := w.Write(typed); err != nil {
		return nil, fmt.Errorf("write columns: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write columns: %w", err)
	}
	return out.Bytes(), nil
}

// lakeJSON keeps a JSON value as its text.
type lakeJSON string

// UnmarshalJSON takes the text as it is.
func (l *lakeJSON) UnmarshalJSON(text []byte) error {
	*l = lakeJSON(text)
	return nil
}
