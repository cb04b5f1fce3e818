package collector_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// plain returns a record without an id: it is named by its place in the file.
func plain(n int) string {
	return fmt.Sprintf(`{"jsonPayload":{"endpoint":"/api/v1/search","actor":{"userId":"u%d"},"statusCode":200}}`, n)
}

func plains(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		b.WriteString(plain(i) + "\n")
	}
	return b.String()
}

func plainList(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, plain(i))
	}
	return out
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// until waits for the condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

// run starts a file source and returns what stops it.
func run(t testing.TB, dir, fields string, append func(context.Context, *schemas.Batch) (uint64, error)) (stop func()) {
	t.Helper()
	return runAt(t, dir, fields, append, nil)
}

func runAt(t testing.TB, dir, fields string, append func(context.Context, *schemas.Batch) (uint64, error), now func() time.Time) (stop func()) {
	t.Helper()
	s, err := openAt(t, dir, "file", fields, append, now)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// tail is the config of the tests of tailing.
func tail(pattern string) string {
	return fmt.Sprintf("path: %q\npoll: 2ms\nclose_after: 50ms\nrest: 100ms\nbatch: 4KiB\nmax_record: 2KiB", pattern)
}

func once(path string, more ...string) string {
	return fmt.Sprintf("path: %q\nmode: once\npoll: 2ms\n%s", path, strings.Join(more, "\n"))
}

func TestFileOnce(t *testing.T) {
	f := func(name, content string, want []string) {
		t.Helper()
		dir := t.TempDir()
		j := &memory{}
		write(t, filepath.Join(dir, "in"), content)
		run(t, dir, once(filepath.Join(dir, "in"), "batch: 1KiB"), j.Append)
		until(t, name, func() bool { return len(j.accepted()) >= len(want) })
		if diff := cmp.Diff(want, j.accepted()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		for _, b := range j.activity() {
			if b.Live() || b.Tenant != "acme" || b.Source != "file" {
				t.Errorf("%s: header %+v", name, b.Header)
			}
		}
		if l := j.letters(t); len(l) != 0 {
			t.Errorf("%s: dead letters %+v", name, l)
		}
	}
	all := plainList(0, 50)
	list := strings.Join(all, ",\n")
	f("ndjson", plains(0, 50), all)
	f("crlf", strings.ReplaceAll(plains(0, 50), "\n", "\r\n"), all)
	f("no line feed at the end", strings.TrimSuffix(plains(0, 50), "\n"), all)
	f("array", "["+list+"]", all)
	f("array with space", " [\n "+list+"\n]\n", all)
	f("objects one after the other on a line", plains(0, 1), all[:1])
	f("gzip", string(zipped(t, plains(0, 50))), all)
	f("gzip members", string(zipped(t, plains(0, 20)))+string(zipped(t, plains(20, 50))), all)
	f("gzip member that ends inside a line", string(zipped(t, plains(0, 50)[:777]))+string(zipped(t, plains(0, 50)[777:])), all)
	f("gzip array", string(zipped(t, "["+list+"]")), all)
	f("zstd", string(zstandard(t, plains(0, 50))), all)
	f("zstd frames", string(zstandard(t, plains(0, 20)))+string(zstandard(t, plains(20, 50))), all)
	f("identical lines", strings.Repeat(plain(1)+"\n", 30), func() (out []string) {
		for range 30 {
			out = append(out, plain(1))
		}
		return out
	}())
}

func TestFileOfObjectsOverSeveralLines(t *testing.T) {
	dir := t.TempDir()
	j := &memory{}
	object := "{\n  \"jsonPayload\": {\n    \"endpoint\": \"/api/v1/search\"\n  }\n}"
	write(t, filepath.Join(dir, "in"), strings.Repeat(object+"\n", 40))
	run(t, dir, once(filepath.Join(dir, "in"), "batch: 1KiB"), j.Append)
	until(t, "40 records", func() bool { return len(j.accepted()) == 40 })
	if j.accepted()[7] != object {
		t.Errorf("%q", j.accepted()[7])
	}
}

func TestFileOnceIsReadOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "in")
	write(t, path, plains(0, 20))
	j := &memory{}
	stop := run(t, dir, once(path), j.Append)
	until(t, "first run", func() bool { return len(j.accepted()) == 20 })
	stop()
	n := len(j.batches)
	write(t, filepath.Join(dir, "in2"), plains(100, 101))
	stop = run(t, dir, once(filepath.Join(dir, "in*")), j.Append)
	until(t, "second run", func() bool { return len(j.accepted()) == 21 })
	stop()
	if len(j.batches) != n+1 {
		t.Errorf("%d batches, want %d: the first file was read again", len(j.batches), n+1)
	}
}

