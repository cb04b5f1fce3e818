package decode_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	good1 = `{"ts":"2026-01-15T08:00:00Z","event_id":"one"}`
	good2 = `{"ts":"2026-01-15T08:00:01Z","event_id":"two"}`
)

// outline writes what became of a body: source ids of what was accepted, line
// and code of what was not.
func outline(b *schemas.Batch, rejects []decode.Reject) string {
	var out []string
	for i := range b.Events {
		ev, rec := &b.Events[i], b.Records[i]
		if string(ev.Raw) != string(b.Body[rec.Start:rec.Start+rec.Length]) || ev.ID != rec.ID || ev.Flags != rec.Flags || ev.Digest != rec.Digest || int(ev.Index) != i {
			return fmt.Sprintf("event %d does not belong to its record", i)
		}
		if ev.Flags&schemas.FlagRejected == 0 {
			out = append(out, ev.SourceID)
			continue
		}
		r := rejects[0]
		rejects = rejects[1:]
		if int(r.Index) != i || r.Start != rec.Start || r.Length != rec.Length || r.Reason == "" {
			return fmt.Sprintf("reject %+v does not belong to record %d", r, i)
		}
		out = append(out, fmt.Sprintf("%d:%s", r.Line, r.Code))
	}
	return strings.Join(out, " ")
}

func TestCut(t *testing.T) {
	m := mapped(t, "bench")
	f := func(name, body, want string) {
		t.Helper()
		b := batch(body)
		rejects, err := m.Read(b, decode.Limits{RecordBytes: 4096})
		if got := outline(b, rejects); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
		nothing := !strings.Contains(want, "one") && !strings.Contains(want, "two")
		if errors.Is(err, decode.ErrNothing) != nothing || (err != nil) != nothing {
			t.Errorf("%s: error %v", name, err)
		}
	}
	f("lines", good1+"\n"+good2+"\n", "one two")
	f("no line feed at the end", good1+"\n"+good2, "one two")
	f("CRLF, blank lines, byte order mark", "\xef\xbb\xbf\r\n"+good1+"\r\n\r\n  \r\n"+good2+"\r\n", "one two")
	f("spaces around", "  "+good1+" \t\n\t"+good2, "one two")
	f("array", "["+good1+","+good2+"]", "one two")
	f("array with white space", "\n[ \n"+good1+" ,\n "+good2+"\n]\n", "one two")
	f("one object over lines", strings.ReplaceAll(good1, ",", ",\n  "), "one")
	f("objects over lines", strings.ReplaceAll(good1, ",", ",\n")+"\n"+strings.ReplaceAll(good2, "{", "{\n"), "one two")
	f("array, then lines", "["+good1+"]\n"+good2, "one two")

	f("bad line between", good1+"\n{\"a\":}\n"+good2, "one 2:bad_json two")
	f("cut line between", good1+"\n{\"a\":\"b\n"+good2, "one 2:truncated two")
	f("cut between values", good1+"\n{\"a\":1,\n"+good2, "one 2:truncated two")
	f("first line cut", "{\"a\":1,\n"+good1+"\n"+good2, "1:truncated one two")
	f("last line cut", good1+"\n"+good2[:20], "one 2:truncated")
	f("data after a record", good1+" x\n"+good2, "1:bad_json two")
	f("two records on a line", good1+good1+"\n"+good2, "1:bad_json two")
	f("other values", "17\n"+good1+"\n\"text\"\nnull\n[1]\nnonsense\n"+good2, "1:not_an_object one 3:not_an_object 4:not_an_object 5:not_an_object 6:bad_json two")
	f("too large", good1+"\n{\"a\":\""+strings.Repeat("x", 5000)+"\"}\n"+good2, "one 2:record_too_large two")
	f("too large and unfinished", good1+"\n{\"a\":\""+strings.Repeat("x", 5000)+"\n"+good2, "one 2:record_too_large two")
	f("too large over lines", "{\n\"a\":[\n"+strings.Repeat("1,\n", 5000)+"1]\n}\n"+good2, "1:record_too_large two")
	f("unfinished over lines", "{\n\"a\":1,\n\"b\":", "1:truncated")
	f("bad among objects over lines", "{\n\"ts\":0,\"event_id\":\"one\"\n}\n{\n\"a\":?\n}\n{\n\"ts\":0,\"event_id\":\"two\"\n}\n", "one 4:bad_json two")

	f("bad element", "["+good1+",{\"a\":?,\"b\":[{}]},"+good2+"]", "one 1:bad_json two")
	f("other elements", "[1,"+good1+",\"x\",[{}],"+good2+"]", "1:not_an_object one 1:not_an_object 1:not_an_object two")
	f("element without end", "[\n"+good1+",\n{\"a\":\"b,\n"+good2+"\n]", "one 3:bad_json two")
	f("brackets do not balance", "[\n{\"a\":[1},\n"+good1+",\n{\"a\":{{,\n"+good2+"\n]", "2:bad_json one 4:bad_json two")
	f("no closing bracket", "["+good1, "one 1:truncated")
	f("cut element", "["+good1+","+good2[:10], "one 1:truncated")
	f("missing comma", "["+good1+" "+good2+"]", "1:bad_json")
	f("empty array", "[]", "")
	f("empty", " \r\n", "")
	f("only bad", "{\n", "1:truncated")
}

