package decode_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

func tableBatch(contentType, body string) *schemas.Batch {
	b := batch(body)
	b.ContentType = contentType
	return b
}

// A table whose head cannot be read is refused by name, with what to do.
func TestTableRefused(t *testing.T) {
	s := open(t, "")
	m, err := s.Mapping("csv")
	if err != nil {
		t.Fatal(err)
	}
	f := func(name, contentType, body, code, want string) {
		t.Helper()
		b := tableBatch(contentType, body)
		_, err := m.Read(b, decode.Limits{})
		var head *decode.HeadError
		if !errors.Is(err, decode.ErrNothing) || !errors.As(err, &head) || head.Code != code || !strings.Contains(err.Error(), want) || len(b.Records) != 0 {
			t.Errorf("%s: %v, %d records", name, err, len(b.Records))
		}
	}
	f("UTF-16 with a mark", "text/csv", "\xff\xfet\x00i\x00m\x00e\x00", decode.CodeUTF16, "little endian")
	f("UTF-16 turned round", "text/csv", "\xfe\xff\x00t\x00i", decode.CodeUTF16, "iconv -f UTF-16 -t UTF-8")
	f("UTF-16 without a mark", "text/csv", "t\x00i\x00m\x00e\x00", decode.CodeUTF16, `save it as "CSV UTF-8" in Excel`)
	f("nothing", "text/csv", "", decode.CodeBadHead, "no header row")
	f("only a mark", "text/csv", "\xef\xbb\xbf\n", decode.CodeBadHead, "no header row")
	f("a quote without end", "text/csv", "\"time,user\n1,2\n", decode.CodeBadHead, "cannot be split")
	f("a header without end", "text/csv", strings.Repeat("x", 70_000), decode.CodeBadHead, "no end within")
	f("too many columns", "text/csv", "time"+strings.Repeat(",", 3000)+"\n", decode.CodeBadHead, "3001 columns")
	f("strange columns", "text/csv", "foo,bar\n1,2\n", decode.CodeNoColumn, `"foo", "bar"; propose a mapping with: agentrail import --guess`)
	f("an unknown zone", "text/csv; zone=Mars/Olympus", "time\n1\n", decode.CodeBadHead, `zone "Mars/Olympus" is not known`)
	f("a strange delimiter", "text/csv; delimiter=pipe", "time\n1\n", decode.CodeBadHead, "comma, semicolon, tab")
	f("no header", "text/csv; header=absent", "time\n1\n", decode.CodeBadHead, "needs its header row")
	if _, err := m.Read(tableBatch("text/csv", "time,user\n\n,\n"), decode.Limits{}); err == nil || !strings.Contains(err.Error(), "no row") {
		t.Errorf("a table without rows: %v", err)
	}
}

