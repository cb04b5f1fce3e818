package collector_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc/metadata"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// benchTraces is a request as telemetrygen makes it by default: 100 spans, in
// pairs of a client's and a server's.
func benchTraces(n int) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "telemetrygen")
	rs.SetSchemaUrl("https://opentelemetry.io/schemas/1.38.0")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("telemetrygen")
	for i := range 100 {
		s := ss.Spans().AppendEmpty()
		s.SetTraceID(pcommon.TraceID{0: 1, 8: byte(n >> 16), 9: byte(n >> 8), 10: byte(n), 15: byte(i / 2)})
		s.SetSpanID(pcommon.SpanID{0: byte(n >> 16), 1: byte(n >> 8), 2: byte(n), 7: byte(i + 1)})
		s.SetName("lets-go")
		s.SetKind(ptrace.SpanKindClient)
		s.SetStartTimestamp(pcommon.Timestamp(otlpNow.UnixNano()))
		s.SetEndTimestamp(pcommon.Timestamp(otlpNow.UnixNano() + 123_000))
		s.Attributes().PutStr("network.peer.address", "1.2.3.4")
		s.Attributes().PutStr("peer.service", "telemetrygen-server")
		if i%2 == 1 {
			s.SetName("okey-dokey-0")
			s.SetKind(ptrace.SpanKindServer)
			s.Attributes().PutStr("peer.service", "telemetrygen-client")
		}
	}
	return td
}

// BenchmarkOTLP measures what a span costs from the caller's request to the
// answer, the caller's part included: over gRPC into a journal on disk, which
// syncs, and without the disk.
func BenchmarkOTLP(b *testing.B) {
	run := func(b *testing.B, append func(b *testing.B) (srv otlpServer)) {
		srv := append(b)
		ctx := metadata.AppendToOutgoingContext(b.Context(), "authorization", "Bearer good")
		c := ptraceotlp.NewGRPCClient(srv.dial(b))
		before := cpuTime(b)
		for n := 0; b.Loop(); n++ {
			if _, err := c.Export(ctx, ptraceotlp.NewExportRequestFromTraces(benchTraces(n))); err != nil {
				b.Fatal(err)
			}
		}
		spans := float64(b.N * 100)
		b.ReportMetric(spans/(cpuTime(b)-before).Seconds(), "spans/cpu-s")
		b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/spans, "cpu-ns/span")
	}
	b.Run("journal", func(b *testing.B) {
		run(b, func(b *testing.B) otlpServer {
			set, err := mappings()
			if err != nil {
				b.Fatal(err)
			}
			j, err := journal.OpenDisk(context.Background(), journal.Options{Dir: b.TempDir(), Decode: set.Decode, ReserveBytes: -1, Tick: -1})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { j.Close() })
			return startOTLP(b, "", j.Append)
		})
	})
	b.Run("memory", func(b *testing.B) {
		run(b, func(b *testing.B) otlpServer {
			return startOTLP(b, "", func(_ context.Context, b *schemas.Batch) (uint64, error) { b.Self = schemas.Digest{1}; return 0, nil })
		})
	})
	b.Run("caller", func(b *testing.B) { // what making the requests costs
		before := cpuTime(b)
		for n := 0; b.Loop(); n++ {
			if _, err := ptraceotlp.NewExportRequestFromTraces(benchTraces(n)).MarshalProto(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N*100), "cpu-ns/span")
	})
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
