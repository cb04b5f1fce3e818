package sinks

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

// bulkIDs are the event ids that the receiver has stored.
func bulkIDs(t *testing.T, b *sinktest.Bulk) map[schemas.ID]int {
	t.Helper()
	out := map[schemas.ID]int{}
	for text := range b.Documents() {
		id, err := hex.DecodeString(text)
		if err != nil || len(id) != 16 {
			t.Fatalf("event id %q", text)
		}
		out[schemas.ID(id)]++
	}
	for _, v := range b.Violations() {
		t.Errorf("not as documented: %s", v)
	}
	return out
}

const dataStream = "logs-agentrail-default"

func elasticFields(url, more string) string { return "urls: [" + strings.TrimSpace(url) + "]\n" + more }

func TestElasticDelivers(t *testing.T) {
	f := func(r *sinktest.Bulk, fields string, dead []uint32) {
		t.Helper()
		if r.Stream == "" {
			r.Stream = dataStream
		}
		_, fw := openTest(t, "elastic", elasticFields(serve(t, r), fields), nil)
		b := testBatch(1, 3000)
		want := wantIDs(b)
		for _, i := range dead {
			b.Events[i].Tool = "poison"
			delete(want, b.Events[i].ID)
		}
		err := fw.Consume(t.Context(), []*schemas.Batch{b})
		if got := rejectedIndexes(err); !cmp.Equal(got, dead) {
			t.Errorf("%s: rejected %v, %v", fields, got, err)
		}
		sameIDs(t, want, bulkIDs(t, r))
		if l := fw.Ledger(); l.Accepted != int64(3000-len(dead)) || l.Indexed != l.Accepted || l.Dead != int64(len(dead)) {
			t.Errorf("%s: ledger %+v", fields, l)
		}
	}
	poison := func(n int, doc []byte) int {
		if strings.Contains(string(doc), `"poison"`) {
			return http.StatusBadRequest
		}
		return http.StatusCreated
	}
	sometimes := func(status int) func(int, []byte) int {
		var n atomic.Int64
		return func(_ int, doc []byte) int {
			if s := poison(0, doc); s != http.StatusCreated {
				return s
			}
			if n.Add(1)%3 == 0 {
				return status
			}
			return http.StatusCreated
		}
	}
	f(&sinktest.Bulk{}, "", nil)
	f(&sinktest.Bulk{}, "gzip: false", nil)
	f(&sinktest.Bulk{}, "batch: {max_bytes: 4KiB}", nil)
	f(&sinktest.Bulk{Stream: "audit", Pipeline: "geo"}, "index: audit\npipeline: geo", nil)
	f(&sinktest.Bulk{MaxBytes: 20_000}, "", nil) // 413
	f(&sinktest.Bulk{Item: poison}, "", []uint32{7, 1500, 2999})
	f(&sinktest.Bulk{Item: sometimes(http.StatusTooManyRequests)}, "", []uint32{2})
	f(&sinktest.Bulk{Item: sometimes(http.StatusServiceUnavailable)}, "in_flight: 1", nil)
	f(&sinktest.Bulk{Item: func(n int, _ []byte) int { // a whole request is pushed back
		if n == 0 {
			return http.StatusTooManyRequests
		}
		return http.StatusCreated
	}}, "", nil)
	f(&sinktest.Bulk{Item: func(n int, doc []byte) int { // a missing right makes it wait, and repeats are known
		if n < 2 && strings.Contains(string(doc), testID(1, 2).String()) {
			return http.StatusForbidden
		}
		return http.StatusCreated
	}}, "", nil)
	f(&sinktest.Bulk{Lose: func(n int) bool { return n < 3 }}, "", nil)
	f(&sinktest.Bulk{Auth: func(n int, h string) int { // the token expires and comes to life again
		if h != "ApiKey a2V5" || n%4 == 1 {
			return http.StatusUnauthorized
		}
		return http.StatusOK
	}}, "api_key_file: "+secretFile(t, "a2V5")+"\nbatch: {max_events: 300}", nil)
}

