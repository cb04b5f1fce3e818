package collector_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// bucket serves objects as S3 does: lists in pages of two, checks that requests
// are signed, and answers faults first.
type bucket struct {
	mu      sync.Mutex
	objects map[string]object
	faults  []int // statuses of the next gets
	cut     int   // bytes after which the next body breaks off
	asked   []string
}

type object struct {
	body []byte
	at   time.Time
}

func (o object) etag() string {
	sum := md5.Sum(o.body)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func (b *bucket) put(key string, body []byte, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects == nil {
		b.objects = map[string]object{}
	}
	b.objects[key] = object{body, at}
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fail := func(status int, code string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>m</Message></Error>", code)
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=key/") {
		fail(403, "AccessDenied")
		return
	}
	if r.URL.Query().Get("list-type") == "2" {
		b.list(w, r)
		return
	}
	key := strings.TrimPrefix(r.URL.Path, "/logs/")
	o, ok := b.objects[key]
	b.asked = append(b.asked, key)
	if len(b.faults) > 0 {
		status := b.faults[0]
		b.faults = b.faults[1:]
		fail(status, "Slow"+strconv.Itoa(status))
		return
	}
	if !ok {
		fail(404, "NoSuchKey")
		return
	}
	if m := r.Header.Get("If-Match"); m != "" && m != o.etag() {
		fail(412, "PreconditionFailed")
		return
	}
	w.Header().Set("ETag", o.etag())
	w.Header().Set("Content-Length", strconv.Itoa(len(o.body)))
	body := o.body
	if b.cut > 0 {
		body, b.cut = body[:b.cut], 0
	}
	_, _ = w.Write(body)
}

func (b *bucket) list(w http.ResponseWriter, r *http.Request) {
	type entry struct {
		Key          string
		LastModified string
		ETag         string
		Size         int
	}
	var out struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string
		Contents              []entry
	}
	q := r.URL.Query()
	var keys []string
	for k := range b.objects {
		if strings.HasPrefix(k, q.Get("prefix")) && k > q.Get("continuation-token") {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for i, k := range keys {
		if i == 2 {
			out.IsTruncated, out.NextContinuationToken = true, keys[1]
			break
		}
		o := b.objects[k]
		out.Contents = append(out.Contents, entry{k, o.at.UTC().Format("2006-01-02T15:04:05.000Z"), o.etag(), len(o.body)})
	}
	_ = xml.NewEncoder(w).Encode(out)
}

// runSource runs the source until the journal has told of n records.
func runSource(t *testing.T, dir, kind, fields string, j *told, n int) []string {
	t.Helper()
	s, err := openAt(t, dir, kind, fields, j.Append, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	return j.next(t, n)
}

func readBucket(t *testing.T, dir, fields string, srv *httptest.Server, j *told, n int) []string {
	t.Helper()
	return runSource(t, dir, "s3", "bucket: logs\nregion: us-east-1\npath_style: true\naccess_key: key\nsecret_key: ${env:S3_SECRET}\nevery: 1s\nendpoint: "+srv.URL+"\n"+fields, j, n)
}

func TestBucket(t *testing.T) {
	t.Setenv("S3_SECRET", "secret")
	b := &bucket{}
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	now := time.Now().Truncate(time.Second)
	at := func(minutes int) time.Time { return now.Add(time.Duration(minutes) * time.Minute) }
	bare := `{"endpoint":"/api/v1/search"}`
	b.put("a/4.json", []byte("["+record("d")+",\n"+record("e")+"]"), at(-4))
	b.put("a/1.ndjson.gz", zipped(t, record("a")+"\n"+bare+"\n"+bare+"\nno JSON\n"), at(-9))
	b.put("a/2.zst", zstandard(t, record("b")), at(-8))
	b.put("a/3", append(watched(t, "DATA_MESSAGE", record("c")), watched(t, "CONTROL_MESSAGE")...), at(-7))
	b.put("a/5.gz", zipped(t, record("z"))[:20], at(-3))
	b.put("a/6", nil, at(-2))
	b.put("a/7", []byte(record("f")), at(-1))
	b.put("a/old", []byte(record("old")), at(-60*48))
	b.put("other/8", []byte(record("other")), at(-1))
	dir := t.TempDir()
	j := newTold()
	got := readBucket(t, dir, "prefix: a/", srv, j, 11)
	want := []string{record("a"), bare, bare, "!no JSON", record("b"), record("c"), record("d"), record("e")}
	if !slices.Equal(got[:8], want) || !strings.HasPrefix(got[8], `!{"ins`) || !strings.HasPrefix(got[9], "!s3/logs/a/5.gz@") || got[10] != record("f") {
		t.Fatalf("%q, want %q and the object that breaks off", got, want)
	}

	// What comes later is read, what was read is not: by a new start.
	b.put("a/1.ndjson.gz", zipped(t, record("a")+"\n"+record("a2")+"\n"), at(0)) // another version
	b.put("a/0", []byte(record("late")), at(-30))                                // visible late, within the overlap
	b.asked, b.faults = nil, []int{500, 503, 503, 503, 503, 503, 503, 503}
	j2 := newTold()
	j2.ids, j2.known = j.ids, j.known
	got = readBucket(t, dir, "prefix: a/", srv, j2, 3)
	slices.Sort(got)
	want = []string{record("a"), record("a2"), record("late")}
	if !slices.Equal(got, want) {
		t.Errorf("the second time: %q, want %q", got, want)
	}
	if slices.Contains(b.asked, "a/4.json") || slices.Contains(b.asked, "other/8") || slices.Contains(b.asked, "a/old") {
		t.Errorf("asked for %q", b.asked)
	}
	dup := 0
	for _, batch := range j2.activity() {
		for _, r := range batch.Records {
			if r.Flags&schemas.FlagDuplicate != 0 {
				dup++
			}
		}
	}
	if dup != 1 {
		t.Errorf("%d duplicates, want the one record that both versions hold", dup)
	}
}

// A body that breaks off on the way is no fault of the object: it is read again
// and its records count once.
func TestBucketLostConnection(t *testing.T) {
	t.Setenv("S3_SECRET", "secret")
	b := &bucket{}
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	body := zipped(t, lines("x", 20))
	b.put("x.gz", body, time.Now())
	b.cut = len(body) / 2
	j := newTold()
	readBucket(t, t.TempDir(), "", srv, j, 20)
	if got := j.accepted(); len(got) != 20 || len(j.letters(t)) != 0 {
		t.Errorf("%d records and %d dead letters, want 20 and none", len(got), len(j.letters(t)))
	}
}

func TestBucketPrefixes(t *testing.T) {
	t.Setenv("S3_SECRET", "secret")
	b := &bucket{}
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	now := time.Now().UTC()
	b.put("fh/"+now.Format("2006/01/02/15")+"/1", []byte(record("now")), now)
	b.put("fh/"+now.Add(-2*time.Hour).Format("2006/01/02/15")+"/1", []byte(record("earlier")), now.Add(-2*time.Hour))
	b.put("fh/1999/01/01/00/1", []byte(record("elsewhere")), now)
	got := readBucket(t, t.TempDir(), "prefix: fh/%Y/%m/%d/%H/\nsince: 3h", srv, newTold(), 2)
	if want := []string{record("earlier"), record("now")}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestBucketConfig(t *testing.T) {
	t.Setenv("S3_SECRET", "secret")
	f := func(fields, want string) {
		t.Helper()
		if _, err := openIn(t, t.TempDir(), "s3", fields, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", fields, err, want)
		}
	}
	f("region: r", "bucket")
	f("bucket: b", "region")
	f("bucket: b\nregion: r\naccess_key: a", "go together")
	f("bucket: b\nregion: r\nendpoint: ftp://x", "no URL")
	f("bucket: b\nregion: r\nevery: 1ms", "every")
	f("bucket: b\nregion: r\nmax_record: 2MiB", "max_record")
	f("bucket: b\nregion: r\nmapping: none", "none")
}
