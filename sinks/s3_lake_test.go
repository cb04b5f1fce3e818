package sinks

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

func lakeFields(t *testing.T, url, more string) string {
	return s3Fields(t, url, "layout: security_lake\nlake: {account: \"123456789012\"}\n"+more)
}

// lakeEvents are of every class, with every field that an event can have.
func lakeEvents() []schemas.Event {
	b := testBatch(4, 40)
	for i := range b.Events {
		e := &b.Events[i]
		e.Agent, e.Run, e.Actor, e.Tool, e.Offset, e.Index = "wf-7", "r-1", "u-1", "jira", 4, uint32(i)
		e.Time -= int64(i) * int64(time.Second)
		switch i % 8 {
		case 1:
			e.Outcome, e.Denial, e.Reason, e.Status = schemas.OutcomeDenied, schemas.DenialPolicy, "not allowed", 403
			e.Endpoint, e.Method, e.IP, e.UserAgent = "/api/v1/x", "POST", "203.0.113.24", "agent/1.0"
			e.Trace, e.Span, e.Session, e.SourceID = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "s-1", "9z8"
			e.ActorType, e.ActorEmail, e.Department, e.Name, e.Owner, e.SourceAction = "SERVICE", "ann@example.com", "Support", "Digest", "u-9", "EXECUTE"
			e.Kind, e.Duration, e.Target, e.Subscription = schemas.KindSpan, 5_000_000, "PROJ-1", "trg-5"
		case 2:
			e.Action, e.Subscription, e.Name, e.Agent, e.IP = "subscription.edit", "trg-5", "Nightly", "", "no address"
		case 3:
			e.Class, e.Kind = schemas.ClassAlert, "alert"
			e.Raw = []byte(`{"id":"a1","transition":"open","rule":"denial","title":"Turned down","severity":"high","confidence":"medium","entity":{"kind":"agent","id":"wf-9","name":"D"},` +
				`"actor":"u-1","actor_email":"ann@example.com","agent":"wf-7","first_seen":"2025-11-24T15:50:00Z","last_seen":"2025-11-24T16:00:00.5Z","count":23,"reason":"23 calls",` +
				`"evidence":[{"id":"01020300000000000000000000000000","time":"2025-11-24T16:00:00.123Z"}],"tags":["attack.atlas.aml.t0053"]}`)
		case 4:
			e.Class, e.Kind, e.Raw = schemas.ClassHealth, "health", []byte(`{"kind":"sink.auth"}`)
		case 5:
			e.Class, e.Kind, e.Action = schemas.ClassControl, "control", "agent.pause"
		case 6:
			e.Tool, e.Target, e.Name = "a\x00\u202e\xff", strings.Repeat("long", 500), `{"x":1}`
		case 7:
			e.Time = 1_763_900_000_000_000_000 // the day before
			e.Actor, e.Agent = "", ""
		}
	}
	return b.Events
}

// TestLakeColumns holds the columns to the format: there is none missing, and
// what is read back is what the format writes.
func TestLakeColumns(t *testing.T) {
	var all [][]byte
	for _, ev := range lakeEvents() {
		all = append(all, format.OCSF(nil, &ev))
		ev.Raw = nil
		all = append(all, format.OCSF(nil, &ev))
	}
	for _, doc := range all {
		var class struct {
			UID int `json:"class_uid"`
		}
		if err := json.Unmarshal(doc, &class); err != nil {
			t.Fatal(err)
		}
		switch class.UID {
		case 6003:
			lakeRoundTrip[lakeActivity](t, class.UID, doc)
		case 3004:
			lakeRoundTrip[lakeEntity](t, class.UID, doc)
		case 2004:
			lakeRoundTrip[lakeFinding](t, class.UID, doc)
		case 0:
			lakeRoundTrip[lakeBase](t, class.UID, doc)
		default:
			t.Fatalf("class %d has no columns", class.UID)
		}
	}
}

