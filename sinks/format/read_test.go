package format_test

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// TestReadSaysWhatIsWrong: lines that hold no event, and events that contradict
// themselves.
func TestReadSaysWhatIsWrong(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		if _, err := format.Read([]byte(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", line, err, want)
		}
	}
	none := format.ErrNoEvent.Error()
	for _, line := range []string{
		"", "x", "{}", "[1]", `""`, `{"event":{"event":{"event":{"event":{"event":{"event":{"event":{}}}}}}}}`, `{"event_id":"00","offset":1,"raw_sha256":"00"}`,
		`{"class_uid":1,"raw_data_hash":{},"metadata":{"uid":"x"}}`, `{"ecs":{},"event":{},"agentrail":{}}`, "{\"metadata\":{},\"additional\":{\"offset\":\"1\"}}",
		"CEF:0|Agentrail|Agentrail|1|a|b|1|", "LEEF:2.0|Agentrail|Agentrail|1|", "<13>1 - - - - - - {{{{{{{{{{",
	} {
		f(line, none)
	}
	f(`{"event_id":`, "read line")
	f("CEF:0|Agentrail|Agentrail|1|a|b|1|rt=1 rt=2", "twice")
	f("CEF:0|Agentrail|Agentrail|1|a|b|1|rt=1=2", "not escaped")
	f("LEEF:2.0|Agentrail|Agentrail|1|a|x09|a=1\tb", "no key")

	ev := fullEvent()
	for _, name := range []string{"ocsf", "ecs"} {
		alert := ev
		alert.Class, alert.Raw = schemas.ClassAlert, []byte(`{"rule":"x"}`)
		write, _ := format.Lookup(name)
		doc := strings.Replace(string(write(nil, &alert)), ev.ID.String(), strings.Repeat("0", 32), 1)
		if got, err := format.Read([]byte(doc)); err != nil || len(got) != 1 || len(got[0].Faults) != 1 {
			t.Errorf("%s: two ids in one event: %+v, %v", name, got, err)
		}
	}
	native := string(format.Native(nil, &ev))
	if got, err := format.Read([]byte(`<13>1 - - - - - [x event_id="` + ev.ID.String() + `" offset="9"] ` + native)); err != nil || len(got) != 1 || len(got[0].Faults) != 1 {
		t.Errorf("another offset in the header: %+v, %v", got, err)
	}
	if _, err := format.Leaves("native", []byte(`{"a":{"b":1,"b":2}}`)); err == nil {
		t.Error("a name twice is no fault")
	}
	if _, err := format.Leaves("native", []byte(strings.Repeat(`{"a":`, 300)+"1"+strings.Repeat("}", 300))); err == nil {
		t.Error("there is no bound for depth")
	}
}

func fullEvent() schemas.Event {
	return schemas.Event{
		ID: schemas.ID{0xab, 1}, Digest: sha256.Sum256([]byte(`{"k":"v"}`)), Class: schemas.ClassActivity, Shard: 7, Offset: 1<<63 + 5, Index: 4_000_000_001,
		Tenant: "acme", Source: "audit", Action: "tool.execute", Time: 1_764_000_000_123_456_789, Received: 1_764_000_001_000_000_000, Raw: []byte(`{"k":"v"}`),
	}
}

// FuzzReadBack reads what each format makes of an event: its names and place
// are whole, and so is a record that is text.
func FuzzReadBack(f *testing.F) {
	for _, s := range []string{"plain", "a|b=c\\d", "\n\r\t", "\x00\u202e", `\u0041`, "\xff", "a=b c=d", "😍\u2028"} {
		f.Add(s, s, s, uint8(0))
	}
	f.Fuzz(func(t *testing.T, tenant, target, raw string, class uint8) {
		for _, name := range format.Names() {
			ev := fullEvent()
			ev.Tenant, ev.Target, ev.Kind, ev.Reason, ev.Class = tenant, target, target, tenant, schemas.Class(class%5+1)
			ev.Raw, ev.RawText = []byte("x"+raw), true
			write, _ := format.Lookup(name)
			got, err := format.Read(write(nil, &ev))
			if err != nil || len(got) != 1 {
				t.Fatalf("%s: %v in %s", name, err, write(nil, &ev))
			}
			c := got[0]
			if c.ID != ev.ID || c.Digest != ev.Digest || c.Shard != ev.Shard || c.Offset != ev.Offset || c.Index != ev.Index || c.Class != ev.Class.String() || len(c.Faults) > 0 {
				t.Fatalf("%s: %+v", name, c)
			}
			if name == "cef" || !utf8.ValidString(raw) {
				continue // \\u is text and stands for a character; what is not UTF-8 is replaced
			}
			found := false
			for _, r := range c.Records {
				found = found || bytes.Equal(r, ev.Raw)
			}
			if !found {
				t.Fatalf("%s: the record is %q, not %q", name, c.Records, ev.Raw)
			}
		}
	})
}

// FuzzRead: whatever stands in a file that somebody keeps.
func FuzzRead(f *testing.F) {
	ev := fullEvent()
	for _, name := range format.Names() {
		write, _ := format.Lookup(name)
		f.Add(write(nil, &ev))
	}
	f.Add([]byte(`[{"event":"{\"_source\":{}}"}]`))
	f.Add([]byte("<13>1 - - - - - [x event_id=\"\"] {"))
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err := format.Read(line)
		if err != nil && len(got) > 0 {
			t.Fatal("events beside an error")
		}
		for _, c := range got {
			if _, err := format.Leaves(c.Format, c.Doc); err != nil {
				t.Fatalf("an event without fields: %v", err)
			}
		}
	})
}
