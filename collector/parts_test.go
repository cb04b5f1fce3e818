package collector_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

// parts cuts the file and checks that every part stands where it says.
func parts(t testing.TB, packed, plain []byte, csv bool) (*collector.Parts, []collector.Part) {
	t.Helper()
	p, err := collector.NewParts(bytes.NewReader(packed), csv, decode.Dialect{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var all []collector.Part
	at := int64(0)
	if p.Head != nil {
		at = int64(p.Head.Size)
	}
	for {
		part, err := p.Next()
		if errors.Is(err, io.EOF) {
			return p, all
		}
		if err != nil {
			t.Fatal(err)
		}
		if part.From < at || part.To <= part.From || part.To > int64(len(plain)) {
			t.Fatalf("part from %d to %d behind %d of %d", part.From, part.To, at, len(plain))
		}
		at = part.To
		for n, c := range part.Body {
			place := part.Base + int64(n)
			if p.Head != nil && n < p.Head.Size || p.Kind == "json" && (n == 0 || n == len(part.Body)-1) {
				continue // the head, and the brackets of a list
			}
			if place < part.From || place >= part.To || plain[place] != c {
				t.Fatalf("byte %d of the part is not byte %d of the file", n, place)
			}
		}
		all = append(all, part)
	}
}

func TestParts(t *testing.T) {
	var lines, list, table strings.Builder
	table.WriteString("time,user,note\n")
	for i := range 50_000 {
		fmt.Fprintf(&lines, `{"timestamp":%d,"note":"%s"}`+"\n", i, strings.Repeat("x", i%100))
		fmt.Fprintf(&list, "  {\n \"timestamp\": %d},\n", i)
		fmt.Fprintf(&table, "%d,u,\"two\nlines %s\"\n", i, strings.Repeat("x", i%100))
	}
	f := func(name, kind, plain string, records int) {
		t.Helper()
		zs, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		var gz bytes.Buffer
		zw := gzip.NewWriter(&gz)
		_, _ = io.WriteString(zw, plain)
		_ = zw.Close()
		for _, packed := range [][]byte{[]byte(plain), gz.Bytes(), zs.EncodeAll([]byte(plain), nil)} {
			p, all := parts(t, packed, []byte(plain), false)
			if p.Kind != kind || len(p.Skipped) > 0 {
				t.Errorf("%s: %s, %d skipped", name, p.Kind, len(p.Skipped))
			}
			set, err := mappings()
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, part := range all {
				m, err := set.Mapping("audit")
				if kind == "csv" {
					m, err = set.Mapping("csv")
				}
				if err != nil {
					t.Fatal(err)
				}
				b := &schemas.Batch{Header: schemas.Header{Tenant: "acme", ContentType: part.ContentType}, Body: part.Body}
				rejects, err := m.Read(b, decode.Limits{})
				if err != nil || len(rejects) > 0 {
					t.Fatalf("%s: part from %d: %v %v", name, part.From, err, rejects)
				}
				n += len(b.Records)
				if want := strings.Count(plain[:part.Base+int64(b.Records[0].Start)], "\n"); part.Line+bytes.Count(part.Body[:b.Records[0].Start], []byte("\n")) != want {
					t.Errorf("%s: part from %d is on line %d, want %d", name, part.From, part.Line, want)
				}
			}
			if n != records || records > 1 && len(all) < 2 {
				t.Errorf("%s: %d records in %d parts", name, n, len(all))
			}
		}
	}
	f("lines", "ndjson", lines.String(), 50_000)
	f("a list", "json", "[\n"+strings.TrimSuffix(list.String(), ",\n")+"\n]\n", 50_000)
	f("objects over lines", "json", strings.ReplaceAll(list.String(), "},", "}"), 50_000)
	f("a table", "csv", table.String(), 50_000)
	f("a table without a last line end", "csv", "time,user\n1,u", 1)
	f("one record", "ndjson", `{"timestamp":1}`, 1)
}

// The same bytes are cut at the same places; a part can be skipped to.
func TestPartsAreStable(t *testing.T) {
	text := "time,user\n" + strings.Repeat("1787303704,u\n", 100_000)
	p, all := parts(t, []byte(text), []byte(text), false)
	grown, more := parts(t, []byte(text+"1,u\n"), []byte(text+"1,u\n"), false)
	if p.ID != grown.ID || len(all) < 3 || more[1].From != all[1].From {
		t.Errorf("%s and %s, %d parts", p.ID, grown.ID, len(all))
	}
	again, err := collector.NewParts(strings.NewReader(text), false, decode.Dialect{})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Skip(all[1].To); err != nil {
		t.Fatal(err)
	}
	part, err := again.Next()
	if err != nil || part.From != all[2].From || !bytes.Equal(part.Body, all[2].Body) {
		t.Errorf("part from %d, %v", part.From, err)
	}
	if err := again.Skip(1 << 30); err == nil || !strings.Contains(err.Error(), "before byte 1073741824 where it was left") {
		t.Error(err)
	}
}

func TestPartsFaults(t *testing.T) {
	f := func(name, text, want string) {
		t.Helper()
		p, err := collector.NewParts(strings.NewReader(text), false, decode.Dialect{})
		for err == nil {
			_, err = p.Next()
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var gz bytes.Buffer
	zw := gzip.NewWriter(&gz)
	for i := range 10_000 {
		fmt.Fprintf(zw, `{"timestamp":%d}`+"\n", i)
	}
	_ = zw.Close()
	f("half a gzip", gz.String()[:gz.Len()/2], "packed data break off")
	f("no gzip", "\x1f\x8b\x00", "read gzip")
	f("UTF-16", "\xff\xfet\x00", "iconv")
	f("nothing", "", "no header row")

	long := `{"a":"` + strings.Repeat("x", 17<<20) + "\"}\n{\"b\":1}\n"
	p, all := parts(t, []byte(long), []byte(long), false)
	if len(all) != 1 || !strings.HasSuffix(string(all[0].Body), "\n{\"b\":1}\n") || len(p.Skipped) == 0 {
		t.Errorf("%d parts, %d skipped", len(all), len(p.Skipped))
	}
}

func FuzzParts(f *testing.F) {
	for _, s := range []string{"{\"a\":1}\n{\"b\":2}", "[{},{\n}]", "time,user\n1,\"a\n\"\n", "{\n}\n{\n}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := collector.NewParts(bytes.NewReader(text), false, decode.Dialect{}); err == nil && !bytes.HasPrefix(text, []byte("\x1f\x8b")) && !bytes.HasPrefix(text, []byte("\x28\xb5\x2f\xfd")) {
			parts(t, text, text, false)
		}
	})
}