func TestLostStateMakesDuplicatesOnly(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "in")
	write(t, path, plains(0, 40))
	j := &memory{}
	state := filepath.Join(dir, "collector", "file-file.json")
	// The state as it is when the process dies after the first Append: the
	// file has its id, nothing is noted as taken.
	var early []byte
	j.fail = func(*schemas.Batch) error {
		if early == nil {
			var err error
			if early, err = os.ReadFile(state); err != nil {
				t.Errorf("the place must be on disk before the first Append: %v", err)
			}
		}
		return nil
	}
	stop := run(t, dir, once(path, "batch: 1KiB"), j.Append)
	until(t, "first run", func() bool { return len(j.accepted()) == 40 })
	stop()
	write(t, state, string(early))
	j.known = map[schemas.ID]uint64{} // nor are the batches known any more
	n := len(j.activity())
	stop = run(t, dir, once(path, "batch: 2KiB"), j.Append)
	until(t, "second run", func() bool { return len(j.activity()) > n+1 })
	stop()
	if diff := cmp.Diff(plainList(0, 40), j.accepted()); diff != "" {
		t.Error(diff)
	}
}

func TestFileRejects(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "in")
	long := `{"x":"` + strings.Repeat("x", 10<<20) + `"}`
	write(t, path, plains(0, 3)+"{\"broken\":\n"+plain(3)+"\n"+long+"\n"+plains(4, 6))
	j := &memory{}
	run(t, dir, once(path, "max_record: 64KiB", "batch: 64KiB"), j.Append)
	until(t, "good records and dead letters", func() bool { return len(j.accepted()) == 6 && len(j.letters(t)) > 1 })
	if diff := cmp.Diff(plainList(0, 6), j.accepted()); diff != "" {
		t.Error(diff)
	}
	letters := j.letters(t)
	if len(letters) != 2 {
		t.Fatalf("%d dead letters, want 2", len(letters))
	}
	at := len(plains(0, 3))
	if l := letters[0]; l.Line != 4 || !strings.Contains(l.Reason, fmt.Sprintf("%s: byte %d: ", path, at)) {
		t.Errorf("%+v", l)
	}
	at += len("{\"broken\":\n") + len(plain(3)) + 1
	if l := letters[1]; l.Line != 6 || l.Code != "record_too_large" || !strings.Contains(l.Reason, fmt.Sprintf("byte %d: ", at)) || !strings.Contains(l.Reason, "skipped") {
		l.Bytes = nil
		t.Errorf("%+v", l)
	}
}

func TestElementThatIsTooLong(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "in")
	long := `{"x":"` + strings.Repeat("x", 3<<20) + `"}`
	write(t, path, "["+plain(0)+","+long+","+plain(1)+"]")
	j := &memory{}
	run(t, dir, once(path), j.Append)
	until(t, "good records and the dead letter", func() bool { return len(j.accepted()) == 2 && len(j.letters(t)) > 0 })
	l := j.letters(t)
	if len(l) != 1 || l[0].Code != "record_too_large" || !strings.Contains(l[0].Reason, fmt.Sprintf("byte %d: ", len(plain(0))+2)) {
		t.Errorf("%d dead letters", len(l))
	}
}

