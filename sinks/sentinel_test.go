package sinks

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

// TestSentinelBehindGateway makes requests smaller when a gateway says 404 to
// those that are too large for it, and parks nothing.
func TestSentinelBehindGateway(t *testing.T) {
	r := sentinelRig(t, rigOptions{narrow: 3000})
	_, fw := r.open(t, nil, "", nil)
	b := testBatch(1, 500)
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), r.ids(t))
	if l := fw.Ledger(); l.Dead != 0 || l.Retries != 0 {
		t.Errorf("ledger: %+v", l)
	}
}

// TestSentinelWrongAddress never ends in dead letters: neither the right answer
// of the API nor the wordless one of something else.
func TestSentinelWrongAddress(t *testing.T) {
	s := &sentinel{in: intake{who: "sentinel"}}
	f := func(status int, body string, n int, want Kind, hint string) {
		t.Helper()
		e := s.failure(answer{status: status, body: []byte(body)}, n)
		if e.Kind != want || !strings.Contains(e.Error(), hint) {
			t.Errorf("%d %s to %d events: %v %v", status, body, n, e.Kind, e)
		}
	}
	const rule = `{"error":{"code":"NotFound","message":"Data collection rule with immutable Id 'dcr-1' not found."}}`
	f(404, rule, 500, KindAuth, "check endpoint, rule and stream")
	f(404, "", 500, KindTooLarge, "404")
	f(404, "", 1, KindAuth, "check endpoint, rule and stream")
	f(400, `{"error":{"code":"InvalidStream","message":"Stream Custom-X was not configured."}}`, 5, KindAuth, "check rule and stream")
	f(400, `{"error":{"code":"InvalidPayload","message":"x"}}`, 5, KindRefused, "InvalidPayload")
	f(403, `{"error":{"code":"OperationFailed"}}`, 5, KindAuth, `"Monitoring Metrics Publisher"`)
	f(401, `{"error":{"code":"InvalidAuthenticationToken"}}`, 5, KindAuth, "cloud")
	f(413, `{"error":{"code":"ContentLengthLimitExceeded"}}`, 1, KindTooLarge, "ContentLengthLimitExceeded")
}

func TestSentinelRows(t *testing.T) {
	f := func(fields string, want ...string) {
		t.Helper()
		s, _ := sentinelRig(t, rigOptions{}).open(t, nil, fields, nil)
		ev := testBatch(1, 1).Events[0]
		var row map[string]any
		if err := json.Unmarshal(s.(*sentinel).encode(nil, &ev), &row); err != nil {
			t.Fatal(err)
		}
		for _, name := range append(want, "TimeGenerated") {
			if row[name] == nil {
				t.Errorf("%s: no column %s in %v", fields, name, row)
			}
		}
		if row["TimeGenerated"] != "2025-11-24T16:00:00.123000000Z" {
			t.Errorf("time is %v", row["TimeGenerated"])
		}
	}
	f("", "event_id", "action", "offset")
	f("column: Event", "Event")
	f("format: cef", "RawData")
	f("format: cef\ncolumn: Line", "Line")
	f("format: ecs", "event", "agentrail")
	f("format: ocsf", "class_uid")
}

// TestSentinelFieldTooLong measures a text as it is, not as it is escaped.
func TestSentinelFieldTooLong(t *testing.T) {
	f := func(n int, text string, long bool) {
		t.Helper()
		s := &sentinel{key: `,"Event":`, format: func(dst []byte, _ *schemas.Event) []byte {
			out, err := json.Marshal(strings.Repeat(text, n))
			if err != nil {
				t.Fatal(err)
			}
			return append(dst, out...)
		}}
		if got := sentinelFault(s.encode(nil, &schemas.Event{})); (got != nil) != long {
			t.Errorf("%d times %q: %v", n, text, got)
		}
	}
	f(64<<10, "x", false)
	f(64<<10+1, "x", true)
	f(64<<10, "\n", false)
	f(64<<10, "ä", true)
}

func TestSentinelIdentities(t *testing.T) {
	f := func(fields string, check func(r *http.Request) string) {
		t.Helper()
		tokens := &sinktest.Tokens{Check: check}
		s := &sinktest.Sentinel{Tokens: tokens, Rule: testRule, Stream: "Custom-Agentrail_CL"}
		issuer := serve(t, tokens)
		t.Setenv("IDENTITY_ENDPOINT", issuer+"/msi/token")
		t.Setenv("IDENTITY_HEADER", "h3ader")
		_, fw := openTest(t, "sentinel", "endpoint: "+serve(t, s)+"\nrule: "+testRule+"\nstream: Custom-Agentrail_CL\nauthority: "+issuer+"\n"+fields, nil)
		if err := fw.Probe(t.Context()); err != nil {
			t.Errorf("%s: %v", fields, err)
		}
	}
	form := func(want map[string]string) func(r *http.Request) string {
		return func(r *http.Request) string {
			for key, value := range want {
				if got := r.Form.Get(key); got != value {
					return fmt.Sprintf("%s is %q", key, got)
				}
			}
			return ""
		}
	}
	proof := secretFile(t, "jwt.of.cluster\n")
	f("tenant_id: dir\nclient_id: app\nfederated_token_file: "+proof, form(map[string]string{
		"client_assertion": "jwt.of.cluster", "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_id": "app", "client_secret": "",
	}))
	f("tenant_id: dir\nclient_id: app\nclient_secret: s\ncloud: usgov", form(map[string]string{"scope": "https://monitor.azure.us/.default"}))
	f("tenant_id: dir\nclient_id: app\nclient_secret: s\ncloud: china", form(map[string]string{"scope": "https://monitor.azure.cn/.default"}))
	f("managed_identity: true\nclient_id: mine", func(r *http.Request) string {
		if r.Method != http.MethodGet || r.Header.Get("X-Identity-Header") != "h3ader" || r.URL.Path != "/msi/token" {
			return "not as documented"
		}
		return form(map[string]string{"resource": "https://monitor.azure.com", "api-version": "2019-08-01", "client_id": "mine"})(r)
	})
}

