package collector_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a journal without a disk. fail, if set, is asked before each batch.
type memory struct {
	mu      sync.Mutex
	batches []*schemas.Batch
	ids     map[schemas.ID]schemas.Digest
	known   map[schemas.ID]uint64
	fail    func(b *schemas.Batch) error
}

func (m *memory) Append(_ context.Context, b *schemas.Batch) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		if err := m.fail(b); err != nil {
			return 0, err
		}
	}
	if o, ok := m.known[b.ID]; ok && !b.ID.IsZero() {
		return o, nil
	}
	if m.ids == nil {
		m.ids, m.known = map[schemas.ID]schemas.Digest{}, map[schemas.ID]uint64{}
	}
	b.Offset, b.Self = uint64(len(m.batches)), schemas.Digest{1}
	for i := range b.Records {
		r := &b.Records[i]
		if d, ok := m.ids[r.ID]; ok && d == r.Digest {
			r.Flags |= schemas.FlagDuplicate
			b.Events[i].Flags |= schemas.FlagDuplicate
		}
		m.ids[r.ID] = r.Digest
	}
	m.known[b.ID] = b.Offset
	m.batches = append(m.batches, b)
	return b.Offset, nil
}

// activity returns what came in, without dead letters.
func (m *memory) activity() []*schemas.Batch {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.batches), func(b *schemas.Batch) bool { return b.Class != schemas.ClassActivity })
}

// accepted returns the bytes of the records that count, in order.
func (m *memory) accepted() []string {
	var out []string
	for _, b := range m.activity() {
		for i, r := range b.Records {
			if r.Flags&(schemas.FlagRejected|schemas.FlagDuplicate) == 0 {
				out = append(out, string(b.Body[b.Records[i].Start:][:r.Length]))
			}
		}
	}
	return out
}

// letters returns the dead letters.
func (m *memory) letters(t *testing.T) []schemas.DeadLetter {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []schemas.DeadLetter
	for _, b := range m.batches {
		if b.Class != schemas.ClassHealth {
			continue
		}
		for _, r := range b.Records {
			var l schemas.DeadLetter
			if err := json.Unmarshal(b.Body[r.Start:][:r.Length], &l); err != nil {
				t.Fatal(err)
			}
			out = append(out, l)
		}
	}
	return out
}

// open returns the source of that kind with the fields, or fails the test.
func open(t testing.TB, kind, fields string, appendTo collector.AppendFunc) collector.Source {
	t.Helper()
	s, err := openIn(t, t.TempDir(), kind, fields, appendTo)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mappings are the shipped ones, compiled once.
var mappings = sync.OnceValues(func() (*decode.Set, error) { return decode.Open("") })

func openIn(t testing.TB, dir, kind, fields string, appendTo collector.AppendFunc) (collector.Source, error) {
	t.Helper()
	return openAt(t, dir, kind, fields, appendTo, nil)
}

// openAt opens a source with a clock of its own.
func openAt(t testing.TB, dir, kind, fields string, appendTo collector.AppendFunc, now func() time.Time) (collector.Source, error) {
	t.Helper()
	set, err := mappings()
	if err != nil {
		t.Fatal(err)
	}
	c, err := plug.NewConfig(kind, kind, fields)
	if err != nil {
		t.Fatal(err)
	}
	return collector.Open(t.Context(), c, collector.Deps{
		Append: appendTo, Decode: set, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Reg: prometheus.NewRegistry(), Tenant: "acme", DataDir: dir, Now: now,
	})
}

// serve mounts an HTTP source for a caller who may send to it.
func serve(t testing.TB, s collector.Source) *httptest.Server {
	t.Helper()
	return serveAs(t, s, &auth.Principal{Name: "sender", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}})
}

func serveAs(t testing.TB, s collector.Source, p *auth.Principal) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, h := range s.(collector.HTTPSource).Routes() {
		mux.Handle(pattern, h)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p != nil {
			r = r.WithContext(auth.WithPrincipal(r.Context(), p))
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return srv
}

// reply is an answer of the intake, good or bad.
type reply struct {
	Status     int `json:"-"`
	Header     http.Header
	Code       string
	Detail     string
	Accepted   int
	Duplicates int
	Rejected   []struct {
		Line   int
		Offset uint32
		Code   string
		Reason string
	}
	RejectedTotal int `json:"rejected_total"`
	Offset        uint64
}

// post sends a body with headers, given as "Name: value".
func post(t testing.TB, url string, body io.Reader, headers ...string) reply {
	t.Helper()
	r, err := http.NewRequest("POST", url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return do(t, r)
}

func do(t testing.TB, r *http.Request) reply {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := reply{}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("answer %d %q: %v", resp.StatusCode, text, err)
	}
	out.Status, out.Header = resp.StatusCode, resp.Header
	return out
}