func TestFileThatBreaksOff(t *testing.T) {
	f := func(name string, packed []byte, code string) {
		t.Helper()
		dir := t.TempDir()
		j := &memory{}
		write(t, filepath.Join(dir, "in"), string(packed))
		stop := run(t, dir, once(filepath.Join(dir, "in")), j.Append)
		until(t, name, func() bool {
			for _, l := range j.letters(t) {
				if l.Code == code {
					return true
				}
			}
			return false
		})
		stop()
		got := j.accepted()
		if len(got) == 0 || len(got) > 5000 {
			t.Fatalf("%s: %d records were read", name, len(got))
		}
		if diff := cmp.Diff(plainList(0, len(got)), got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		l := j.letters(t)
		if last := l[len(l)-1]; !strings.Contains(last.Reason, fmt.Sprintf("byte %d of the file", len(packed))) {
			t.Errorf("%s: %q does not name byte %d", name, last.Reason, len(packed))
		}
	}
	z := zipped(t, plains(0, 5000))
	f("gzip", z[:len(z)/2], "truncated_gzip")
	f("gzip trailer", z[:len(z)-3], "truncated_gzip")
	z = zstandardStream(t, 64<<10, plains(0, 5000))
	f("zstd", z[:len(z)*2/3], "truncated_zstd")
}

func TestFileThatCannotBeReadDoesNotStopOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "a.log")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "b.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "c.log"), "")
	write(t, filepath.Join(dir, "d.log"), "\x00\xff\n[INFO] starting\n")
	write(t, filepath.Join(dir, "e.log"), plains(0, 3))
	j := &memory{}
	run(t, dir, tail(filepath.Join(dir, "*.log")), j.Append)
	until(t, "the good file and two dead letters", func() bool { return len(j.accepted()) == 3 && len(j.letters(t)) == 2 })
	write(t, filepath.Join(dir, "nowhere"), plains(3, 5))
	until(t, "the file that came back", func() bool { return len(j.accepted()) == 5 })
}

func TestPartialLineWaits(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	appendTo(t, path, plain(0)+"\n"+plain(1)[:20])
	j := &memory{}
	run(t, dir, tail(path), j.Append)
	until(t, "first line", func() bool { return len(j.accepted()) == 1 })
	appendTo(t, path, plain(1)[20:])
	appendTo(t, path, "\n"+plain(2)+"\n")
	until(t, "all lines", func() bool { return len(j.accepted()) == 3 })
	if diff := cmp.Diff(plainList(0, 3), j.accepted()); diff != "" {
		t.Error(diff)
	}
	if l := j.letters(t); len(l) != 0 {
		t.Errorf("dead letters %+v", l)
	}
}