func lakeRoundTrip[T any](t *testing.T, class int, doc []byte) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	var columns T
	if err := d.Decode(&columns); err != nil {
		t.Fatalf("class %d has no column for it: %v", class, err)
	}
	file, err := encodeLake(class, []lakeRow{{0, 0, doc}})
	if err != nil {
		t.Fatal(err)
	}
	rows := lakeRead(t, file)
	if len(rows) != 1 {
		t.Fatalf("%d rows", len(rows))
	}
	var want map[string]any
	if err := json.Unmarshal(doc, &want); err != nil {
		t.Fatal(err)
	}
	var unmapped any
	if text, _ := rows[0]["unmapped"].(string); json.Unmarshal([]byte(text), &unmapped) != nil {
		t.Fatalf("unmapped is %v", rows[0]["unmapped"])
	}
	rows[0]["unmapped"] = unmapped
	if d := cmp.Diff(prune(want), prune(rows[0])); d != "" {
		t.Errorf("class %d (-format +columns):\n%s", class, d)
	}
}

// lakeRead reads a file by the schema in it, as any reader would, into what
// encoding/json makes of the same values.
func lakeRead(t *testing.T, file []byte) (out []map[string]any) {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range f.RowGroups() {
		if s := group.SortingColumns(); len(s) != 1 || s[0].Path()[0] != "time" || s[0].Descending() {
			t.Fatalf("sorted by %v", s)
		}
	}
	for _, c := range f.Metadata().RowGroups[0].Columns {
		if c.MetaData.Codec.String() != "ZSTD" {
			t.Fatalf("column %v is packed as %v", c.MetaData.PathInSchema, c.MetaData.Codec)
		}
	}
	r := parquet.NewReader(f)
	defer r.Close()
	for range f.NumRows() {
		row := map[string]any{}
		if err := r.Read(&row); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		row = map[string]any{}
		if err := json.Unmarshal(text, &row); err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
	return out
}

// prune takes out what is null in one form and left out in the other.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if list, ok := v["list"].([]any); ok && len(v) == 1 { // how Parquet has lists
			out := []any{}
			for _, e := range list {
				out = append(out, prune(e.(map[string]any)["element"]))
			}
			return prune(out)
		}
		out := map[string]any{}
		for k, e := range v {
			if e = prune(e); e != nil {
				out[k] = e
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case []any:
		if len(v) == 0 {
			return nil
		}
		out := []any{}
		for _, e := range v {
			out = append(out, prune(e))
		}
		return out
	}
	return v
}

var lakeKeys = regexp.MustCompile(`^ext/AGENTRAIL_(0|2004|3004|6003)/region=us-east-1/accountId=123456789012/eventDay=(2025112[34])/0-0{19}4\.0000\d\d-0{19}4\.0000\d\d\.parquet$`)

// TestLakeOutlastsFaults: each file holds one class and one day, sorted, and
// every event is there once whatever happens on the way.
func TestLakeOutlastsFaults(t *testing.T) {
	r := bucket()
	faulty := &sinktest.Faulty{Next: r, Script: func(n int, _ *http.Request) sinktest.Fault {
		return []sinktest.Fault{{}, {Status: 503, Body: "<Error><Code>SlowDown</Code></Error>"}, {}, {}, {Cut: true}, {Swallow: true}, {}, {Status: 403}}[n%20%8]
	}}
	_, fw := openTest(t, "s3", lakeFields(t, serve(t, faulty), "classes: [activity, alert, control, health]"), nil)
	b := testBatch(4, 0)
	b.Events = lakeEvents()
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	ids, files := map[schemas.ID]int{}, map[string]bool{}
	for key, file := range r.Objects() {
		m := lakeKeys.FindStringSubmatch(key)
		if m == nil {
			t.Fatalf("key %s", key)
		}
		files[m[1]+" "+m[2]] = true
		last := float64(0)
		for _, row := range lakeRead(t, file) {
			at := row["time"].(float64)
			if day := time.UnixMilli(int64(at)).UTC().Format("20060102"); day != m[2] || jsonNumber(row["class_uid"]) != m[1] || at < last {
				t.Fatalf("%s has an event of class %v at %s after %v", key, row["class_uid"], day, last)
			}
			last = at
			id, err := hex.DecodeString(row["metadata"].(map[string]any)["uid"].(string))
			if err != nil {
				t.Fatal(err)
			}
			ids[schemas.ID(id)]++
		}
	}
	sameIDs(t, wantIDs(b), ids)
	once(t, ids)
	for _, v := range r.Violations() {
		t.Errorf("not as documented: %s", v)
	}
	if l := fw.Ledger(); len(files) != 5 || l.Indexed != 40 || l.Retries == 0 || r.Repeats() == 0 {
		t.Errorf("files %v, ledger %+v, %d repeats", files, l, r.Repeats())
	}
}

