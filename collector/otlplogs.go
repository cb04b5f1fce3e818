package collector

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/internal/auth"
)

// logTaker appends the records that log records hold: the body of a log record
// is an audit entry as text, as a file or a queue would hold it, or as a map.
type logTaker struct {
	*spanTaker
	mapping *decode.Mapping
	log     string
}

// consume takes one request: nil when every record that could be read, and a
// dead letter for each that could not, is on disk. What is kept are the bodies;
// the log record around them is transport and is not kept.
func (t *logTaker) consume(ctx context.Context, ld plog.Logs) error {
	p, ok := auth.FromContext(ctx)
	n := noteOf(ctx)
	if !ok || n == nil {
		return status.Error(codes.Unauthenticated, "no caller")
	}
	if err := t.limit(p.Tenant, ld.LogRecordCount()); err != nil {
		return err
	}
	var enc plog.ProtoMarshaler
	share := hold{from: &t.inFlight}
	defer share.release()
	if !share.add(int64(enc.LogsSize(ld))) {
		return comeAgain("too many bytes of other requests are in flight", busyRetry)
	}
	d := deliver(ld)
	if len(d.ends) == 0 {
		return nil
	}
	b := newBatch(p.Tenant, t.name, t.log, typeJSON, t.now(), d.body)
	rejects, err := t.mapping.Read(b, decode.Limits{RecordBytes: int(t.cfg.MaxSpan), Records: t.cfg.MaxSpans, Ends: d.ends})
	if err != nil && !errors.Is(err, decode.ErrNothing) {
		return status.Errorf(codes.InvalidArgument, "%v", err)
	}
	if r := len(rejects); r > 0 && rejects[r-1].Code == decode.CodeTooManyRecords {
		return status.Errorf(codes.InvalidArgument, "the request holds more than the %d records that source %q takes at once; nothing was taken, send smaller batches", t.cfg.MaxSpans, t.name)
	}
	b.ID = batchID(b, "")
	k, err := keep(ctx, t.append, b, rejects)
	if err != nil {
		return t.appendFault(err)
	}
	t.metrics.count(t.name, k, len(d.body), rejects)
	t.spans.spend(p.Tenant, t.now(), len(b.Records))
	t.rejects.spend(p.Tenant, t.now(), sizeOf(rejects))
	if n.rejected = len(rejects); n.rejected > 0 {
		first := d.names[valueAt(d.ends, rejects[0].Start)]
		n.reason = fmt.Sprintf("%d of %d records were rejected; log record %s: %s: %s", len(rejects), len(b.Records), first, rejects[0].Code, rejects[0].Reason)
	}
	return nil
}

// deliver takes the bodies out of the log records. Each is named by its number
// in the request, from 1.
func deliver(ld plog.Logs) *delivery {
	d, i := &delivery{}, 0
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, lr := range sl.LogRecords().All() {
				i++
				var value []byte
				switch body := lr.Body(); body.Type() {
				case pcommon.ValueTypeBytes:
					value = body.Bytes().AsRaw()
				default: // text as it is; a map as JSON with sorted keys
					value = []byte(body.AsString())
				}
				d.add(strconv.Itoa(i), value)
			}
		}
	}
	return d
}