// What is wrong with one row costs no other.
func TestTableRejects(t *testing.T) {
	s := open(t, "")
	m, err := s.Mapping("csv")
	if err != nil {
		t.Fatal(err)
	}
	f := func(name, rows string, want ...string) {
		t.Helper()
		b := tableBatch("text/csv", "id,user,note\n"+rows)
		rejects, _ := m.Read(b, decode.Limits{RecordBytes: 100, Records: 6})
		var got []string
		for i, ev := range b.Events {
			text := ev.SourceID
			if k := slices.IndexFunc(rejects, func(r decode.Reject) bool { return int(r.Index) == i }); k >= 0 {
				text = rejects[k].Code
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	f("a quote that is never closed", "1,\"a,n\n2,b,n\n3,c,n\n", "bad_csv", "2", "3")
	f("a quote that swallows rows", "1,\"a,n\n2,b,n\n3,c,\"n\n4,d,n\n", "bad_csv", "2", "bad_csv", "4")
	f("text behind a quote", "1,\"a\"b,n\n2,b,n\n", "bad_csv", "2")
	f("lines in quotes", "1,\"a\nb\n\nc\",n\n2,b,n\n", "1", "2")
	f("a long row", "1,"+strings.Repeat("x", 200)+",n\n2,b,n\n", "record_too_large", "2")
	f("long quotes", "1,\""+strings.Repeat("x\n", 60)+"\",n\n", "bad_csv", "short_row", "short_row", "short_row", "short_row", "short_row", "too_many_records")
	f("a row that is short of what is read", "1\n2,b\n3,c,n\n", "short_row", "2", "3")
	f("more cells", "1,a,n,more,cells\n", "1")
	f("lone carriage returns are text", "1,a\rb,n\r2,b,n\n", "1")
	f("no line end", "1,a,n", "1")
	f("half a line end", "1,a,n\r", "1")
	f("blank rows", "\n\r\n  \n1,a,n\n,,\n\"\",,\n2,a,n\n", "1", "2")
	f("zero bytes", "1,a\x00b,n\n2,b,n\n", "1", "2")
	f("no valid UTF-8", "1,M\xfcller,n\n2,b,n\n", "1", "2")
	f("too many", strings.Repeat("1,a,n\n", 9), "1", "1", "1", "1", "1", "1", "too_many_records")
}

// A frame is read again as it was read first, whatever the defaults are by then.
func TestTableAgain(t *testing.T) {
	dir := t.TempDir()
	mine := write(t, "version: 1\nname: csv\nformat: csv\nfields: {actor: [Who?], time: {from: [When.Was.It], layout: [DD/MM/YYYY h:mm A], zone: Asia/Tokyo}}\nkind: {const: x}\n")
	s := open(t, dir, mine)
	m, err := s.Mapping("csv")
	if err != nil {
		t.Fatal(err)
	}
	for _, zone := range []string{"", "; zone=Europe/Berlin"} {
		b := tableBatch("text/csv"+zone, "when was it\tWHO\tid\n\"3/4/2026 9:15 AM\"\t\"a \"\"b\"\"\"\t1\n13/4/2026\tc\t2\nx\n")
		if _, err := m.Read(b, decode.Limits{}); err != nil {
			t.Fatal(err)
		}
		want := time.Date(2026, 4, 3, 0, 15, 0, 0, time.UTC)
		if zone != "" {
			want = time.Date(2026, 4, 3, 7, 15, 0, 0, time.UTC)
		}
		if ev := b.Events[0]; ev.Time != want.UnixNano() || ev.Actor != `a "b"` || b.Decoder != decode.CSV || !strings.Contains(b.ContentType, "delimiter=tab") {
			t.Errorf("%s by %s %q: %s by %q", b.Decoder, b.ContentType, zone, ev.When(), ev.Actor)
		}
		if ev := b.Events[1]; ev.Flags&schemas.FlagTimeMissing == 0 {
			t.Errorf("a time that the layout does not allow: %s", ev.When())
		}
		if diff := cmp.Diff(b.Events, again(t, open(t, dir), b)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestLayouts(t *testing.T) {
	for layout, want := range map[string]string{
		"DD/MM":      "it needs a year and a day",
		"yyyy-MM-DD": "is none of YYYY",
		"":           "it needs a year",
	} {
		_, err := decode.Open("", write(t, "version: 1\nname: x\nfields: {time: {from: [a], layout: ["+`"`+layout+`"`+"]}}\nkind: {const: x}\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("layout %q: %v", layout, err)
		}
	}
	if _, err := decode.Open("", write(t, "version: 1\nname: x\nformat: xml\nfields: {time: {from: [a], zone: Mars}}\nkind: {const: x}\n")); err == nil ||
		!strings.Contains(err.Error(), `format "xml"`) || !strings.Contains(err.Error(), `zone "Mars"`) {
		t.Error(err)
	}
}

// Nothing is looked up in a row, also if it looks like JSON.
func TestRowsAreNotJSON(t *testing.T) {
	m, err := open(t, "").Mapping("csv")
	if err != nil {
		t.Fatal(err)
	}
	b := tableBatch("text/csv", "user\n{\"canary\":1}\n")
	if _, err := m.Read(b, decode.Limits{}); err != nil {
		t.Fatal(err)
	}
	if v, ok := b.Events[0].Lookup("canary"); ok {
		t.Errorf("found %+v", v)
	}
}

// FuzzTable reads any bytes as a table: the records lie in the body in order,
// a second reading makes the same events, and where encoding/csv finds rows
// too, they are the same. The work is bounded: see TestTableIsLinear.
func FuzzTable(f *testing.F) {
	for _, s := range []string{
		"id,user\n1,a\n2,\"b\"\"c\"\r\n", "sep=;\nid;time\n1;8/21/2026 9:15\n", "\xef\xbb\xbfid\ttime\n1\t46255.5\n", "id,time\n1,\"a\n2,b\n",
		"user\n\"a\nb\"\n", "id,user\n\"\",\n", "id,id\n1,2\n",
	} {
		f.Add([]byte(s))
	}
	set, err := decode.Open("")
	if err != nil {
		f.Fatal(err)
	}
	m, err := set.Mapping("csv")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := tableBatch("text/csv", string(body))
		_, err := m.Read(b, decode.Limits{RecordBytes: 1 << 10})
		at := 0
		for _, r := range b.Records {
			if int(r.Start) < at || int(r.Start+r.Length) > len(body) {
				t.Fatalf("record at %d, %d long, behind %d", r.Start, r.Length, at)
			}
			at = int(r.Start + r.Length)
		}
		if len(b.Records) > 0 {
			if diff := cmp.Diff(b.Events, again(t, set, b)); diff != "" {
				t.Fatal(diff)
			}
		}
		h, _, herr := decode.ReadHead(body, decode.Dialect{}, true)
		if herr != nil {
			if err == nil {
				t.Fatal(herr)
			}
			return
		}
		var got [][]string
		clean := true
		h.Rows(body[h.Size:], 1<<20, func(_, _ int, cells []string, code, _ string) bool {
			got, clean = append(got, cells), code == ""
			return clean
		})
		if clean {
			compareRows(t, h, body[h.Size:], got)
		}
	})
}

func compareRows(t *testing.T, h *decode.Head, rows []byte, got [][]string) {
	r := csv.NewReader(bytes.NewReader(rows))
	r.Comma, r.FieldsPerRecord = rune(h.Delimiter), -1
	want, err := r.ReadAll()
	if err != nil {
		return // it is stricter: no quotes inside cells
	}
	want = slices.DeleteFunc(want, func(cells []string) bool {
		return !slices.ContainsFunc(cells, func(s string) bool { return strings.TrimSpace(s) != "" })
	})
	// It trims nothing and makes \r\n in quotes \n.
	same := cmp.Comparer(func(a, b string) bool {
		norm := func(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n")) }
		return norm(a) == norm(b)
	})
	if diff := cmp.Diff(want, got, same); diff != "" && len(want)+len(got) > 0 {
		t.Fatalf("encoding/csv sees other rows: %s", diff)
	}
}

// Quotes that are never closed make no row be looked at again and again: this
// would not end within the time of a test if they did.
func TestTableIsLinear(t *testing.T) {
	m, err := open(t, "").Mapping("csv")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"a\",\"b\n", "\"\n", ",\"x\"\",\n", "\"\"\"a\n"} {
		head := "id" + strings.Repeat(",c", 1500) + ",user\n"
		b := tableBatch("text/csv", head+strings.Repeat(line, 1<<18))
		if _, err := m.Read(b, decode.Limits{Records: 1 << 20}); err == nil {
			t.Errorf("%q was read", line)
		}
	}
}
