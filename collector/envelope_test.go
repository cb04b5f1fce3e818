package collector_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/internal/auth"
)

const asJSON = "Content-Type: application/json"

// pushed is a push delivery of Pub/Sub.
func pushed(id string, data []byte) string {
	return fmt.Sprintf(`{"message":{"attributes":{"logging.googleapis.com/timestamp":"2026-08-21T09:15:02Z"},"data":%q,"messageId":%q,"message_id":%[2]q,"publishTime":"2026-08-21T09:15:03.1Z"},"subscription":"projects/p/subscriptions/agentrail"}`,
		base64.StdEncoding.EncodeToString(data), id)
}

func TestPubSubPush(t *testing.T) {
	j := &memory{}
	srv := serve(t, open(t, "audit", "", j.Append))
	f := func(name, body string, accepted, duplicates, rejected int) {
		t.Helper()
		got := post(t, srv.URL+"/v1/audit", strings.NewReader(body), asJSON)
		if got.Status != 202 || got.Accepted != accepted || got.Duplicates != duplicates || got.RejectedTotal != rejected {
			t.Errorf("%s: %+v, want %d accepted, %d duplicates, %d rejected", name, got, accepted, duplicates, rejected)
		}
	}
	spaced := "{\n  \"insertId\": \"a\",\n  \"timestamp\": \"2026-08-21T09:15:02Z\", \"endpoint\": \"/api/v1/search\"}\n"
	f("an entry over several lines", pushed("1", []byte(spaced)), 1, 0, 0)
	f("delivered again", pushed("1", []byte(spaced)), 0, 1, 0)
	f("the same entry in another message", pushed("2", []byte(spaced)), 0, 1, 0)
	bare := []byte(`{"endpoint":"/api/v1/search"}`)
	f("without an id of its own", pushed("3", bare), 1, 0, 0)
	f("a twin of it in another message", pushed("4", bare), 1, 0, 0)
	f("other order of keys", `{"subscription":"s","message":{"messageId":"5","data":"`+base64.StdEncoding.EncodeToString([]byte(record("c")))+`"}}`, 1, 0, 0)
	f("rubbish, which would only come again", pushed("6", []byte("rubbish")), 0, 0, 1)
	f("no data", `{"message":{"messageId":"7"},"subscription":"s"}`, 0, 0, 1)
	f("a record that resembles it", `{"message":"hello","subscription":"x","insertId":"d"}`, 1, 0, 0)

	want := []string{strings.TrimSuffix(spaced, "\n"), string(bare), string(bare), record("c"), `{"message":"hello","subscription":"x","insertId":"d"}`}
	if got := j.accepted(); !slices.Equal(got, want) {
		t.Errorf("kept %q, want the entries as they were written", got)
	}
	if l := j.letters(t); len(l) != 2 || string(l[0].Bytes) != "rubbish" {
		t.Errorf("dead letters %+v, want one of rubbish and one of no data", l)
	}
	got := post(t, srv.URL+"/v1/audit", strings.NewReader(`{"message":{"messageId":"8","data":"***"},"subscription":"s"}`), asJSON)
	if got.Status != 400 || got.Code != "bad_envelope" || !strings.Contains(got.Detail, `"8"`) {
		t.Errorf("broken base64: %+v", got)
	}
}

// watched is a document of CloudWatch Logs with these messages, packed.
func watched(t *testing.T, kind string, messages ...string) []byte {
	t.Helper()
	events := []map[string]any{}
	for i, m := range messages {
		events = append(events, map[string]any{"id": fmt.Sprintf("%056d", i), "timestamp": 1787303702000, "message": m})
	}
	doc, err := json.Marshal(map[string]any{
		"messageType": kind, "owner": "123456789012", "logGroup": "audit-log", "logStream": "s1", "subscriptionFilters": []string{"agentrail"}, "logEvents": events,
	})
	if err != nil {
		t.Fatal(err)
	}
	return zipped(t, string(doc))
}

