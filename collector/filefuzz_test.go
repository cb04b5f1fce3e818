package collector

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

// FuzzFile reads a file of any content to its end: it comes to one, every
// record stands in the file where its position says, and of a plain file all
// bytes are accounted for.
func FuzzFile(f *testing.F) {
	const two = `{"endpoint":"/api/v1/search"}` + "\n" + `{"endpoint":"/api/v1/chat"}`
	packed := &bytes.Buffer{}
	z := gzip.NewWriter(packed)
	if _, err := io.WriteString(z, two); err != nil {
		f.Fatal(err)
	}
	if err := z.Close(); err != nil {
		f.Fatal(err)
	}
	zs, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(two), false)
	f.Add([]byte("["+strings.ReplaceAll(two, "\n", ", ")+"]"), false)
	f.Add([]byte("{\n \"a\": 1\n}\n{\n}\n"), false)
	f.Add(packed.Bytes(), false)
	f.Add(packed.Bytes()[:packed.Len()/2], false)
	f.Add(zs.EncodeAll([]byte(two), nil), false)
	f.Add([]byte("(\xb5/\xfd\x04020\x050"), false) // one byte, very often
	f.Add(bytes.Repeat([]byte("x"), 3000), false)
	f.Add([]byte("[{"+strings.Repeat("[", 3000)), false)
	f.Add([]byte("time,user\n1,\"a\nb\"\n2,\"c\n3,d\n"), true)
	f.Add([]byte("\xef\xbb\xbfsep=;\r\nid;time\r\n1;"+strings.Repeat("x", 3000)+"\r\n2;3\r\n"), true)
	f.Add([]byte("time\n"+strings.Repeat("1\n", 900)), true)
	set, err := decode.Open("")
	if err != nil {
		f.Fatal(err)
	}
	m, err := set.Mapping("audit")
	if err != nil {
		f.Fatal(err)
	}
	rows, err := set.Mapping("csv")
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.TempDir(), "in")
	backfill := true
	s := &file{
		name: "file", append: func(context.Context, *schemas.Batch) (uint64, error) { return 0, nil },
		cfg: fileConfig{Mode: "once", Format: "auto", Tenant: "acme", Backfill: &backfill, Batch: 512, MaxRecord: 1024},
		log: slog.New(slog.DiscardHandler), metrics: newMetrics(prometheus.NewRegistry()), now: time.Now,
	}
	f.Fuzz(func(t *testing.T, content []byte, table bool) {
		m := m
		if s.cfg.Format = "auto"; table {
			s.cfg.Format, s.mapping, m = formatCSV, rows, rows
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := openReading(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		s.state, s.faults = &fileState{byKey: map[fileKey]*place{}}, map[string]string{}
		r.at = s.state.add(r.key, path, nil)
		r.at.saved = true
		s.read = func(b *schemas.Batch, lim decode.Limits) ([]decode.Reject, error) {
			rejects, err := m.Read(b, lim)
			for _, rec := range b.Records {
				_, text, _ := strings.Cut(lim.Position(rec.Start), ":")
				at, perr := strconv.Atoi(text)
				raw := b.Body[rec.Start : rec.Start+rec.Length]
				if perr != nil || r.packed == nil && rec.Flags&schemas.FlagRejected == 0 && !bytes.HasPrefix(content[min(at, len(content)):], raw) {
					t.Errorf("record %q does not stand at %s", raw, text)
				}
			}
			return rejects, err
		}
		for range 10_000 + 2*len(content) { // a packed file may be longer than it looks
			if _, err := s.take(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if r.finished || r.unfit != nil {
				break
			}
		}
		if r.unfit != nil { // no table
			return
		}
		if !r.finished {
			t.Fatalf("no end after %d of %d bytes", r.at.Offset, len(content))
		}
		if kind, err := r.kind(); err == nil && kind == "" && len(bytes.TrimSpace(content[min(int(r.at.Offset), len(content)):])) > 0 {
			t.Errorf("%q was not looked at", content[r.at.Offset:])
		}
	})
}
