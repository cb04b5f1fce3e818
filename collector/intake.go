package collector

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/schemas"
)

// httpConfig is what every source that is sent to over HTTP can be told.
type httpConfig struct {
	// Path is where the source listens. Default: /v1/ and the kind.
	Path string `yaml:"path"`
	// Mapping names the mapping that reads the records: a shipped one or one
	// of your own. Default: the kind.
	Mapping string `yaml:"mapping"`
	// CSVMapping names the mapping that reads requests of Content-Type text/csv
	// (a header row, then a record a row). Default: csv.
	CSVMapping string `yaml:"csv_mapping"`
	// Log names the log within the source, as part of the identity of its
	// records. Default: none.
	Log string `yaml:"log"`
	// MaxBody caps a request after decompression; larger ones get 413.
	// Default: 32MiB.
	MaxBody plug.Bytes `yaml:"max_body"`
	// MaxRecord caps one record; a larger one is rejected, its neighbours are
	// taken. Default: 1MiB.
	MaxRecord plug.Bytes `yaml:"max_record"`
	// MaxRecords caps the records of one request; more get 413. Default:
	// 100000.
	MaxRecords int `yaml:"max_records"`
	// MaxRecordsPerSecond caps what each tenant may send, on average; past it
	// requests get 429. Default: 0, no limit.
	MaxRecordsPerSecond int `yaml:"max_records_per_second"`
	// MaxRejected caps the bytes an hour of each tenant's records that cannot
	// be read; past it requests get 429, since each of them is kept as a dead
	// letter. Default: 64MiB.
	MaxRejected plug.Bytes `yaml:"max_rejected"`
	// MaxInFlight caps the bytes of all requests of the source that are in
	// memory at once; past it they get 503. Default: 64MiB, and at least
	// twice max_body.
	MaxInFlight plug.Bytes `yaml:"max_in_flight"`
	// AllowBackfill lets senders mark a request as history, with
	// ?backfill=true: alerts on it are shown but never notified or acted on.
	// Default: false.
	AllowBackfill bool `yaml:"allow_backfill"`
}

// readFunc reads a batch for the first time; see decode.Mapping.Read.
type readFunc func(b *schemas.Batch, lim decode.Limits) ([]decode.Reject, error)

// intake is the one way in over HTTP: every HTTP source is one with its own
// route and mapping.
type intake struct {
	name     string
	cfg      httpConfig
	read     readFunc
	mappings *decode.Set
	append   AppendFunc
	log      *slog.Logger
	metrics  *metrics
	now      func() time.Time
	inFlight budget
	records  rates // records a second
	rejects  rates // bytes of rejected records
}

// newIntake returns a source of the kind that c describes.
func newIntake(c plug.Config, d Deps) (*intake, error) {
	cfg := httpConfig{
		Path: "/v1/" + c.Kind, Mapping: c.Kind, CSVMapping: "csv", MaxBody: 32 << 20, MaxRecord: 1 << 20, MaxRecords: 100_000, MaxRejected: 64 << 20,
	}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = max(64<<20, 2*cfg.MaxBody)
	}
	if err := cfg.check(c); err != nil {
		return nil, err
	}
	m, err := d.Decode.Mapping(cfg.Mapping)
	if err != nil {
		return nil, c.Errorf("%v", err)
	}
	if _, err := d.Decode.Mapping(cfg.CSVMapping); err != nil {
		return nil, c.Errorf("csv_mapping: %v", err)
	}
	return &intake{
		name: c.Name, cfg: cfg, read: m.Read, mappings: d.Decode, append: d.Append, log: d.Log, metrics: newMetrics(d.Reg), now: d.Now,
		inFlight: budget{max: int64(cfg.MaxInFlight)},
		records:  rates{perSecond: float64(cfg.MaxRecordsPerSecond), burst: float64(cfg.MaxRecordsPerSecond)},
		rejects:  rates{perSecond: float64(cfg.MaxRejected) / 3600, burst: float64(cfg.MaxRejected)},
	}, nil
}

