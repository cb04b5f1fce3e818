package collector

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// batchRecords is how many records of about 650 bytes a request of the
// benchmarks holds: 256 KiB.
const batchRecords = 400

func benchBody() []byte {
	var b bytes.Buffer
	for i := range batchRecords {
		n := b.Len()
		fmt.Fprintf(&b, `{"insertId":"e%06d","timestamp":"2026-08-21T09:15:02.004Z","httpRequest":{"requestMethod":"POST","requestUrl":"/api/v1/executeactiontool","status":200,"remoteIp":"203.0.113.24","userAgent":"agent-sdk-python/2.11.0"},"trace":"projects/p/traces/%032x","spanId":"%016x","jsonPayload":{"endpoint":"/api/v1/executeactiontool","actor":{"type":"USER","userId":"u_%d","email":"user%d@example.com"},"requestId":"req_%08x","statusCode":200,"request":{"name":"jira.create_issue","actionRunId":"ar_%d","x":"`,
			i, i*7, i, i%200, i%200, i, i)
		for b.Len()-n < 640 {
			b.WriteString("résumé budget ")
		}
		b.WriteString("\"}}}\n")
	}
	return b.Bytes()
}

func benchIntake(b *testing.B) *intake {
	b.Helper()
	set, err := decode.Open("")
	if err != nil {
		b.Fatal(err)
	}
	c, err := plug.NewConfig("audit", "audit", "")
	if err != nil {
		b.Fatal(err)
	}
	s, err := Open(b.Context(), c, Deps{
		Append: func(_ context.Context, b *schemas.Batch) (uint64, error) {
			b.Self = schemas.Digest{1}
			return 0, nil
		},
		Decode: set, Log: slog.New(slog.DiscardHandler), Reg: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	return s.(*intake)
}

// cpu returns the processor time that the process has used. Beside other work
// on the machine it says more than the clock.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIntake measures what a record costs from the server's handler on:
// without decoding, with it, and with gzip.
func BenchmarkIntake(b *testing.B) {
	body := benchBody()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(body); err != nil {
		b.Fatal(err)
	}
	if err := z.Close(); err != nil {
		b.Fatal(err)
	}
	bare := func(s *intake) {
		records, events := make([]schemas.Record, batchRecords), make([]schemas.Event, batchRecords)
		s.read = func(b *schemas.Batch, _ decode.Limits) ([]decode.Reject, error) {
			b.Records, b.Events = records, events
			return nil, nil
		}
	}
	f := func(name string, body []byte, encoding string, prepare func(*intake)) {
		b.Run(name, func(b *testing.B) {
			s := benchIntake(b)
			prepare(s)
			ctx := auth.WithPrincipal(b.Context(), &auth.Principal{Name: "bench", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}})
			b.ReportAllocs()
			start := cpu()
			for b.Loop() {
				r := httptest.NewRequestWithContext(ctx, "POST", "/v1/audit", bytes.NewReader(body))
				r.Header.Set("Content-Type", typeNDJSON)
				if encoding != "" {
					r.Header.Set("Content-Encoding", encoding)
				}
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				if w.Code != http.StatusAccepted {
					b.Fatal(w.Body)
				}
			}
			b.ReportMetric(float64(cpu()-start)/float64(b.N*batchRecords), "cpu-ns/record")
			b.ReportMetric(float64(b.N*batchRecords)/b.Elapsed().Seconds(), "events/s")
		})
	}
	f("bare", body, "", bare)
	f("bare-gzip", packed.Bytes(), "gzip", bare)
	f("decoded", body, "", func(*intake) {})
	f("decoded-gzip", packed.Bytes(), "gzip", func(*intake) {})
}