// parts joins parts to a body and says where they end.
func parts(of ...string) (body string, ends []uint32) {
	for _, p := range of {
		body += p
		ends = append(ends, uint32(len(body)))
	}
	return body, ends
}

func TestParts(t *testing.T) {
	m := mapped(t, "bench")
	f := func(name, want string, of ...string) {
		t.Helper()
		body, ends := parts(of...)
		b := batch(body)
		rejects, err := m.Read(b, decode.Limits{RecordBytes: 4096, Ends: ends})
		if got := outline(b, rejects); got != want || errors.Is(err, decode.ErrNothing) != (len(rejects) == len(b.Records)) {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, want)
		}
	}
	f("one each", "one two", good1, "\n"+good2)
	f("without anything between", "one two", good1, good2)
	f("byte order marks", "one two", "\xef\xbb\xbf"+good1, "\xef\xbb\xbf"+good2)
	f("lines and an array", "one two one two", good1+"\n"+good2, "["+good1+","+good2+"]")
	f("empty", "1:empty one 2:empty two 3:empty", "", good1, "\n", good2, "\n[]")
	f("an array without end", "one 1:truncated two", "["+good1, good2)
	f("an array whose brackets do not balance", "1:bad_json one two", `[{"a":[1}`, good1, good2)
	f("an object over lines without end", "1:truncated two one", "{\n\"a\":1,\n\"b\":", good2, good1)
	f("a string without end", "1:truncated two", `{"a":"`, good2)
	f("a line, then objects over lines", "one two", good1, strings.ReplaceAll(good2, ",", ",\n  "))
	f("nothing at all", "1:empty", "")
}

func TestPartsHaveToMakeUpTheBody(t *testing.T) {
	for _, ends := range [][]uint32{{}, {3}, {uint32(len(good1)) + 1}, {9, 5, uint32(len(good1))}} {
		if _, err := mapped(t, "bench").Read(batch(good1), decode.Limits{Ends: ends}); err == nil || errors.Is(err, decode.ErrNothing) {
			t.Errorf("%v: %v", ends, err)
		}
	}
}

func TestTooManyRecordsInParts(t *testing.T) {
	body, ends := parts(good1, "\n"+good1, "\n"+good1+"\n"+good1, "\n"+good2, "\n"+good2)
	b := batch(body)
	rejects, err := mapped(t, "bench").Read(b, decode.Limits{Records: 3, Ends: ends})
	if got := outline(b, rejects); err != nil || got != "one one one 4:too_many_records 5:too_many_records" {
		t.Errorf("%s, %v", got, err)
	}
	if last := b.Records[4]; int(last.Start+last.Length) != len(body) {
		t.Errorf("the last reject ends at %d of %d", last.Start+last.Length, len(body))
	}
}