func TestAppendThatFailsIsRepeated(t *testing.T) {
	for _, content := range []string{plains(0, 60), string(zipped(t, plains(0, 60)))} {
		dir := t.TempDir()
		path := filepath.Join(dir, "a.log")
		write(t, path, content)
		j, n := &memory{}, 0
		j.fail = func(*schemas.Batch) error {
			if n++; n%2 == 1 {
				return &journal.RetryAfter{After: time.Millisecond, Err: journal.ErrPushback}
			}
			return nil
		}
		run(t, dir, tail(path), j.Append)
		until(t, "all records", func() bool { return len(j.accepted()) == 60 })
		if diff := cmp.Diff(plainList(0, 60), j.accepted()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestTruncation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	write(t, path, plains(0, 30))
	j := &memory{}
	run(t, dir, tail(path), j.Append)
	until(t, "first content", func() bool { return len(j.accepted()) == 30 })
	write(t, path, plains(100, 110)) // shorter
	until(t, "second content", func() bool { return len(j.accepted()) == 40 })
	write(t, path, plains(200, 260)) // longer than what was read
	until(t, "third content", func() bool { return len(j.accepted()) == 100 })
	want := append(append(plainList(0, 30), plainList(100, 110)...), plainList(200, 260)...)
	if diff := cmp.Diff(want, j.accepted()); diff != "" {
		t.Error(diff)
	}
}

// TestRotation writes while the file is rotated in each way, restarts the
// source now and then, and counts every record once.
func TestRotation(t *testing.T) {
	rename := func(t *testing.T, path string, n int) {
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, n)); err != nil {
			t.Fatal(err)
		}
	}
	copyTruncate := func(t *testing.T, path string, n int) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, fmt.Sprintf("%s.%d", path, n), string(text))
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	pack := func(t *testing.T, path string, n int) {
		rename(t, path, n)
		old := fmt.Sprintf("%s.%d", path, n)
		text, err := os.ReadFile(old)
		if err != nil {
			t.Fatal(err)
		}
		write(t, old+".gz", string(zipped(t, string(text))))
		if err := os.Remove(old); err != nil {
			t.Fatal(err)
		}
	}
	for name, rotate := range map[string]func(*testing.T, string, int){"rename": rename, "copytruncate": copyTruncate, "rename and gzip": pack} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a.log")
			j := &memory{}
			stop := run(t, dir, tail(path+"*"), j.Append)
			const rounds, each = 12, 40
			for n := range rounds {
				for i := range each {
					line := plain(n*each+i) + "\n"
					appendTo(t, path, line[:9])
					appendTo(t, path, line[9:])
				}
				if n%2 == 0 { // else the rotation meets a file that is not read yet
					until(t, "records before a rotation", func() bool { return len(j.accepted()) >= (n+1)*each })
				}
				if n%4 == 3 {
					stop()
				}
				rotate(t, path, n)
				if n%4 == 3 {
					stop = run(t, dir, tail(path+"*"), j.Append)
				}
			}
			until(t, "all records", func() bool { return len(j.accepted()) >= rounds*each })
			stop()
			seen := map[string]int{}
			for _, r := range j.accepted() {
				seen[r]++
			}
			var wrong []string
			for i, r := range plainList(0, rounds*each) {
				if seen[r] != 1 {
					wrong = append(wrong, fmt.Sprintf("%d: %d times", i, seen[r]))
				}
			}
			if len(wrong) > 0 {
				t.Errorf("%d records were not taken once, the first ones: %v", len(wrong), wrong[:min(5, len(wrong))])
			}
			if l := j.letters(t); len(l) != 0 {
				t.Errorf("dead letters %+v", l)
			}
		})
	}
}

func TestFileThatIsDeletedIsReadToItsEnd(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	j := &memory{}
	fmt.Fprint(f, plains(0, 5))
	began := time.Now()
	var passed atomic.Int64
	runAt(t, dir, tail(path), j.Append, func() time.Time { return began.Add(time.Duration(passed.Load())) })
	until(t, "first records", func() bool { return len(j.accepted()) == 5 })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, plains(5, 8)+strings.TrimSuffix(plains(8, 9), "\n"))
	until(t, "records behind the removal", func() bool { return len(j.accepted()) == 8 })
	passed.Store(int64(time.Minute)) // past close_after: what has no line end is a record, too
	until(t, "the last record", func() bool { return len(j.accepted()) == 9 })
}

func TestFileConfigFaults(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		_, err := openIn(t, t.TempDir(), "file", fields, (&memory{}).Append)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", fields, err, want)
		}
	}
	f("mode: tail", "path is missing")
	f("path: a[", "pattern")
	f("path: a\nmode: twice", "neither once nor tail")
	f("path: a\nformat: xml", "format")
	f("path: a\nmax_record: 1GiB", "max_record")
	f("path: a\npoll: 0s", "poll")
	f("path: a\nmapping: nope", "nope")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "collector"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "collector", "file-file.json"), "{")
	if _, err := openIn(t, dir, "file", "path: a", (&memory{}).Append); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("broken state: %v", err)
	}
}