func jsonNumber(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// TestLakeBatches cuts by the size of what goes in.
func TestLakeBatches(t *testing.T) {
	r := bucket()
	_, fw := openTest(t, "s3", lakeFields(t, serve(t, r), "batch: {max_bytes: 16KiB}"), nil)
	b := testBatch(4, 500)
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range r.Objects() {
		n += len(lakeRead(t, file))
	}
	if n != 500 || len(r.Objects()) < 10 {
		t.Errorf("%d rows in %d files", n, len(r.Objects()))
	}
}

func openFails(t *testing.T, kind, fields string) error {
	t.Helper()
	c, err := plug.NewConfig(kind, "test", fields)
	if err != nil {
		return err
	}
	_, _, err = Open(t.Context(), c, Deps{Log: slog.New(slog.DiscardHandler)})
	return err
}

func TestLakeConfig(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		if err := openFails(t, "s3", s3Fields(t, "http://127.0.0.1:1", "layout: security_lake\n"+fields)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", fields, err, want)
		}
	}
	f("", "lake.account")
	f("lake: {account: \"123456789012\", source: fixed}", "lake.source")
	f("lake: {account: \"123456789012\", source: \"much_too_long_for_a_source_{class}\"}", "lake.source")
	f("lake: {account: \"123456789012\"}\nformat: ecs", "format")
	f("lake: {account: \"123456789012\"}\nkey: \"{range}\"", "key")
	f("layout2: x", "layout2")
	if err := openFails(t, "s3", s3Fields(t, "http://127.0.0.1:1", "layout: parquet")); err == nil || !strings.Contains(err.Error(), "neither lines nor security_lake") {
		t.Error(err)
	}
}

// TestReadLake reads back what was written, and FuzzReadLake what was not.
func TestReadLake(t *testing.T) {
	for _, ev := range lakeEvents() {
		doc := format.OCSF(nil, &ev)
		file, err := encodeLake(format.OCSFClass(&ev), []lakeRow{{0, 0, doc}})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = ReadLake(bytes.NewReader(file), int64(len(file)), func(back []byte) error {
			n++
			want, err := format.Leaves("ocsf", doc)
			if err != nil {
				t.Fatal(err)
			}
			got, err := format.Leaves("ocsf", back)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-written +read):\n%s", d)
			}
			return nil
		})
		if err != nil || n != 1 {
			t.Fatalf("%d rows: %v", n, err)
		}
		if err := ReadLake(bytes.NewReader(file[:len(file)/2]), int64(len(file)/2), func([]byte) error { return nil }); err == nil {
			t.Error("half a file is no fault")
		}
	}
}

func FuzzReadLake(f *testing.F) {
	ev := lakeEvents()[3]
	file, err := encodeLake(format.OCSFClass(&ev), []lakeRow{{0, 0, format.OCSF(nil, &ev)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte("PAR1PAR1"))
	f.Fuzz(func(_ *testing.T, file []byte) {
		_ = ReadLake(bytes.NewReader(file), int64(len(file)), func([]byte) error { return nil }) // no panic, no hang
	})
}