func secretFile(t testing.TB, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestElasticOutlastsFaults lets most requests fail, each in another way.
// Nothing may be lost, nothing may be there twice.
func TestElasticOutlastsFaults(t *testing.T) {
	faults := []sinktest.Fault{
		{Status: 500},
		{Status: 502, Body: "<html>bad gateway</html>"},
		{Status: 503, Body: `{"error":{"type":"cluster_block_exception"}}`},
		{Status: 429, Header: http.Header{"Retry-After": {"nonsense"}}},
		{Status: 400, Body: "<html>what?</html>"},
		{Status: 403, Body: `{"error":{"type":"security_exception"}}`},
		{Status: 404},
		{Cut: true},
		{Swallow: true},
		{Garble: true},
		{Silence: true},
		{Status: 200, Body: "<html>welcome</html>"},
		{Status: 200, Body: `{"errors":false,"items":[]}`},
		{Status: 301, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}},
	}
	r := &sinktest.Bulk{Stream: dataStream}
	faulty := &sinktest.Faulty{Next: r, Script: func(n int, _ *http.Request) sinktest.Fault {
		if n%2 == 0 {
			return sinktest.Fault{}
		}
		return faults[n/2%len(faults)]
	}}
	_, fw := openTest(t, "elastic", elasticFields(serve(t, faulty), "timeout: 1s\nbatch: {max_events: 250}"), nil)
	var wg sync.WaitGroup
	var batches []*schemas.Batch
	for i := range 4 {
		b := testBatch(uint64(i), 1000)
		batches = append(batches, b)
		wg.Go(func() {
			if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	sameIDs(t, wantIDs(batches...), bulkIDs(t, r))
	if l := fw.Ledger(); l.Indexed != 4000 || l.Dead != 0 || l.Retries == 0 {
		t.Errorf("ledger: %+v", l)
	}
	if r.Conflicts() == 0 {
		t.Error("no event came twice: a swallowed answer was not repeated")
	}
}

// TestElasticFailsOver goes on with the next node when one is not there, is
// not known to DNS, or shows a certificate that nobody trusts.
func TestElasticFailsOver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	l.Close()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	for _, down := range []string{closed, "http://elastic.invalid:9200", untrusted.URL} {
		r := &sinktest.Bulk{Stream: dataStream}
		s, fw := openTest(t, "elastic", fmt.Sprintf("timeout: 5s\nurls: [%q, %q]", down, serve(t, r)), nil)
		if _, err := s.Write(t.Context(), testBatch(9, 1).Events); asWriteError(err).Kind != KindRetry {
			t.Errorf("%s: got %v", down, err)
		}
		b := testBatch(1, 100)
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		sameIDs(t, wantIDs(b), bulkIDs(t, r))
		if l := fw.Ledger(); l.Retries != 0 {
			t.Errorf("%s: asked again: %+v", down, l)
		}
		if err := fw.Probe(t.Context()); err != nil {
			t.Errorf("%s: probe: %v", down, err)
		}
	}
}

// TestElasticClientCertificate shows a certificate to a receiver that wants
// one, and trusts it by a CA file.
func TestElasticClientCertificate(t *testing.T) {
	ca := newCA(t)
	r := &sinktest.Bulk{Stream: dataStream}
	srv := httptest.NewUnstartedServer(r)
	srv.TLS, srv.Config.ErrorLog = ca.server(t), log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	_, fw := openTest(t, "elastic", elasticFields(srv.URL, "tls: {ca_file: "+ca.file+", cert_file: "+ca.cert+", key_file: "+ca.key+"}"), nil)
	b := testBatch(1, 10)
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), bulkIDs(t, r))
	s, _ := openTest(t, "elastic", elasticFields(srv.URL, "tls: {ca_file: "+ca.file+"}"), nil)
	if _, err := s.Write(t.Context(), b.Events); err == nil {
		t.Error("taken without a certificate")
	}
}