func TestTooManyRecords(t *testing.T) {
	b := batch(strings.Repeat(good1+"\n", 5))
	rejects, err := mapped(t, "bench").Read(b, decode.Limits{Records: 3})
	if got := outline(b, rejects); err != nil || got != "one one one 4:too_many_records" {
		t.Errorf("%s, %v", got, err)
	}
}

// TestBadInput holds the documented answer to each kind of bad input.
func TestBadInput(t *testing.T) {
	m := mapped(t, "bench")
	rec := func(more string) string { return `{"ts":"2026-01-15T08:00:00Z","event_id":"x",` + more + `}` }
	var million strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&million, `"k%d":0,`, i)
	}
	f := func(name, record, code string, flags schemas.Flags) {
		t.Helper()
		b := batch(good1 + "\n" + record + "\n" + good2 + "\n")
		rejects, err := m.Read(b, decode.Limits{})
		if err != nil || len(b.Events) != 3 || b.Events[0].SourceID != "one" || b.Events[2].SourceID != "two" {
			t.Errorf("%s: the neighbours suffer: %v, %d events", name, err, len(b.Events))
			return
		}
		got := ""
		if len(rejects) > 0 {
			got = rejects[0].Code
			if rejects[0].Line != 2 || int(rejects[0].Start) != len(good1)+1 {
				t.Errorf("%s: named as line %d, byte %d", name, rejects[0].Line, rejects[0].Start)
			}
		}
		if got != code || b.Records[1].Flags != flags {
			t.Errorf("%s: rejected as %q, flags %v; want %q, %v", name, got, b.Records[1].Flags.Names(), code, flags.Names())
		}
	}
	f("duplicate key", rec(`"a":1,"a":2`), "", schemas.FlagDuplicateKey)
	f("duplicate key, escaped", rec(`"ab":1,"\u0061b":2`), "", schemas.FlagDuplicateKey)
	f("case-twin keys", rec(`"AGENT_id":"a","agent_id":"b"`), "", schemas.FlagCaseTwin)
	f("invalid UTF-8", rec("\"a\":\"\xff\xfe\""), "", schemas.FlagBadUTF8)
	f("lone surrogate", rec(`"a":"\ud800"`), "", schemas.FlagBadUTF8)
	f("NUL, escaped", rec(`"a":"x\u0000y"`), "", schemas.FlagControlChar)
	f("NUL, bare", rec("\"a\":\"x\x00y\""), "bad_json", schemas.FlagRejected)
	f("depth 64", rec(`"a":`+strings.Repeat("[", 63)+strings.Repeat("]", 63)), "", 0)
	f("depth 65", rec(`"a":`+strings.Repeat("[", 64)+strings.Repeat("]", 64)), "too_deep", schemas.FlagRejected)
	f("a bomb of brackets", strings.Repeat("[", 1_000_000), "too_deep", schemas.FlagRejected)
	f("1e400", rec(`"a":1e400`), "", schemas.FlagNumberTruncated)
	f("30 digits", rec(`"a":123456789012345678901234567890`), "", schemas.FlagNumberTruncated)
	f("status beyond 32 bits", rec(`"http_status":4294967496`), "", schemas.FlagNumberTruncated)
	f("duration beyond 64 bits", rec(`"duration_ms":"99999999999999"`), "", schemas.FlagNumberTruncated)
	f("10 MB line", rec(`"a":"`+strings.Repeat("x", 10<<20)+`"`), "record_too_large", schemas.FlagRejected)
	f("a million keys", rec(million.String()+`"z":0`), "record_too_large", schemas.FlagRejected)
	f("10,001 keys", rec(million.String()[:strings.Index(million.String(), `"k9999"`)]+`"z":0`), "too_many_keys", schemas.FlagRejected)
	f("empty id", `{"ts":"2026-01-15T08:00:00Z","event_id":""}`, "", schemas.FlagNoSourceID)
	f("id is null", `{"ts":"2026-01-15T08:00:00Z","event_id":null}`, "", schemas.FlagNoSourceID)
	f("id is an object", `{"ts":"2026-01-15T08:00:00Z","event_id":{}}`, "", schemas.FlagNoSourceID)
	f("no time", `{"event_id":"x"}`, "", schemas.FlagTimeMissing)
	f("time in words", `{"ts":"yesterday","event_id":"x"}`, "", schemas.FlagTimeMissing)
	f("time is a list", `{"ts":[1],"event_id":"x"}`, "", schemas.FlagTimeMissing)
	f("1970", `{"ts":"1970-01-01T00:00:00Z","event_id":"x"}`, "", 0)
	f("zero", `{"ts":0,"event_id":"x"}`, "", 0)
	f("negative", `{"ts":-5,"event_id":"x"}`, "", 0)
	f("2262", `{"ts":"2262-04-11T23:47:16Z","event_id":"x"}`, "", schemas.FlagTimeFuture)
	f("9999", `{"ts":"9999-12-31T23:59:59Z","event_id":"x"}`, "", schemas.FlagTimeSaturated|schemas.FlagTimeFuture)
	f("year 1", `{"ts":"0001-01-01T00:00:00Z","event_id":"x"}`, "", schemas.FlagTimeSaturated)
	f("time of 30 digits", `{"ts":123456789012345678901234567890,"event_id":"x"}`, "", schemas.FlagTimeSaturated|schemas.FlagTimeFuture|schemas.FlagNumberTruncated)
	f("five minutes ahead", `{"ts":"2026-08-21T09:20:10Z","event_id":"x"}`, "", 0)
	f("and a bit", `{"ts":"2026-08-21T09:20:10.000000001Z","event_id":"x"}`, "", schemas.FlagTimeFuture)
	f("empty object", `{}`, "", schemas.FlagTimeMissing|schemas.FlagNoSourceID)
}

