package collector_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// disk opens a real journal in a folder of the test.
func disk(t testing.TB) *journal.Disk {
	t.Helper()
	set, err := mappings()
	if err != nil {
		t.Fatal(err)
	}
	d, err := journal.OpenDisk(context.Background(), journal.Options{
		Dir: t.TempDir(), Decode: set.Decode, Log: slog.New(slog.DiscardHandler), Reg: prometheus.NewRegistry(),
		MaxBytes: 1 << 30, ReserveBytes: 8 << 20, SegmentBytes: 64 << 20, Tick: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// TestBadInput sends each hostile record between two good ones through the real
// handler, decoder and journal. Each gets its documented answer; the good ones
// are taken in any case.
func TestBadInput(t *testing.T) {
	d := disk(t)
	srv := serve(t, open(t, "audit", "", d.Append))
	cur, err := d.Open(t.Context(), "test", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	n := 0
	f := func(name, bad, code string, flags schemas.Flags) {
		t.Helper()
		n++
		before, after := record(fmt.Sprintf("before-%d", n)), record(fmt.Sprintf("after-%d", n))
		got := post(t, srv.URL+"/v1/audit", strings.NewReader(before+"\n"+bad+"\n"+after+"\n"))
		if got.Status != 202 {
			t.Errorf("%s: %+v", name, got)
			return
		}
		b := next(t, cur, schemas.ClassActivity)
		raws := []string{}
		for ev := range b.Accepted() {
			raws = append(raws, string(ev.Raw))
		}
		if !slices.Contains(raws, before) || !slices.Contains(raws, after) {
			t.Errorf("%s: a neighbour was not taken", name)
		}
		if code == "" {
			if got.Accepted != 3 || b.Records[1].Flags&flags != flags {
				t.Errorf("%s: %d accepted, flags %v; want 3 and %v", name, got.Accepted, b.Records[1].Flags.Names(), flags.Names())
			}
			return
		}
		if got.Accepted != 2 || got.RejectedTotal != 1 || got.Rejected[0].Code != code || got.Rejected[0].Line != 2 || int(got.Rejected[0].Offset) != len(before)+1 {
			got.Header = nil
			t.Errorf("%s: %+v, want %s at line 2", name, got, code)
			return
		}
		l := next(t, cur, schemas.ClassHealth)
		if l.Records[0].Length == 0 || l.Events[0].Kind != "dead_letter" {
			t.Errorf("%s: no dead letter follows", name)
		}
	}
	entry := func(fields string) string {
		return fmt.Sprintf(`{"insertId":"bad-%d",%s,"jsonPayload":{"endpoint":"/api/v1/search"}}`, n, fields)
	}
	const when = `"timestamp":"2026-08-21T09:15:02Z"`
	f("duplicate key", entry(when+`,`+when), "", schemas.FlagDuplicateKey)
	f("case-twin key", entry(when+`,"Timestamp":"2026-08-21T09:15:02Z"`), "", schemas.FlagCaseTwin)
	f("invalid UTF-8", entry(when+`,"x":"`+"\xff\xfe"+`"`), "", schemas.FlagBadUTF8)
	f("lone surrogate", entry(when+`,"x":"\ud800"`), "", schemas.FlagBadUTF8)
	f("escaped NUL", entry(when+`,"x":"\u0000"`), "", schemas.FlagControlChar)
	f("raw NUL", entry(when+`,"x":"`+"\x00"+`"`), "bad_json", 0)
	f("depth 64", entry(when+`,"x":`+strings.Repeat("[", 63)+strings.Repeat("]", 63)), "", 0)
	f("depth 65", entry(when+`,"x":`+strings.Repeat("[", 64)+strings.Repeat("]", 64)), "too_deep", 0)
	f("depth bomb", strings.Repeat("[", 500_000), "too_deep", 0)
	f("huge number", entry(when+`,"x":123456789012345678901234567890`), "", schemas.FlagNumberTruncated)
	f("huge exponent", entry(when+`,"x":1e400`), "", schemas.FlagNumberTruncated)
	f("time of 1970", entry(`"timestamp":"1970-01-01T00:00:00Z"`), "", 0)
	f("time of 2262", entry(`"timestamp":"2262-04-12T00:00:00Z"`), "", schemas.FlagTimeSaturated)
	f("negative time", entry(`"timestamp":"-0001-01-01T00:00:00Z"`), "", schemas.FlagTimeMissing)
	f("empty id", `{"insertId":"",`+when+`}`, "", schemas.FlagNoSourceID)
	f("10 MB line", entry(when+`,"x":"`+strings.Repeat("x", 10<<20)+`"`), "record_too_large", 0)
	f("a million keys", entry(when+`,"x":{`+strings.TrimSuffix(strings.Repeat(`"k":1,`, 1_000_000), ",")+`}`), "record_too_large", 0)
	f("100,000 keys", entry(when+`,"x":{`+strings.TrimSuffix(strings.Repeat(`"k":1,`, 100_000), ",")+`}`), "too_many_keys", 0)
	f("cut off", `{"insertId":"x`, "truncated", 0)
	f("no object", `17`, "not_an_object", 0)
	f("not JSON", `<xml/>`, "bad_json", 0)
	f("NaN", entry(when+`,"x":NaN`), "bad_json", 0)
	f("two on a line", `{"a":1}{"b":2}`, "bad_json", 0)
}

// TestBadBodies sends bodies that are refused as a whole: they are answered by
// what is wrong with them and nothing of them is taken.
func TestBadBodies(t *testing.T) {
	d := disk(t)
	srv := serve(t, open(t, "audit", "", d.Append))
	cur, err := d.Open(t.Context(), "test", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	n := 0
	f := func(name string, body []byte, status int, code string, headers ...string) {
		t.Helper()
		got := post(t, srv.URL+"/v1/audit", bytes.NewReader(body), headers...)
		if got.Status != status || got.Code != code {
			t.Errorf("%s: %d %s, want %d %s", name, got.Status, got.Code, status, code)
		}
		n++
		good := record(fmt.Sprintf("good-%d", n))
		if got := post(t, srv.URL+"/v1/audit", strings.NewReader(good)); got.Accepted != 1 {
			t.Errorf("after %s: %+v", name, got)
		}
		if b := next(t, cur, schemas.ClassActivity); string(b.Body) != good {
			t.Errorf("%s: something of it was taken", name)
		}
	}
	f("body above the cap", bytes.Repeat([]byte(" "), 32<<20+1), 413, "body_too_large")
	f("gzip bomb", zipped(t, strings.Repeat("\n", 256<<20)), 413, "decompression_bomb", "Content-Encoding: gzip")
	f("truncated gzip", zipped(t, lines("x", 500))[:300], 400, "truncated_gzip", "Content-Encoding: gzip")
	f("wrong content type", []byte(record("x")), 415, "unsupported_media_type", "Content-Type: text/html")
	f("more records than one request may hold", []byte(strings.Repeat("{}\n", 100_001)), 413, "too_many_records")
	f("blank", []byte("\n\n\n"), 400, "empty_body")
}

// TestResent sends the same records again: they are acknowledged, counted as
// duplicates and not offered to consumers again.
func TestResent(t *testing.T) {
	d := disk(t)
	srv := serve(t, open(t, "audit", "", d.Append))
	body := strings.Repeat(`{"endpoint":"/api/v1/search"}`+"\n", 300) + lines("x", 50)
	if got := post(t, srv.URL+"/v1/audit", strings.NewReader(body)); got.Accepted != 350 {
		t.Errorf("first: %+v", got)
	}
	if got := post(t, srv.URL+"/v1/audit", strings.NewReader(body)); got.Accepted != 0 || got.Duplicates != 350 {
		t.Errorf("again: %+v", got)
	}
	if got := post(t, srv.URL+"/v1/audit", strings.NewReader(lines("y", 2)), "Idempotency-Key: k"); got.Accepted != 2 {
		t.Errorf("with a key: %+v", got)
	}
	if got := post(t, srv.URL+"/v1/audit", strings.NewReader(lines("y", 2)), "Idempotency-Key: k"); got.Accepted != 0 || got.Duplicates != 2 || got.Offset != 2 {
		t.Errorf("with the same key: %+v", got)
	}
}

// next returns the next batch of the class.
func next(t *testing.T, cur journal.Cursor, class schemas.Class) *schemas.Batch {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		b, err := cur.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if !b.Tick() && b.Class == class {
			return b
		}
	}
}