func TestElasticAuthorization(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		var got string
		r := &sinktest.Bulk{Stream: dataStream, Auth: func(_ int, h string) int { got = h; return 200 }}
		s, _ := openTest(t, "elastic", elasticFields(serve(t, r), fields), nil)
		if _, err := s.Write(t.Context(), testBatch(1, 1).Events); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: sent %q", fields, got)
		}
	}
	f("", "")
	f("api_key: a2V5", "ApiKey a2V5")
	f("token: tok", "Bearer tok")
	f("user: elastic\npassword: \"pä:ss\"", "Basic ZWxhc3RpYzpww6Q6c3M=")
}

func TestElasticAnswers(t *testing.T) {
	f := func(status int, body string, want Kind, code string) {
		t.Helper()
		we := asWriteError(bulkOutcome(answer{status: status, body: []byte(body)}, 2))
		if we.Kind != want || we.Code != code {
			t.Errorf("%d %s: got %v %s, want %v %s", status, body, we.Kind, we.Code, want, code)
		}
		if strings.ContainsAny(we.Error(), "\n\u202e") || strings.Contains(we.Error(), "secret") {
			t.Errorf("message is %q", we.Error())
		}
	}
	items := func(a, b string) string { return `{"errors":true,"items":[{"create":` + a + `},{"create":` + b + `}]}` }
	const ok = `{"status":201}`
	f(200, items(ok, `{"status":429}`), KindPartial, "item_429")
	f(200, items(`{"status":429}`, `{"status":429}`), KindRetry, "item_429")
	f(200, items(ok, `{"status":400,"error":{"type":"mapper_parsing_exception","reason":"x\n\u202e Preview of field's value: 'secret'"}}`), KindPartial, "item_400")
	f(200, items(ok, `{"status":400,"error":{"type":"illegal_argument_exception","reason":"pipeline with id [geo] does not exist"}}`), KindAuth, "item_400")
	f(200, items(ok, `{"status":409,"error":{"type":"other"}}`), KindPartial, "item_409")
	f(200, items(ok, `{"status":404,"error":{"type":"index_not_found_exception"}}`), KindAuth, "item_404")
	f(200, items(ok, `{}`), KindPartial, "item_0")
	f(200, `{"errors":false,"items":[{"create":{"status":201}}]}`, KindRetry, "bad_answer")
	f(200, `null`, KindRetry, "bad_answer")
	f(200, strings.Repeat(" ", bulkAnswerLimit), KindTooLarge, "long_answer")
	f(400, `{"error":{"type":"x_content_parse_exception"}}`, KindRefused, "http_400")
	f(400, `{"error":"no handler"}`, KindAuth, "http_400")
	f(413, "", KindTooLarge, "http_413")
	f(503, "", KindRetry, "http_503")
	f(401, `{"error":{"type":"security\n_exception"}}`, KindAuth, "http_401")
	f(307, "", KindAuth, "http_307")
}

// TestElasticCreated: only an answer that says of each item that it was created
// is known without reading it as JSON.
func TestElasticCreated(t *testing.T) {
	const item = `{"create":{"status":201}}`
	f := func(items string, want int) {
		t.Helper()
		if got := created([]byte(`{"errors":false,"items":[` + items + "]}\n")); got != want {
			t.Errorf("%s: %d, want %d", items, got, want)
		}
	}
	f("", -1)
	f(item, 1)
	f(item+","+item+","+item, 3)
	f(item+item, -1)
	f(item+", "+item, -1)
	f(item+","+strings.Replace(item, "201", "409", 1), -1)
	f(strings.Replace(item, "create", "delete", 1), -1)
	f(item+",", -1)
	if got := created([]byte(`{"errors":true,"items":[` + item + "]}")); got != -1 {
		t.Errorf("errors: %d", got)
	}
}