func TestLastOfTwoCounts(t *testing.T) {
	for _, body := range []string{
		`{"ts":0,"event_id":"x","agent_id":"a","agent_id":"b"}`, `{"ts":0,"event_id":"x","AGENT_ID":"a","agent_id":"b"}`,
	} {
		b := batch(body)
		if _, err := mapped(t, "bench").Read(b, decode.Limits{}); err != nil || b.Events[0].Agent != "b" {
			t.Errorf("%s: agent %q, %v", body, b.Events[0].Agent, err)
		}
	}
}

// again decodes a batch a second time, as from a journal.
func again(t *testing.T, s *decode.Set, b *schemas.Batch) []schemas.Event {
	t.Helper()
	c := &schemas.Batch{Header: b.Header, Body: b.Body, Records: b.Records}
	if err := s.Decode(c); err != nil {
		t.Fatal(err)
	}
	return c.Events
}

func TestSecondReadingIsTheFirst(t *testing.T) {
	s := open(t, "", "testdata/bench.yaml")
	bodies := map[string]string{
		"bench":       string(flatBody(50)) + "nonsense\n" + good1 + "\n{\"ts\":\"9999-01-01T00:00:00Z\"}\n{}\n" + `{"event_id":"n\u00e9","http_status":"429","ts":1768464000}`,
		"audit":       example(t, "audit.json"),
		"workflowrun": "[" + example(t, "workflowrun.json") + `,{"jsonPayload":{"Type":"NEW_THING"}},7]`,
	}
	for name, body := range bodies {
		m, err := s.Mapping(name)
		if err != nil {
			t.Fatal(err)
		}
		b := batch(body)
		if _, err := m.Read(b, decode.Limits{}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(b.Events, again(t, s, b)); d != "" {
			t.Errorf("%s (-first +second):\n%s", name, d)
		}
	}
}

// A sealed record keeps its id, digest and flags, and says nothing else.
func TestSealed(t *testing.T) {
	s := open(t, "", "testdata/bench.yaml")
	b := read(t, "bench", good1+"\n"+good2)
	body := []byte(string(b.Body))
	rec := &b.Records[1]
	for i := range rec.Length {
		body[rec.Start+i] ^= 0x5a
	}
	b.Body, rec.Flags = body, rec.Flags|schemas.FlagSealed
	got := again(t, s, b)
	want := schemas.Event{
		ID: rec.ID, Digest: rec.Digest, Flags: rec.Flags, Time: received, Received: received, Index: 1, Class: schemas.ClassActivity, Tenant: "acme", Source: "in",
	}
	if d := cmp.Diff(want, got[1], cmpopts.IgnoreFields(schemas.Event{}, "Raw")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got[0].SourceID != "one" {
		t.Errorf("the neighbour is %+v", got[0])
	}
}

func TestRefuse(t *testing.T) {
	set := open(t, "", "testdata/bench.yaml")
	m, err := set.Mapping("bench")
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"", good1, "\x00 no\nJSON"} {
		b := batch(body)
		rejects := m.Refuse(b, decode.Limits{Position: func(uint32) string { return "here" }}, "too_odd", "it is odd")
		if got := outline(b, rejects); got != "1:too_odd" || len(b.Records) != 1 || int(b.Records[0].Length) != len(body) {
			t.Errorf("%q: %s, %+v", body, got, b.Records)
		}
		if d := cmp.Diff(b.Events, again(t, set, b)); d != "" {
			t.Errorf("%q (-first +second):\n%s", body, d)
		}
	}
}

// cutAt makes ends of parts of those sizes.
func cutAt(size int, sizes []byte) (ends []uint32) {
	at := 0
	for _, s := range sizes {
		at = min(at+int(s), size)
		ends = append(ends, uint32(at))
	}
	if sizes != nil {
		ends = append(ends, uint32(size))
	}
	return ends
}

// FuzzRead: whatever comes in, the records tell all of it in order, and the
// second reading is the first.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		good1 + "\n" + good2, "[" + good1 + "," + good2 + "]", "{\n\"a\":1\n}", "[{\"a\":[1},\n{}]", "\xef\xbb\xbf" + good1 + "\r\n", "[[", "[{\"a\":\"\n", "7\n{}\n",
		`{"jsonPayload":{"Type":"ACTION","Action":{"ExecutionStatus":"ERROR"}},"timestamp":1e9}`,
	} {
		f.Add([]byte(s), byte(0), []byte(nil))
		f.Add([]byte(s), byte(0), []byte{7, 0, 30})
	}
	set := open(f, "", "testdata/bench.yaml")
	names := []string{"bench", "audit", "workflowrun", "agentrail"}
	f.Fuzz(func(t *testing.T, body []byte, which byte, sizes []byte) {
		m, err := set.Mapping(names[int(which)%len(names)])
		if err != nil {
			t.Fatal(err)
		}
		b := batch(string(body))
		ends := cutAt(len(body), sizes)
		rejects, err := m.Read(b, decode.Limits{RecordBytes: 200, Records: 50, Depth: 8, Keys: 20, Ends: ends})
		if errors.Is(err, decode.ErrNothing) != (len(rejects) == len(b.Records)) {
			t.Fatalf("%d records, %d rejects, error %v", len(b.Records), len(rejects), err)
		}
		end := uint32(0)
		for i, r := range b.Records {
			if r.Start < end || uint64(r.Start)+uint64(r.Length) > uint64(len(body)) {
				t.Fatalf("record %d overlaps or lies outside: %+v", i, r)
			}
			end = r.Start + r.Length
			if i := slices.IndexFunc(ends, func(e uint32) bool { return e > r.Start }); i >= 0 && end > ends[i] && rejects[len(rejects)-1].Code != decode.CodeTooManyRecords {
				t.Fatalf("record %+v reaches over the end of its part at %d", r, ends[i])
			}
		}
		if s := outline(b, rejects); strings.Contains(s, "belong") {
			t.Fatal(s)
		}
		if d := cmp.Diff(b.Events, again(t, set, b), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("(-first +second):\n%s", d)
		}
	})
}