func (cfg *httpConfig) check(c plug.Config) error {
	switch {
	case len(cfg.Path) < 2 || cfg.Path[0] != '/':
		return c.Errorf("path %q does not begin with /", cfg.Path)
	case cfg.MaxBody < 1 || cfg.MaxBody > 1<<30:
		return c.Errorf("max_body must lie between 1 and 1GiB")
	case cfg.MaxRecord < 1 || cfg.MaxRecord > cfg.MaxBody:
		return c.Errorf("max_record must lie between 1 and max_body")
	case cfg.MaxRecords < 1:
		return c.Errorf("max_records must be at least 1")
	case cfg.MaxRecordsPerSecond < 0:
		return c.Errorf("max_records_per_second must not be negative")
	case cfg.MaxRejected < 1:
		return c.Errorf("max_rejected must be at least 1")
	case cfg.MaxInFlight < cfg.MaxBody+stretchBytes:
		return c.Errorf("max_in_flight must be larger than max_body")
	}
	return nil
}

// Run waits for ctx: requests come by the routes.
func (s *intake) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Routes returns the source's path, for POST and, so that the answer to another
// method is a problem document, for the rest.
func (s *intake) Routes() map[string]http.Handler {
	return map[string]http.Handler{"POST " + s.cfg.Path: s, s.cfg.Path: s}
}

// ServeHTTP takes one request: 202 when every record that could be read, and a
// dead letter for each that could not, is on disk.
func (s *intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	code := http.StatusAccepted
	a, fault := s.take(w, r)
	switch {
	case fromFirehose(r):
		code = s.answerFirehose(w, r, fault)
	case fault != nil:
		code = fault.Status
		problem.Write(w, *fault)
	default:
		w.Header().Set("Content-Type", typeJSON)
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(a)
	}
	s.metrics.requests.WithLabelValues(s.name, strconv.Itoa(code)).Inc()
}

// take does the work of one request.
func (s *intake) take(w http.ResponseWriter, r *http.Request) (*answer, *problem.Details) {
	req, fault := s.admit(w, r)
	if fault != nil {
		return nil, fault
	}
	share := hold{from: &s.inFlight}
	defer share.release()
	body, fault := s.readBody(w, r, req.coding, &share)
	if fault != nil {
		return nil, fault
	}
	if skipSpace(body, 0) == len(body) {
		return nil, &problem.Details{Status: http.StatusBadRequest, Code: "empty_body", Detail: "the body holds no record"}
	}
	lim := decode.Limits{RecordBytes: int(s.cfg.MaxRecord), Records: s.cfg.MaxRecords, Position: req.position}
	key := r.Header.Get("Idempotency-Key")
	d, fault := s.unwrap(r, req.media, body, &share)
	if fault != nil {
		return nil, fault
	}
	if d != nil {
		if len(d.ends) == 0 {
			return &answer{Rejected: []rejectedAt{}}, nil
		}
		body, key, lim.Ends, lim.Position = d.body, d.key, d.ends, d.position
	}
	b := newBatch(req.tenant, s.name, s.cfg.Log, req.media, s.now(), body)
	if req.backfill {
		b.Flags |= schemas.BatchBackfill
	}
	rejects, readErr := req.read(b, lim)
	if n := len(rejects); n > 0 && rejects[n-1].Code == decode.CodeTooManyRecords {
		return nil, &problem.Details{
			Status: http.StatusRequestEntityTooLarge, Code: "too_many_records",
			Detail: fmt.Sprintf("the body holds more than the %d records that source %q takes at once; nothing was taken, send smaller batches", s.cfg.MaxRecords, s.name),
		}
	}
	b.ID = batchID(b, key)
	if len(b.Records) == 0 {
		return nil, unreadable(readErr, nil, 0)
	}
	k, err := keep(r.Context(), s.append, b, rejects)
	if err != nil {
		return nil, s.appendFault(err)
	}
	s.metrics.count(s.name, k, len(body), rejects)
	s.records.spend(req.tenant, s.now(), len(b.Records))
	s.rejects.spend(req.tenant, s.now(), sizeOf(rejects))
	// Who delivers for others would only deliver the same again.
	if len(rejects) == len(b.Records) && d == nil {
		return nil, unreadable(readErr, rejects, k.offset)
	}
	return &answer{Accepted: k.accepted, Duplicates: k.duplicates, Rejected: list(rejects), RejectedTotal: len(rejects), Offset: k.offset}, nil
}