func TestManagedToken(t *testing.T) {
	now := time.Unix(1_764_000_000, 0)
	f := func(body string, want time.Time) {
		t.Helper()
		got, err := managedToken([]byte(body), now)
		if err != nil || got.AccessToken != "t" || !got.Expiry.Equal(want) {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
	}
	f(`{"access_token":"t","expires_in":"3599","expires_on":"1764003599"}`, time.Unix(1_764_003_599, 0))
	f(`{"access_token":"t","expires_on":1764003599}`, time.Unix(1_764_003_599, 0))
	f(`{"access_token":"t","expires_in":"60"}`, now.Add(time.Minute))
	f(`{"access_token":"t"}`, now.Add(time.Hour))
	if _, err := managedToken([]byte("<html>"), now); err == nil {
		t.Error("HTML is a token")
	}
}

func FuzzManagedToken(f *testing.F) {
	f.Add([]byte(`{"access_token":"t","expires_in":"3599","expires_on":"1764003599"}`))
	f.Add([]byte(`{"access_token":"t","expires_in":1e300,"expires_on":-1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		token, err := managedToken(body, time.Now())
		if (token == nil) == (err == nil) {
			t.Errorf("%q: %v, %v", body, token, err)
		}
	})
}

func TestSentinelConfig(t *testing.T) {
	base := map[string]string{
		"endpoint": "https://x.ingest.monitor.azure.com", "rule": testRule, "stream": "Custom-A_CL", "tenant_id": "d", "client_id": "c", "client_secret": "s",
	}
	f := func(key, value, want string) {
		t.Helper()
		fields := ""
		for k, v := range base {
			if k != key {
				fields += k + ": " + v + "\n"
			}
		}
		if value != "" {
			fields += key + ": " + value + "\n"
		}
		if err := openFault(t, "sentinel", fields); !strings.Contains(err, want) {
			t.Errorf("%s %s: got %q, want %q", key, value, err, want)
		}
	}
	f("endpoint", "", "endpoint: is missing")
	f("endpoint", "https://x/y", "scheme and host only")
	f("endpoint", "http://169.254.169.254", "link-local")
	f("rule", "dcr-1", "immutable id")
	f("stream", "Agentrail_CL", "Custom-Agentrail_CL")
	f("column", "'a\"b'", "is not a name")
	f("cloud", "mars", "none of public, usgov, china")
	f("client_secret", "", "give one of")
	f("managed_identity", "true", "give one of")
	f("tenant_id", "a/b", "tenant_id")
	f("client_id", "", "client_id: is missing")
	f("authority", "ftp://x", "neither http nor https")
	f("timeout", "0s", "timeout")
	t.Setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:40342/token")
	delete(base, "client_secret")
	f("managed_identity", "true", "Azure Arc")
}

// FuzzIntakeFailure reads what any of the receivers says.
func FuzzIntakeFailure(f *testing.F) {
	f.Add(400, []byte(`{"error":{"code":"InvalidPayload","message":"x"}}`))
	f.Add(400, []byte(`{"error":{"code":400,"message":"Request payload size exceeds the limit: 1 bytes.","status":"INVALID_ARGUMENT"}}`))
	f.Add(400, []byte(`{"errors":[{"status":"400","title":"Bad Request","detail":"x"}]}`))
	f.Add(404, []byte("\ufeff{}"))
	in := intake{who: "receiver"}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a := answer{status: status, body: body}
		for _, e := range []*WriteError{(&sentinel{in: in}).failure(a, 2), (&secops{in: in}).failure(a), (&datadog{in: in}).failure(a), (&sumo{in: in}).failure(a)} {
			if e.Err == nil || e.Code == "" || strings.ContainsAny(e.Error(), "\n\x00\u202e") || len(e.Error()) > 800 {
				t.Errorf("%d %q: %+v", status, body, e)
			}
			if e.Kind == KindRefused && status != http.StatusBadRequest {
				t.Errorf("%d %q leads to dead letters", status, body)
			}
		}
	})
}

// TestSentinelURL holds the address to the documented one.
func TestSentinelURL(t *testing.T) {
	s, _ := openTest(t, "sentinel", "endpoint: https://x.ingest.monitor.azure.com/\nrule: "+testRule+"\nstream: Custom-A_CL\ntenant_id: d\nclient_id: c\nclient_secret: s", nil)
	const want = "https://x.ingest.monitor.azure.com/dataCollectionRules/" + testRule + "/streams/Custom-A_CL?api-version=2023-01-01"
	if diff := cmp.Diff(want, s.(*sentinel).in.url); diff != "" {
		t.Error(diff)
	}
}
