package sinks

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

// intakeRig is one receiver of logs in a test: a strict server and the sink's
// fields to reach it.
type intakeRig struct {
	kind    string
	server  http.Handler
	shelf   *sinktest.Shelf
	tokens  *sinktest.Tokens // nil: a key
	fields  func(url string) string
	largest int  // bytes of one event that the receiver keeps whole; 0: as many as a request may hold
	blames  bool // the receiver says that data is wrong
}

// rigOptions are how the receiver is to behave.
type rigOptions struct {
	allow  func(n int) bool      // whether request n may write; nil: all may
	poison func(doc []byte) bool // refused as data
	narrow int64                 // bytes of a body; 0: as documented
}

const (
	testRule   = "dcr-0123456789abcdef0123456789abcdef"
	testParent = "projects/p1/locations/eu/instances/i-1"
	sumoPath   = "/receiver/v1/http/c2VjcmV0"
)

// intakeRigs are all receivers of logs that count alike.
var intakeRigs = map[string]func(t testing.TB, o rigOptions) *intakeRig{
	"sentinel":   sentinelRig,
	"secops":     func(t testing.TB, o rigOptions) *intakeRig { return secopsRig(t, o, "") },
	"secops-udm": func(t testing.TB, o rigOptions) *intakeRig { return secopsRig(t, o, "udm") },
	"datadog":    datadogRig,
	"sumo":       sumoRig,
}

// eachIntake runs f for each kind of receiver.
func eachIntake(t *testing.T, f func(t *testing.T, rig func(rigOptions) *intakeRig)) {
	for name, open := range intakeRigs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, func(o rigOptions) *intakeRig { return open(t, o) })
		})
	}
}

// open opens the sink of the rig against the handler, or its own server.
func (r *intakeRig) open(t testing.TB, h http.Handler, more string, health HealthFunc) (Sink, *Forwarder) {
	t.Helper()
	if h == nil {
		h = r.server
	}
	return openTest(t, r.kind, r.fields(serve(t, h))+more, health)
}

// ids are the ids of the events that the receiver has.
func (r *intakeRig) ids(t *testing.T) map[schemas.ID]int {
	t.Helper()
	out := map[schemas.ID]int{}
	for text, n := range r.shelf.Events() {
		id, err := hex.DecodeString(text)
		if err != nil || len(id) != 16 {
			t.Fatalf("event id %q", text)
		}
		out[schemas.ID(id)] = n
	}
	for _, v := range r.shelf.Violations() {
		t.Errorf("not as documented: %s", v)
	}
	return out
}

func sentinelRig(t testing.TB, o rigOptions) *intakeRig {
	tokens := &sinktest.Tokens{Check: func(r *http.Request) string {
		for key, want := range map[string]string{
			"grant_type": "client_credentials", "client_id": "app", "client_secret": "s3cret", "scope": "https://monitor.azure.com/.default",
		} {
			if r.PostForm.Get(key) != want {
				return "AADSTS7000215: Invalid client secret provided."
			}
		}
		if r.URL.Path != "/dir/oauth2/v2.0/token" {
			return "AADSTS90002: Tenant not found."
		}
		return ""
	}}
	s := &sinktest.Sentinel{Tokens: tokens, Rule: testRule, Stream: "Custom-Agentrail_CL", Role: o.allow, Poison: o.poison, Narrow: o.narrow}
	authority := serve(t, tokens)
	return &intakeRig{kind: "sentinel", server: s, shelf: &s.Shelf, tokens: tokens, largest: 64 << 10, blames: true, fields: func(url string) string {
		return "endpoint: " + url + "\nauthority: " + authority + "\nrule: " + testRule + "\nstream: Custom-Agentrail_CL\n" +
			"tenant_id: dir\nclient_id: app\nclient_secret: s3cret\n"
	}}
}

// accountKey is made once: it takes long.
var accountKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// serviceAccount writes the key file of a service account whose tokens come
// from url.
func serviceAccount(t testing.TB, url string) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(accountKey())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "soc@p1.iam.gserviceaccount.com", "private_key_id": "k1", "token_uri": url,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return secretFile(t, string(text))
}

// signedByAccount reports what is wrong with a request for a token of Google.
func signedByAccount(r *http.Request) string {
	signed, sig, ok := cutLast(r.PostForm.Get("assertion"), ".")
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	digest := sha256.Sum256([]byte(signed))
	if !ok || err != nil || rsa.VerifyPKCS1v15(&accountKey().PublicKey, crypto.SHA256, digest[:], raw) != nil {
		return "Invalid JWT Signature."
	}
	_, claims, _ := strings.Cut(signed, ".")
	text, err := base64.RawURLEncoding.DecodeString(claims)
	if err != nil || !strings.Contains(string(text), `"https://www.googleapis.com/auth/cloud-platform"`) {
		return "Invalid scope."
	}
	return ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func secopsRig(t testing.TB, o rigOptions, format string) *intakeRig {
	tokens := &sinktest.Tokens{Check: signedByAccount}
	s := &sinktest.SecOps{Tokens: tokens, Parent: testParent, LogType: "AGENTRAIL", Fwd: "f-1", Poison: o.poison, MaxBytes: o.narrow}
	if o.allow != nil {
		s.Denied = func(n int) bool { return !o.allow(n) }
	}
	more := "log_type: AGENTRAIL\nforwarder: f-1\n"
	if format != "" {
		more = "format: " + format + "\n"
	}
	more += "credentials_file: " + serviceAccount(t, serve(t, tokens)) + "\n"
	return &intakeRig{kind: "secops", server: s, shelf: &s.Shelf, tokens: tokens, blames: true, fields: func(url string) string {
		return "project: p1\nregion: eu\ninstance: i-1\nendpoint: " + url + "\n" + more
	}}
}

func datadogRig(t testing.TB, o rigOptions) *intakeRig {
	s := &sinktest.Datadog{Poison: o.poison, MaxBytes: o.narrow, Key: func(n int, key string) int {
		if key != "k3y" || o.allow != nil && !o.allow(n) {
			return http.StatusForbidden
		}
		return http.StatusAccepted
	}}
	return &intakeRig{kind: "datadog", server: s, shelf: &s.Shelf, largest: 1_000_000, blames: true, fields: func(url string) string {
		return "url: " + url + "\napi_url: " + url + "\napi_key: k3y\nhost: h1\ntags: [env:test, team:soc]\n"
	}}
}

func sumoRig(t testing.TB, o rigOptions) *intakeRig {
	s := &sinktest.Sumo{
		MaxBytes: o.narrow, Secret: func(n int, path string) bool { return path == sumoPath && (o.allow == nil || o.allow(n)) },
		Header: http.Header{"X-Sumo-Category": {"agents/prod"}, "X-Sumo-Name": {"agentrail"}, "X-Sumo-Host": {"h1"}, "X-Sumo-Fields": {"env=test,team=soc"}},
	}
	return &intakeRig{kind: "sumo", server: s, shelf: &s.Shelf, fields: func(url string) string {
		return "url: " + url + sumoPath + "\ncategory: agents/prod\nsource_name: agentrail\nhost: h1\nfields: {team: soc, env: test}\n"
	}}
}