// request is what the head of a request says.
type request struct {
	tenant   string
	media    string // of the batch
	coding   string
	backfill bool
	read     readFunc
	position func(start uint32) string // nil: not said
}

// admit checks all that can be checked before the body is read.
func (s *intake) admit(w http.ResponseWriter, r *http.Request) (req request, fault *problem.Details) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return req, &problem.Details{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Detail: "send records with POST"}
	}
	p, ok := auth.FromContext(r.Context())
	if !ok || !p.MaySend(s.name) {
		return req, &problem.Details{
			Status: http.StatusForbidden, Code: "source_forbidden",
			Detail: fmt.Sprintf("this token may not send to source %q; it needs the role ingest and the source in its list", s.name),
		}
	}
	req.tenant = p.Tenant
	media, table, err := tableType(r.Header.Get("Content-Type"))
	if err != nil {
		return req, &problem.Details{Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Detail: err.Error()}
	}
	if req.media, ok = media, table; !table {
		req.media, ok = mediaType(r.Header.Get("Content-Type"))
	}
	if !ok {
		w.Header().Set("Accept", acceptedCT)
		return req, &problem.Details{
			Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type",
			Detail: fmt.Sprintf("Content-Type %q is not taken; send UTF-8 as one of %s", r.Header.Get("Content-Type"), acceptedCT),
		}
	}
	if req.coding, ok = coding(r); !ok {
		w.Header().Set("Accept-Encoding", acceptedCE)
		return req, &problem.Details{
			Status: http.StatusUnsupportedMediaType, Code: "unsupported_encoding",
			Detail: fmt.Sprintf("Content-Encoding %q is not taken; send one of %s", r.Header.Values("Content-Encoding"), acceptedCE),
		}
	}
	if req.read, fault = s.reader(r, table); fault != nil {
		return req, fault
	}
	if req.position, fault = position(r); fault != nil {
		return req, fault
	}
	if req.backfill, fault = s.backfill(r); fault != nil {
		return req, fault
	}
	return req, s.limit(req.tenant)
}

// backfill reports whether the sender marked the request as history.
func (s *intake) backfill(r *http.Request) (bool, *problem.Details) {
	v := r.Header.Get("Agentrail-Backfill")
	if v == "" && r.URL.RawQuery != "" {
		v = r.URL.Query().Get("backfill")
	}
	if v == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		return false, &problem.Details{Status: http.StatusBadRequest, Code: "bad_parameter", Detail: fmt.Sprintf("backfill is %q; write true or false", v)}
	}
	if on && !s.cfg.AllowBackfill {
		return false, &problem.Details{
			Status: http.StatusForbidden, Code: "backfill_forbidden",
			Detail: fmt.Sprintf("source %q takes no history; set allow_backfill: true in its config", s.name),
		}
	}
	return on, nil
}

// limit answers tenants that are past their rates.
func (s *intake) limit(tenant string) *problem.Details {
	now := s.now()
	if d := s.records.wait(tenant, now); d > 0 {
		return &problem.Details{
			Status: http.StatusTooManyRequests, Code: "rate_limited", RetryAfter: d,
			Detail: fmt.Sprintf("source %q takes %d records a second", s.name, s.cfg.MaxRecordsPerSecond),
		}
	}
	if d := s.rejects.wait(tenant, now); d > 0 {
		return &problem.Details{
			Status: http.StatusTooManyRequests, Code: "too_many_rejected", RetryAfter: d,
			Detail: fmt.Sprintf("more than %d bytes an hour could not be read; look at them with: agentrail dlq ls", s.cfg.MaxRejected),
		}
	}
	return nil
}

// batchID names the batch: at random, or, if the sender gave the request a key,
// by tenant, source, key and the digests of the records. The records are part
// of it so that a key used for other records does not make them vanish.
func batchID(b *schemas.Batch, key string) (id schemas.ID) {
	if key == "" {
		_, _ = rand.Read(id[:]) // never fails: the program ends instead
		return id
	}
	h := sha256.New()
	for _, s := range []string{"agentrail/idempotency", b.Tenant, b.Source, key} {
		h.Write(strconv.AppendInt(nil, int64(len(s)), 10))
		h.Write([]byte(":" + s))
	}
	for i := range b.Records {
		h.Write(b.Records[i].Digest[:])
	}
	return schemas.ID(h.Sum(nil)[:16])
}
