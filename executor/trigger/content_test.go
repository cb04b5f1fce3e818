package trigger_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trigger"
)

const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

func hooks(o *trigger.Options) {
	o.Config.Webhooks = []trigger.Webhook{{Name: "incident", Secret: secret}, {Name: "plain", Token: "0123456789abcdef"}}
}

// post sends content as Standard Webhooks has it, and returns the status.
func (b *bench) post(name, id, body string, change func(http.Header)) (int, string) {
	b.t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/webhooks/{name}", b.triggers.Handler())
	s := httptest.NewServer(mux)
	defer s.Close()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, s.URL+"/webhooks/"+name, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	sent := fmt.Sprint(b.clock.now().Unix())
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", sent)
	req.Header.Set("webhook-signature", "v1,AAAA "+sign(id, sent, body))
	if change != nil {
		change(req.Header)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func sign(id, sent, body string) string {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		panic(err)
	}
	m := hmac.New(sha256.New, key)
	fmt.Fprintf(m, "%s.%s.%s", id, sent, body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// outputs are the outputs of all runs, sorted.
func (b *bench) outputs() (out []string) {
	b.t.Helper()
	b.runs()
	list, err := b.store.Runs(b.t.Context(), state.RunFilter{})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range list {
		out = append(out, r.Output)
	}
	slices.Sort(out)
	return out
}

func TestS28Webhook(t *testing.T) {
	b := setUp(t, at(11, 25, 7, 0), hooks)
	b.agent(specText(`content: {webhook: incident}`))
	b.subscribe("")
	b.subscribe("")
	f := func(name string, want int, hook, id, body string, change func(http.Header)) {
		t.Helper()
		if status, text := b.post(hook, id, body, change); status != want {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	f("no such webhook", 404, "other", "m1", "x", nil)
	f("no signature", 401, "incident", "m1", "x", func(h http.Header) { h.Del("webhook-signature") })
	f("another body's signature", 401, "incident", "m1", "x", func(h http.Header) {
		h.Set("webhook-signature", sign("m1", h.Get("webhook-timestamp"), "y"))
	})
	f("another id's signature", 401, "incident", "m1", "x", func(h http.Header) { h.Set("webhook-id", "m2") })
	f("an old one", 401, "incident", "m1", "x", func(h http.Header) {
		sent := fmt.Sprint(b.clock.now().Add(-6 * time.Minute).Unix())
		h.Set("webhook-timestamp", sent)
		h.Set("webhook-signature", sign("m1", sent, "x"))
	})
	f("no time", 401, "incident", "m1", "x", func(h http.Header) { h.Set("webhook-timestamp", "soon") })
	f("a token where a signature is wanted", 401, "incident", "m1", "x", func(h http.Header) {
		h.Del("webhook-signature")
		h.Set("Authorization", "Bearer 0123456789abcdef")
	})
	f("too large", 413, "incident", "m1", strings.Repeat("x", 1<<20+1), nil)
	f("no id", 400, "incident", "", "x", nil)
	if out := b.outputs(); len(out) != 0 {
		t.Fatalf("refused, and run: %q", out)
	}
	f("as it should be", 202, "incident", "m1", "server down", nil)
	if out := b.outputs(); !slices.Equal(out, []string{"got server down", "got server down"}) {
		t.Errorf("runs: %q", out)
	}
	if status, text := b.post("incident", "m1", "server down", nil); status != 202 || !strings.Contains(text, `"duplicates":2`) {
		t.Errorf("sent again: %d %s", status, text)
	}
	f("with a token", 202, "plain", "m1", "x", func(h http.Header) { h.Set("Authorization", "Bearer 0123456789abcdef") })
	f("with a wrong token", 401, "plain", "m1", "x", func(h http.Header) { h.Set("Authorization", "Bearer 0123456789abcdeF") })
	if out := b.outputs(); len(out) != 2 {
		t.Errorf("runs in the end: %q", out)
	}
	b.restart()
	if status, text := b.post("incident", "m1", "server down", nil); status != 202 || !strings.Contains(text, `"duplicates":2`) {
		t.Errorf("sent again after a restart: %d %s", status, text)
	}
}

// TestWebhookSentByManyAtOnce: one event, many senders, one run.
func TestWebhookSentByManyAtOnce(t *testing.T) {
	b := setUp(t, at(11, 25, 7, 0), hooks)
	b.agent(specText(`content: {webhook: incident}`))
	b.subscribe("")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if status, text := b.post("incident", "m1", "x", nil); status != 202 {
				t.Errorf("%d %s", status, text)
			}
		})
	}
	wg.Wait()
	if out := b.outputs(); len(out) != 1 {
		t.Errorf("runs: %q", out)
	}
}

// TestWebhookWhileItRuns: the sender is asked to send again, and what it sends
// again runs once.
func TestWebhookWhileItRuns(t *testing.T) {
	b := setUp(t, at(11, 25, 7, 0), hooks)
	b.agent(specText(`content: {webhook: incident}`))
	sub := b.subscribe("")
	b.subscribe("")
	busy := state.Run{ID: "run_busy", Kind: state.KindAgent, Agent: "digest", Subscription: sub, Status: state.Running, Started: b.clock.now()}
	if err := b.store.BeginRun(t.Context(), busy, 1); err != nil {
		t.Fatal(err)
	}
	if status, text := b.post("incident", "m1", "x", nil); status != 503 || !strings.Contains(text, sub) {
		t.Errorf("while it runs: %d %s", status, text)
	}
	busy.Status, busy.Ended = state.Success, b.clock.now()
	if err := b.store.EndRun(t.Context(), busy); err != nil {
		t.Fatal(err)
	}
	if status, text := b.post("incident", "m1", "x", nil); status != 202 || !strings.Contains(text, `"duplicates":1`) {
		t.Errorf("sent again: %d %s", status, text)
	}
	if out := b.outputs(); !slices.Equal(out, []string{"", "got x", "got x"}) {
		t.Errorf("runs: %q", out)
	}
}

func TestConfigIsChecked(t *testing.T) {
	f := func(want string, c trigger.Config) {
		t.Helper()
		store, err := state.Open(t.Context(), t.TempDir(), state.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		if _, err := trigger.New(trigger.Options{Store: store, Engine: noEngine{}, Config: c}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	f("lower-case", trigger.Config{Webhooks: []trigger.Webhook{{Name: "A/B", Secret: secret}}})
	f("twice", trigger.Config{Webhooks: []trigger.Webhook{{Name: "a", Secret: secret}, {Name: "a", Secret: secret}}})
	f("secret_file and token_file", trigger.Config{Webhooks: []trigger.Webhook{{Name: "a"}}})
	f("secret_file and token_file", trigger.Config{Webhooks: []trigger.Webhook{{Name: "a", Secret: secret, Token: "0123456789abcdef"}}})
	f("24 to 64", trigger.Config{Webhooks: []trigger.Webhook{{Name: "a", Secret: "whsec_AAAA"}}})
	f("16 characters", trigger.Config{Webhooks: []trigger.Webhook{{Name: "a", Token: "short"}}})
	f("no such file", trigger.Config{Webhooks: []trigger.Webhook{{Name: "a", SecretFile: "/nowhere"}}})
	f("absolute", trigger.Config{Folders: []trigger.Folder{{Path: "in"}}})
	f("detours", trigger.Config{Folders: []trigger.Folder{{Path: "/srv/../etc"}}})
	f("twice", trigger.Config{Folders: []trigger.Folder{{Path: "/srv"}, {Path: "/srv"}}})
}

// noEngine starts nothing.
type noEngine struct{ trigger.Engine }

// drop is a folder that is watched.
type drop struct {
	*bench
	path string
}

func watch(t *testing.T, before map[string]string) drop {
	t.Helper()
	path := t.TempDir()
	b := setUp(t, at(11, 25, 7, 0), func(o *trigger.Options) {
		o.Config.Folders = []trigger.Folder{{Path: path, Bytes: 100}}
	})
	d := drop{b, path}
	for name, text := range before {
		d.write(name, text)
	}
	b.agent(specText(`content: {folder: ` + path + `}`))
	b.subscribe("")
	d.pass()
	return d
}

func (d drop) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.path, name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// pass looks often enough to take what is stable.
func (d drop) pass() {
	for range 3 {
		d.triggers.Pass(d.t.Context())
		d.runs()
	}
}

func (d drop) want(lines ...string) {
	d.t.Helper()
	if got := d.outputs(); !slices.Equal(got, lines) {
		d.t.Errorf("want %q, got %q", lines, got)
	}
}

func TestS28Folder(t *testing.T) {
	d := watch(t, map[string]string{"old.txt": "was there before"})
	d.want()
	d.write("a.txt", "first")
	d.triggers.Pass(t.Context()) // it may still be written
	d.want()
	d.pass()
	d.want("got first")
	d.write("b.txt", "sec")
	d.triggers.Pass(t.Context())
	d.write("b.txt", "second") // it was
	d.triggers.Pass(t.Context())
	d.want("got first")
	d.pass()
	d.want("got first", "got second")
	d.restart()
	d.write("c.txt", "third")
	d.pass()
	d.want("got first", "got second", "got third")
	d.write("a.txt", "another first") // a new version is a new event
	d.pass()
	d.want("got another first", "got first", "got second", "got third")
}

// TestFolderTakesFilesOnly: no links, no hidden files, no folders, nothing that
// is too large, and the neighbour is taken.
func TestFolderTakesFilesOnly(t *testing.T) {
	d := watch(t, nil)
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Symlink(outside, filepath.Join(d.path, "link")), os.Mkdir(filepath.Join(d.path, "folder"), 0o700),
		os.Symlink(d.path, filepath.Join(d.path, "loop")), os.WriteFile(filepath.Join(d.path, "folder", "inner"), []byte("inner"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	d.write(".hidden", "hidden")
	d.write("large", strings.Repeat("x", 101))
	d.write("fits", strings.Repeat("x", 100))
	d.pass()
	d.want("got " + strings.Repeat("x", 100))
}

// TestFolderThatIsALink is not watched, nor one that the operator did not list.
func TestFolderThatIsALink(t *testing.T) {
	real := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	for _, listed := range []string{link, "/srv/other"} {
		b := setUp(t, at(11, 25, 7, 0), func(o *trigger.Options) { o.Config.Folders = []trigger.Folder{{Path: listed}} })
		b.agent(specText(`content: {folder: ` + link + `}`))
		b.subscribe("")
		d := drop{b, real}
		d.pass()
		d.write("a.txt", "first")
		d.pass()
		d.want()
		if err := os.Remove(filepath.Join(real, "a.txt")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFileWaitsWhileItRuns: it is taken when there is a place.
func TestFileWaitsWhileItRuns(t *testing.T) {
	d := watch(t, nil)
	list, err := d.store.Subscriptions(t.Context(), state.SubscriptionFilter{})
	if err != nil {
		t.Fatal(err)
	}
	busy := state.Run{ID: "run_busy", Kind: state.KindAgent, Agent: "digest", Subscription: list[0].ID, Status: state.Running, Started: d.clock.now()}
	if err := d.store.BeginRun(t.Context(), busy, 1); err != nil {
		t.Fatal(err)
	}
	d.write("a.txt", "first")
	d.pass()
	d.want("")
	busy.Status, busy.Ended = state.Success, d.clock.now()
	if err := d.store.EndRun(t.Context(), busy); err != nil {
		t.Fatal(err)
	}
	d.pass()
	d.want("", "got first")
}

// FuzzSignature posts foreign headers: nothing but the right signature passes.
func FuzzSignature(f *testing.F) {
	f.Add("m1", "1764054000", "v1,AAAA", "body")
	f.Add("", "-1", "v1a,x v1,", "")
	f.Add("m", "9223372036854775807", "v1,"+strings.Repeat("A", 44), "x")
	store, err := state.Open(f.Context(), f.TempDir(), state.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { store.Close() })
	o := trigger.Options{Store: store, Engine: noEngine{}}
	hooks(&o)
	tr, err := trigger.New(o)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, sent, signature, body string) {
		r := httptest.NewRequest(http.MethodPost, "/webhooks/incident", strings.NewReader(body))
		r.SetPathValue("name", "incident")
		r.Header.Set("webhook-id", id)
		r.Header.Set("webhook-timestamp", sent)
		r.Header.Set("webhook-signature", signature)
		w := httptest.NewRecorder()
		tr.Handler().ServeHTTP(w, r)
		if w.Code < 400 && !strings.Contains(signature, sign(id, sent, body)) {
			t.Errorf("%d for %q %q %q", w.Code, id, sent, signature)
		}
	})
}