// fired is a request of Firehose with these records.
func fired(t *testing.T, id string, records ...[]byte) string {
	t.Helper()
	list := []map[string]string{}
	for _, r := range records {
		list = append(list, map[string]string{"data": base64.StdEncoding.EncodeToString(r)})
	}
	doc, err := json.Marshal(map[string]any{"requestId": id, "timestamp": 1787303702000, "records": list})
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

func TestFirehose(t *testing.T) {
	j := &memory{}
	srv := serve(t, open(t, "audit", "max_body: 4MiB", j.Append))
	f := func(name, id, body string, status int, fault string, headers ...string) {
		t.Helper()
		r, err := http.NewRequest("POST", srv.URL+"/v1/audit", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Amz-Firehose-Protocol-Version", "1.0")
		r.Header.Set("X-Amz-Firehose-Request-Id", id)
		for _, h := range headers {
			k, v, _ := strings.Cut(h, ": ")
			r.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var a struct {
			RequestID    string
			Timestamp    int64
			ErrorMessage string
		}
		if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
			t.Fatalf("%s: the answer is no JSON: %v", name, err)
		}
		if resp.StatusCode != status || a.RequestID != id || a.Timestamp == 0 || !strings.HasPrefix(a.ErrorMessage, fault) || fault == "" && a.ErrorMessage != "" {
			t.Errorf("%s: %d %+v, want %d %s", name, resp.StatusCode, a, status, fault)
		}
	}
	pretty := "{\n \"insertId\": \"p\",\n \"endpoint\": \"/api/v1/search\"\n}"
	bare := `{"endpoint":"/api/v1/search"}`
	first := fired(t, "r1", watched(t, "DATA_MESSAGE", record("a"), pretty, "no JSON\nat all", bare, bare), watched(t, "CONTROL_MESSAGE", "are you there"))
	f("messages", "r1", first, 200, "")
	f("delivered again", "r1", first, 200, "")
	f("the same messages in another request", "r2", fired(t, "r2", watched(t, "DATA_MESSAGE", record("a"), pretty, "no JSON\nat all", bare, bare)), 200, "")
	f("control only", "r3", fired(t, "r3", watched(t, "CONTROL_MESSAGE")), 200, "")
	f("no records", "r4", fired(t, "r4"), 200, "")
	f("messages that Firehose extracted", "r5", fired(t, "r5", []byte(record("b")+"\n"+record("c")+"\n")), 200, "")
	f("packed on the way", "r6", string(zipped(t, fired(t, "r6", []byte(record("d"))))), 200, "", "Content-Encoding: gzip")
	f("not JSON", "r7", "rubbish", 400, "bad_envelope")
	f("broken base64", "r8", `{"requestId":"r8","records":[{"data":"*"}]}`, 400, "bad_envelope: record 0")
	f("torn gzip", "r9", fired(t, "r9", watched(t, "DATA_MESSAGE", record("e"))[:40]), 400, "bad_envelope: record 0")
	f("a bomb", "r10", fired(t, "r10", zipped(t, strings.Repeat(" ", 64<<20))), 413, "body_too_large")
	f("many that are large together", "r11", fired(t, "r11", zipped(t, strings.Repeat("x", 3<<20)+record("x")), zipped(t, strings.Repeat("y", 3<<20)+record("y"))), 413, "body_too_large")

	want := []string{record("a"), pretty, bare, bare, record("b"), record("c"), record("d")}
	if got := j.accepted(); !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
	dead := map[string]string{} // those of the same id are one
	for _, l := range j.letters(t) {
		dead[l.ID] = string(l.Bytes)
	}
	if got := slices.Sorted(maps.Values(dead)); !slices.Equal(got, []string{"at all", "no JSON"}) {
		t.Errorf("dead letters %q, want the lines of the message that is no JSON", got)
	}
}

// FuzzEnvelope sends whatever resembles an envelope: the answer is a documented
// one, and nothing panics.
func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(pushed("1", []byte(record("a")))), false)
	f.Add([]byte(`{"requestId":"r","records":[{"data":"e30="},{"data":"H4sIAAAAAAAA/w=="}]}`), true)
	f.Add([]byte(`{"message":{"messageId":"1","data":null},"subscription":"s"}`), false)
	s := open(f, "audit", "max_body: 1MiB", (&memory{}).Append)
	h := s.(collector.HTTPSource).Routes()["POST /v1/audit"]
	p := &auth.Principal{Name: "fuzz", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}}
	f.Fuzz(func(t *testing.T, body []byte, firehose bool) {
		r := httptest.NewRequest("POST", "/v1/audit", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		if firehose {
			r.Header.Set("X-Amz-Firehose-Request-Id", "r")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(auth.WithPrincipal(r.Context(), p)))
		if c := w.Code; c != 200 && c != 202 && c != 400 && c != 413 {
			t.Errorf("answered %d: %s", c, w.Body)
		}
	})
}