func FuzzBulkOutcome(f *testing.F) {
	f.Add([]byte(`{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":201}}]}`), 200)
	f.Add([]byte(`{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":400,"error":{"type":"a","reason":"b"}}}]}`), 200)
	f.Add([]byte(`{"error":{"type":"parse_exception"}}`), 400)
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		if n := created(body); n >= 0 {
			var b bulkAnswer
			if err := json.Unmarshal(body, &b); err != nil || b.Errors == nil || *b.Errors || len(b.Items) != n {
				t.Fatalf("%q is not what says that %d items were created: %v", body, n, err)
			}
			for _, it := range b.Items {
				if it.Create.Status != 201 {
					t.Fatalf("%q: status %d", body, it.Create.Status)
				}
			}
		}
		err := bulkOutcome(answer{status: status, body: body}, 2)
		if err == nil {
			return
		}
		we := asWriteError(err)
		if we.Err == nil || we.Code == "" || len(we.Rejected)+len(we.Again) > 2 || strings.ContainsAny(we.Error(), "\n\x00") {
			t.Errorf("%d %q: %+v", status, body, we)
		}
	})
}

// TestElasticEventOnTheWire sends hostile text in every field, and an event of
// 1 MB.
func TestElasticEventOnTheWire(t *testing.T) {
	r := &sinktest.Bulk{Stream: dataStream}
	_, fw := openTest(t, "elastic", elasticFields(serve(t, r), "content: true\nbatch: {max_bytes: 4MiB}"), nil)
	b := hostileBatch()
	b.Events = append(b.Events, schemas.Event{ID: testID(99, 0), Class: schemas.ClassActivity, Target: strings.Repeat("x", 1<<20)})
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), bulkIDs(t, r))
	for i := range b.Events {
		var doc map[string]any
		if err := json.Unmarshal(r.Documents()[b.Events[i].ID.String()], &doc); err != nil {
			t.Fatal(err)
		}
		if got, _ := doc["actor"].(string); got != strings.ToValidUTF8(b.Events[i].Actor, "\ufffd\ufffd") {
			t.Errorf("actor %q arrived as %q", b.Events[i].Actor, got)
		}
	}
}

// TestElasticPoisonAmongThousands parks one event in 10,000 without asking for
// the others again.
func TestElasticPoisonAmongThousands(t *testing.T) {
	r := &sinktest.Bulk{Stream: dataStream, Item: func(_ int, doc []byte) int {
		if strings.Contains(string(doc), testID(1, 7777).String()) {
			return http.StatusBadRequest
		}
		return http.StatusCreated
	}}
	_, fw := openTest(t, "elastic", elasticFields(serve(t, r), ""), nil)
	err := fw.Consume(t.Context(), []*schemas.Batch{testBatch(1, 10_000)})
	if got := rejectedIndexes(err); !cmp.Equal(got, []uint32{7777}) {
		t.Errorf("rejected %v, %v", got, err)
	}
	if r.Conflicts() != 0 || len(r.Documents()) != 9999 {
		t.Errorf("%d came again, %d are stored", r.Conflicts(), len(r.Documents()))
	}
}

func TestElasticConfig(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		if err := openFault(t, "elastic", fields); !strings.Contains(err, want) {
			t.Errorf("%s: got %q, want %q", fields, err, want)
		}
	}
	f("", "urls: is missing")
	f("urls: ['http://169.254.169.254']", "link-local")
	f("urls: ['http://u:p@es:9200']", "user name or password")
	f("urls: ['http://es:9200']\nindex: Logs", "lower case")
	f("urls: ['http://es:9200']\nindex: _all", "begins with")
	f("urls: ['http://es:9200']\napi_key: a\ntoken: b", "give one of")
	f("urls: ['http://es:9200']\nuser: a", "go together")
	f("urls: ['http://es:9200']\ntimeout: 0s", "timeout")
	f("urls: ['http://es:9200']\ntoken: \"a\\nb\"", "header")
}

func TestElasticCancelled(t *testing.T) {
	faulty := &sinktest.Faulty{Next: http.NotFoundHandler(), Script: func(int, *http.Request) sinktest.Fault { return sinktest.Fault{Silence: true} }}
	s, _ := openTest(t, "elastic", elasticFields(serve(t, faulty), ""), nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		await(t, func() bool { return faulty.Requests() > 0 })
		cancel()
	}()
	if _, err := s.Write(ctx, testBatch(1, 1).Events); asWriteError(err).Code != "cancelled" {
		t.Errorf("got %v", err)
	}
}
