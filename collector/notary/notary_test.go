package notary_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/notary"
	"github.com/agentrail/agentrail/schemas"
)

func newKey(t *testing.T, origin string) *notary.Key {
	t.Helper()
	dir := t.TempDir()
	k, err := notary.OpenKey(filepath.Join(dir, "keys", "head.key"), filepath.Join(dir, "data"), origin)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// memory appends heads to a list, each batch id once, as a journal does.
type memory struct {
	ids   map[schemas.ID]bool
	heads []schemas.Head
	fail  int // appends that fail first
}

func (m *memory) append(_ context.Context, b *schemas.Batch) (uint64, error) {
	if m.fail > 0 {
		m.fail--
		return 0, errors.New("disk is full")
	}
	if m.ids == nil {
		m.ids = map[schemas.ID]bool{}
	}
	if m.ids[b.Header.ID] {
		return 0, nil
	}
	m.ids[b.Header.ID] = true
	var h schemas.Head
	if err := json.Unmarshal(b.Events[0].Raw, &h); err != nil {
		return 0, err
	}
	if b.Class != schemas.ClassEvidence || b.Events[0].Kind != notary.Kind || b.Flags&schemas.BatchSelf == 0 || b.Tenant != "acme" {
		return 0, errors.New("not a head event")
	}
	m.heads = append(m.heads, h)
	return 0, nil
}

func newNotary(t *testing.T, m *memory, key *notary.Key) *notary.Notary {
	t.Helper()
	n, err := notary.New(notary.Options{Key: key, Append: m.append, Own: decode.Own, Tenant: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// feed makes one frame a second for each letter: d data, t tick, h head, g gap.
func feed(from uint64, letters string) []*schemas.Batch {
	var out []*schemas.Batch
	for i, l := range letters {
		o := from + uint64(i)
		b := &schemas.Batch{Header: schemas.Header{Offset: o, Class: schemas.ClassActivity, Received: int64(o) * int64(time.Second)}}
		b.Self[0] = byte(o)
		switch l {
		case 't':
			b.Flags = schemas.BatchTick
		case 'h':
			b.Class, b.Flags = schemas.ClassEvidence, schemas.BatchSelf
		case 'g':
			b = &schemas.Batch{Gap: &schemas.Gap{From: o, To: o + 1, Reason: "damaged"}}
		}
		out = append(out, b)
	}
	return out
}

func offsets(heads []schemas.Head) []uint64 {
	out := []uint64{}
	for _, h := range heads {
		out = append(out, h.Offset)
	}
	return out
}

func TestHeadsComeEachMinuteOfJournalTime(t *testing.T) {
	key := newKey(t, "acme/journal")
	f := func(letters string, want ...uint64) {
		t.Helper()
		m := &memory{}
		if err := newNotary(t, m, key).Consume(t.Context(), feed(0, letters)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append([]uint64{}, want...), offsets(m.heads)); diff != "" {
			t.Errorf("%d frames (-want +got):\n%s", len(letters), diff)
		}
	}
	f(strings.Repeat("d", 60))
	f(strings.Repeat("d", 61), 60)
	f(strings.Repeat("d", 200), 60, 120, 180)
	f("d"+strings.Repeat("t", 99), 60)
	f("d"+strings.Repeat("t", 60)+"h"+strings.Repeat("t", 3500), 60)
	f("d"+strings.Repeat("t", 60)+"h"+strings.Repeat("t", 7300), 60, 3660, 7260)
	f(strings.Repeat("g", 100))
	f("dgd"+strings.Repeat("t", 60), 60)
}

func TestReplayAppendsNothingNew(t *testing.T) {
	key, m := newKey(t, "acme/journal"), &memory{}
	n := newNotary(t, m, key)
	all := feed(0, strings.Repeat("d", 300))
	if err := n.Consume(t.Context(), all[:100]); err != nil {
		t.Fatal(err)
	}
	var snapshot bytes.Buffer
	if _, err := n.WriteTo(&snapshot); err != nil {
		t.Fatal(err)
	}
	if err := n.Consume(t.Context(), all[100:]); err != nil {
		t.Fatal(err)
	}
	want := offsets(m.heads)
	again := newNotary(t, m, key)
	if _, err := again.ReadFrom(&snapshot); err != nil {
		t.Fatal(err)
	}
	if err := again.Consume(t.Context(), all[100:]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, offsets(m.heads)); diff != "" {
		t.Errorf("replay from a snapshot (-first +after):\n%s", diff)
	}
	if err := newNotary(t, m, key).Consume(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, offsets(m.heads)); diff != "" {
		t.Errorf("replay from the start (-first +after):\n%s", diff)
	}
}

func TestCleanStopSignsTheRest(t *testing.T) {
	m := &memory{}
	n := newNotary(t, m, newKey(t, "acme/journal"))
	if err := n.Consume(t.Context(), feed(0, "ddd")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := n.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]uint64{2}, offsets(m.heads)); diff != "" {
		t.Errorf("heads (-want +got):\n%s", diff)
	}
}

func TestAppendIsRetried(t *testing.T) {
	key := newKey(t, "acme/journal")
	synctest.Test(t, func(t *testing.T) {
		m := &memory{fail: 5}
		if err := newNotary(t, m, key).Consume(t.Context(), feed(0, strings.Repeat("d", 61))); err != nil || len(m.heads) != 1 {
			t.Errorf("%d heads, %v", len(m.heads), err)
		}
		m = &memory{fail: 1 << 30}
		n := newNotary(t, m, key)
		if err := n.Consume(t.Context(), feed(0, "d")); err != nil {
			t.Fatal(err)
		}
		if err := n.Close(context.WithoutCancel(t.Context())); err == nil {
			t.Error("no error though nothing could be appended at the stop")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := newNotary(t, m, key).Consume(ctx, feed(0, strings.Repeat("d", 61))); err == nil {
			t.Error("no error though ctx ended")
		}
	})
}

func TestKeyIsKeptOutsideTheDataFolder(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(data, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	f := func(path, want string) {
		t.Helper()
		_, err := notary.OpenKey(path, data, "acme/journal")
		if got := errText(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	f(filepath.Join(data, "head.key"), "inside the data folder")
	f(filepath.Join(data, "a", "b", "head.key"), "inside the data folder")
	f(filepath.Join(dir, "link", "head.key"), "inside the data folder")
	f(filepath.Join(dir, "x", "..", "data", "head.key"), "inside the data folder")
	f(filepath.Join(dir, "data2", "head.key"), "")
	f(filepath.Join(dir, "..keys", "head.key"), "")
	if _, err := notary.OpenKey(filepath.Join(dir, "k"), data, "two words"); err == nil {
		t.Error("an origin with a space was taken")
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "head.key")
	open := func() (*notary.Key, error) { return notary.OpenKey(path, filepath.Join(dir, "data"), "acme/journal") }
	k, err := open()
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	pub, err := os.ReadFile(path + ".pub")
	if err != nil || strings.TrimSpace(string(pub)) != k.PublicKey() {
		t.Errorf("public key file: %q, %v", pub, err)
	}
	again, err := open()
	if err != nil || again.ID() != k.ID() || again.PublicKey() != k.PublicKey() || again.Origin() != "acme/journal" {
		t.Errorf("key was not kept: %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); !strings.Contains(errText(err), "chmod 600") {
		t.Errorf("a key that others can read was taken: %v", err)
	}
	other := newKey(t, "acme/journal")
	text, _ := os.ReadFile(path)
	secret, _, _ := strings.Cut(string(text), "\n")
	for _, bad := range []string{"", "x", secret, secret + "\n" + other.PublicKey() + "\n"} {
		if err := errors.Join(os.WriteFile(path, []byte(bad), 0o600), os.Chmod(path, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := open(); !strings.Contains(errText(err), "damaged") {
			t.Errorf("key file %q: %v", bad, err)
		}
	}
}

func TestHeadFileForms(t *testing.T) {
	key := newKey(t, "acme/journal")
	h, err := key.Sign(0, 41, schemas.Digest{1, 2, 3}, time.Date(2026, 11, 23, 8, 0, 0, 123, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	asText, err := json.Marshal(string(doc))
	if err != nil {
		t.Fatal(err)
	}
	note, err := notary.Note(h)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(doc), "\n" + string(doc) + "\n", note, `{"kind":"head","raw":` + string(doc) + `}`, `{"raw":` + string(asText) + `}`, `{"time":1,"event":{"raw":` + string(asText) + `}}`} {
		got, err := notary.ParseHead([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(h, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{"", "{}", "[]", `{"raw":{}}`, "a\n\nb", strings.Replace(note, "shard 0", "shard x", 1), "{"} {
		if _, err := notary.ParseHead([]byte(text)); err == nil {
			t.Errorf("%q was taken for a head", text)
		}
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add([]byte(`{"raw":"{\"signature\":\"x\"}"}`))
	f.Add([]byte("acme\nshard 0\noffset 1\nsha256 AAAA\ntime 2026-11-23T08:00:00Z\n\n— acme AAAAAAAA\n"))
	f.Add([]byte(`{"event":{"event":{"event":{}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := notary.ParseHead(text)
		if err != nil {
			return
		}
		if h.Signature == "" {
			t.Errorf("a head without signature: %q", text)
		}
		_, _ = notary.Note(h)
	})
}
