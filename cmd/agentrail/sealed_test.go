package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

const sealedRecord = `{"insertId":"s1","timestamp":"2026-08-21T09:15:02Z","jsonPayload":{"endpoint":"/api/v1/executeactiontool","actor":{"userId":"hunter2"}}}`

// TestSealed: a sealed record goes through the whole program (journal, Follow,
// store with the real engine, sinks, API) as its digest. Its neighbour goes
// through with its content, and the journal verifies.
func TestSealed(t *testing.T) {
	dir := t.TempDir()
	stored, id := appendSealed(t, filepath.Join(dir, "data"))
	hook := &received{}
	receiver := httptest.NewServer(hook)
	defer receiver.Close()
	url, token := startSealed(t, dir, receiver.URL)

	var rows api.EventList
	eventually(t, "the server is ready", func() bool { // before, memory answers
		var st api.Status
		return get(t, url+"/agentrail/v1/status", token, &st) && st.Ready
	})
	eventually(t, "both records are in the store", func() bool {
		rows = api.EventList{}
		return get(t, url+"/agentrail/v1/events?class=activity", token, &rows) && len(rows.Events) == 2
	})
	digest := schemas.DigestOf(stored).String()
	for _, ev := range rows.Events {
		if (ev.ID == id) != slices.Contains(ev.Flags, "sealed") || (ev.Digest == digest) != (ev.ID == id) || (ev.Actor == "") != (ev.ID == id) {
			t.Errorf("row %+v", ev)
		}
		var one api.Event
		if !get(t, url+"/agentrail/v1/events/"+ev.ID, token, &one) || (one.Raw == nil) != (ev.ID == id) {
			t.Errorf("event %s has content %v", ev.ID, one.Raw)
		}
	}
	file := filepath.Join(dir, "archive.ndjson")
	archive := func() []byte { p, _ := os.ReadFile(file); return p }
	for name, sent := range map[string]func() []byte{"file": archive, "webhook": hook.text} {
		eventually(t, name+" has both", func() bool { return bytes.Count(sent(), []byte(`"raw_sha256"`)) == 2 })
		text := string(sent())
		if !strings.Contains(text, digest) || strings.Count(text, `"raw":`) != 1 || strings.Contains(text, "hunter2") || strings.Contains(text, "key-1") {
			t.Errorf("%s has %s", name, text)
		}
	}
	if out, err := exec.Command("agentrail", "log", "check", "--data", filepath.Join(dir, "data")).CombinedOutput(); err != nil || !strings.Contains(string(out), "1 sealed") {
		t.Errorf("log check: %v: %s", err, out)
	}
	if out, err := exec.Command("agentrail", "verify", "--data", filepath.Join(dir, "data"), "--key", filepath.Join(dir, "head.key.pub")).CombinedOutput(); err != nil {
		t.Errorf("verify: %v: %s", err, out)
	}
}

// appendSealed makes a journal with one request of two records, the first one
// sealed, and returns its stored bytes and its id.
func appendSealed(t *testing.T, data string) (stored []byte, id string) {
	t.Helper()
	set, err := decode.Open(filepath.Join(data, "mappings"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := set.Mapping("audit")
	if err != nil {
		t.Fatal(err)
	}
	open := strings.ReplaceAll(strings.Replace(sealedRecord, "s1", "s2", 1), "hunter2", "u_2")
	b := &schemas.Batch{Header: schemas.Header{
		Tenant: "default", Source: "audit", Class: schemas.ClassActivity, Received: time.Now().UnixNano(), ContentType: "application/x-ndjson",
	}, Body: []byte(sealedRecord + "\n" + open + "\n")}
	b.ID = schemas.ProducerID("test", 0, 0)
	if _, err := m.Read(b, decode.Limits{RecordBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	if stored, err = journal.Seal("key-1", aead, []byte(sealedRecord)); err != nil {
		t.Fatal(err)
	}
	b.Body = append(append(bytes.Clone(stored), '\n'), open...)
	first, second := &b.Records[0], &b.Records[1]
	first.Start, first.Length, first.Digest, first.Flags = 0, uint32(len(stored)), schemas.DigestOf(stored), schemas.FlagSealed
	second.Start = uint32(len(stored)) + 1
	if err := set.Decode(b); err != nil {
		t.Fatal(err)
	}
	j, err := journal.OpenDisk(t.Context(), journal.Options{Dir: filepath.Join(data, "journal"), Decode: set.Decode, SegmentBytes: 1 << 20, ReserveBytes: -1, Tick: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return stored, first.ID.String()
}

// startSealed runs the program on the folder until the test ends.
func startSealed(t *testing.T, dir, receiver string) (url, token string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	token, err = auth.Generate(filepath.Join(dir, "tokens.yaml"), auth.Principal{Name: "jane", Tenant: "default", Roles: []auth.Role{auth.RoleAnalyst}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "hook.secret")
	if err := os.WriteFile(secret, []byte("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "agentrail.yaml")
	text := fmt.Sprintf(`version: 1
listen: %s
journal: {reserve: 4MiB, segment_bytes: 4MiB}
sinks:
  - {kind: file, name: archive, path: %s/archive.ndjson, from: start, content: true, classes: [activity]}
  - {kind: webhook, name: hook, url: %q, secret_file: %s, from: start, content: true, classes: [activity]}
`, addr, dir, receiver, secret)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("agentrail", "serve", "--config", conf)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return "http://" + addr, token
}

// received keeps what a webhook got.
type received struct {
	mu  sync.Mutex
	got bytes.Buffer
}

func (r *received) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got.Write(body)
}

func (r *received) text() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.got.Bytes())
}

// get reads a JSON answer; false while there is none.
func get(t *testing.T, url, token string, into any) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer r.Body.Close()
	return r.StatusCode == http.StatusOK && json.NewDecoder(r.Body).Decode(into) == nil
}

// eventually looks again and again, for a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("it did not come to pass within a minute: %s", what)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
