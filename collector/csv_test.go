package collector_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/schemas"
)

const csvHead = "\xef\xbb\xbfTimestamp;User;Endpoint;Notes\r\n"

func csvRows(from, to int) (text string, list []string) {
	for i := from; i < to; i++ {
		row := fmt.Sprintf("21.08.2026 09:15:%02d;u%d;/api/v1/ask;\"two\r\nlines; %d\"", i%60, i, i)
		text, list = text+row+"\r\n", append(list, row)
	}
	return text, list
}

// runCSV starts a source of kind csv and returns what stops it.
func runCSV(t *testing.T, dir, fields string, j *memory) (stop func()) {
	t.Helper()
	s, err := openIn(t, dir, "csv", fields, j.Append)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// Each batch of a file begins with the file's head, is history, and its rows
// are named by their places in the file.
func TestCSVOnce(t *testing.T) {
	dir := t.TempDir()
	text, want := csvRows(0, 200)
	write(t, filepath.Join(dir, "in.csv"), csvHead+text)
	z, err := os.Create(filepath.Join(dir, "in.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	zw := gzip.NewWriter(z)
	if _, err := zw.Write([]byte(csvHead + text)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	z.Close()
	for _, name := range []string{"in.csv", "in.csv.gz"} {
		j := &memory{}
		stop := runCSV(t, t.TempDir(), fmt.Sprintf("path: %q\npoll: 2ms\nbatch: 1KiB\nzone: Europe/Berlin", filepath.Join(dir, name)), j)
		until(t, name, func() bool { return len(j.accepted()) >= len(want) })
		stop()
		if diff := cmp.Diff(want, j.accepted()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if n := len(j.activity()); n < 5 {
			t.Errorf("%s: %d batches", name, n)
		}
		for _, b := range j.activity() {
			if b.Live() || b.Decoder != "csv" || !strings.HasPrefix(string(b.Body), csvHead) {
				t.Errorf("%s: header %+v, body %.40q", name, b.Header, b.Body)
			}
			if at := b.Events[0].When().Hour(); at != 7 {
				t.Errorf("%s: hour %d", name, at)
			}
		}
	}
}

// A table that is followed is read on across restarts, rotation and
// truncation, and a row that is being written waits for its end.
func TestCSVTail(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "audit.csv")
	fields := strings.Replace(tail(path+"*"), "batch", "mode: tail\nbatch", 1)
	j := &memory{}
	first, want := csvRows(0, 30)
	write(t, path, csvHead)
	stop := runCSV(t, state, fields, j)
	appendTo(t, path, first)
	until(t, "the first rows", func() bool { return len(j.accepted()) == 30 })
	half := len("21.08.2026 09:15:30;u30;/api/v1/ask;\"two\r\n")
	second, more := csvRows(30, 40)
	want = append(want, more...)
	appendTo(t, path, second[:half])
	stop()
	stop = runCSV(t, state, fields, j)
	appendTo(t, path, second[half:])
	until(t, "rows after a restart", func() bool { return len(j.accepted()) == 40 })

	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	third, more := csvRows(40, 50)
	want = append(want, more...)
	write(t, path, "User,Timestamp,Endpoint\n")
	appendTo(t, path+".1", third)
	until(t, "rows after a rotation", func() bool { return len(j.accepted()) == 50 })
	appendTo(t, path, "dana,2026-08-21T09:15:00Z,/api/v1/chat\n")
	until(t, "a row under another header", func() bool { return len(j.accepted()) == 51 })
	want = append(want, "dana,2026-08-21T09:15:00Z,/api/v1/chat")

	write(t, path, "Email,Time\nx@example.com,1787303704\n")
	until(t, "a row of the truncated file", func() bool { return len(j.accepted()) == 52 })
	stop()
	if diff := cmp.Diff(append(want, "x@example.com,1787303704"), j.accepted()); diff != "" {
		t.Error(diff)
	}
	last := j.activity()[len(j.activity())-1]
	if ev := last.Events[0]; ev.ActorEmail != "x@example.com" || ev.Time != 1787303704e9 || last.Live() {
		t.Errorf("%+v", ev)
	}
	ids := map[schemas.ID]bool{}
	for _, b := range j.activity() {
		for _, r := range b.Records {
			if ids[r.ID] {
				t.Errorf("id %s is there twice", r.ID)
			}
			ids[r.ID] = true
		}
	}
}

// A file that is no table is one dead letter and is not given up: it is read
// when it has become one.
func TestCSVRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "in.csv")
	write(t, path, "\xff\xfet\x00i\x00m\x00e\x00\n\x00")
	j := &memory{}
	runCSV(t, t.TempDir(), fmt.Sprintf("path: %q\npoll: 2ms", path), j)
	until(t, "a dead letter", func() bool { return len(j.letters(t)) > 0 })
	write(t, path, "time,user\n1787303704,u1\n2,\"never closed\n")
	until(t, "the row", func() bool { return len(j.accepted()) == 1 && len(j.letters(t)) == 2 })
	got := j.letters(t)
	if got[0].Code != "utf16" || !strings.Contains(got[0].Reason, "iconv") || got[1].Code != "bad_csv" || got[1].Line != 3 || !strings.Contains(got[1].Reason, path+": byte 24:") {
		t.Errorf("%+v", got)
	}
}

func TestCSVConfig(t *testing.T) {
	f := func(kind, fields, want string) {
		t.Helper()
		if _, err := openIn(t, t.TempDir(), kind, fields, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", fields, err)
		}
	}
	f("csv", "path: x\nzone: Mars", `zone "Mars" is not known`)
	f("csv", "path: x\ndelimiter: pipe", "comma, semicolon, tab or auto")
	f("csv", "path: x\nmapping: nobody", "known mappings: agentrail, audit, csv")
	f("csv", "{}", "path is missing")
	f("file", "path: x\nzone: UTC", "delimiter and zone are for format csv")
	f("audit", "csv_mapping: nobody", "csv_mapping: there is no mapping")
}

// Tables come in over HTTP, too: read by a mapping of the sender's choice among
// the known ones, named by their places in a file if the sender says so.
func TestCSVOverHTTP(t *testing.T) {
	j := &memory{}
	s := open(t, "audit", "allow_backfill: true", j.Append)
	srv := serve(t, s)
	send := func(query, position, body string) reply {
		t.Helper()
		return post(t, srv.URL+"/v1/audit"+query, strings.NewReader(body), "Content-Type: text/csv; delimiter=semicolon", "Agentrail-Position: "+position)
	}
	const head, row = "time;user\n", "1787303704;u1\n"
	for _, p := range []string{"f:0", "f:14", "f:0"} { // two rows alike; the first one sent again
		if r := send("", p, head+row); r.Status != http.StatusAccepted {
			t.Errorf("%+v", r)
		}
	}
	if n := len(j.accepted()); n != 2 {
		t.Errorf("%d rows taken", n)
	}
	m, err := mappings()
	if err != nil {
		t.Fatal(err)
	}
	audit, err := m.Mapping("audit")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"audit", audit.Digest().String()} {
		if r := send("?mapping="+name, "", "time;user.email\n1787303704;a@b\n"); r.Status != http.StatusAccepted {
			t.Errorf("%+v", r)
		}
	}
	f := func(query, position, body, want string) {
		t.Helper()
		if r := send(query, position, body); r.Status != http.StatusBadRequest || !strings.Contains(r.Detail, want) {
			t.Errorf("%+v", r)
		}
	}
	f("?mapping=nobody", "", head+row, "known mappings")
	f("?mapping="+strings.Repeat("ab", 32), "", head+row, "no mapping with the digest abab")
	f("", "f", head+row, "write FILE:BASE")
	f("", "f:x", head+row, "write FILE:BASE")
	f("", ":1", head+row, "write FILE:BASE")
	f("", "", "foo;bar\n1;2\n", "agentrail import --guess")
	f("", "", head, "the table has no row")
}

// A rejected row is taken again with the head of its table.
func TestCSVReread(t *testing.T) {
	j := &memory{}
	s := open(t, "audit", "", j.Append)
	again, ok := s.(collector.TableRereader)
	if !ok {
		t.Fatal("rows cannot be taken again")
	}
	b := &schemas.Batch{Header: schemas.Header{Tenant: "acme", ContentType: "text/csv"}, Body: []byte("time,user\n")}
	if err := again.RereadTable(t.Context(), b, []byte("time,user\n1787303704\n")); err == nil || !strings.Contains(err.Error(), "unknown mapping") {
		t.Errorf("without a mapping: %v", err)
	}
	m, err := mappings()
	if err != nil {
		t.Fatal(err)
	}
	table, err := m.Mapping("csv")
	if err != nil {
		t.Fatal(err)
	}
	b.Mapping = table.Digest()
	if err := again.RereadTable(t.Context(), b, []byte("time,user\n1787303704\n")); err == nil || !strings.Contains(err.Error(), "the row has 1 of 2 columns") {
		t.Errorf("a short row: %v", err)
	}
	if err := again.RereadTable(t.Context(), b, []byte("time,user\n1787303704,u1\n")); err != nil || len(j.accepted()) != 1 {
		t.Errorf("a whole row: %v, %q", err, j.accepted())
	}
}
