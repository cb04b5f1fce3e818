package store_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/collector/store"
)

// TestTempo holds what is asked and what is made of the answers. That a real
// Tempo answers so is for deploy/integration/tempo.sh.
func TestTempo(t *testing.T) {
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String()+" "+r.Header.Get("Accept")+" "+r.Header.Get("X-Scope-OrgID")+" "+r.Header.Get("Authorization"))
		switch {
		case r.URL.Path == "/base/api/traces/"+fmt.Sprintf("%x", "trace-0000000001"):
			_, _ = w.Write(spans(1, 2, nil).Body)
			_, _ = w.Write(spans(1, 2, nil).Body) // as after a repeat
		case r.URL.Path == "/base/api/traces/00":
			_, _ = io.WriteString(w, "no protobuf")
		case r.URL.Query().Get("q") == "{":
			http.Error(w, "parse error at line 1", http.StatusBadRequest)
		case r.URL.Path == "/base/api/search":
			_, _ = io.WriteString(w, `{"traces":[{"traceID":"ab","rootServiceName":"platform","rootTraceName":"run","startTimeUnixNano":"1000000000","durationMs":12}]}`)
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	tempo, err := store.OpenTempo(store.TempoOptions{URL: srv.URL + "/base", Token: "t", Org: "tenant"})
	if err != nil {
		t.Fatal(err)
	}
	defer tempo.Close()

	got, err := tempo.Trace(t.Context(), "acme", fmt.Sprintf("%X", "trace-0000000001"))
	if err != nil || len(got) != 2 || got[1].Span != fmt.Sprintf("%x", "span-001") || got[1].Parent != fmt.Sprintf("%x", "span-000") ||
		got[1].Service != "platform" || got[1].Duration != time.Microsecond || got[1].Attributes["n"] != "1" || got[1].Status != "Error" {
		t.Errorf("%+v, %v", got, err)
	}
	if want := "/base/api/traces/" + fmt.Sprintf("%x", "trace-0000000001") + " application/protobuf acme Bearer t"; asked[0] != want {
		t.Errorf("asked %q, want %q", asked[0], want)
	}
	if _, err := tempo.Trace(t.Context(), "acme", "11"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a trace that is not there: %v", err)
	}
	if _, err := tempo.Trace(t.Context(), "acme", "00"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("noise: %v", err)
	}
	found, err := tempo.Search(t.Context(), "acme", "{ name = \"x\" }", time.Unix(100, 0), time.Unix(200, 0), 5)
	want := []store.TraceRow{{Trace: strings.Repeat("0", 30) + "ab", Service: "platform", Name: "run", Start: time.Unix(1, 0).UTC(), Duration: 12 * time.Millisecond}}
	if diff := cmp.Diff(want, found); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if last := asked[len(asked)-1]; !strings.Contains(last, "end=200") || !strings.Contains(last, "start=100") || !strings.Contains(last, "limit=5") {
		t.Errorf("asked %q", last)
	}
	if _, err := tempo.Search(t.Context(), "acme", "{", time.Time{}, time.Time{}, 5); !errors.Is(err, store.ErrQuery) {
		t.Errorf("a bad query: %v", err)
	}
	for _, bad := range []string{"", "tempo:3200", "ftp://x", "http://u:p@x"} {
		if _, err := store.OpenTempo(store.TempoOptions{URL: bad}); err == nil {
			t.Errorf("%q is taken as a URL", bad)
		}
	}
}
