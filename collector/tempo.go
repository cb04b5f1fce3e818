package collector

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/otlpwire"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/internal/tlsconf"
	"github.com/agentrail/agentrail/schemas"
)

func init() {
	Register("tempo", func(_ context.Context, c plug.Config, d Deps) (Source, error) { return openTempo(c, d) })
}

// tempoConfig is what the source tempo can be told. It reads traces out of a
// Grafana Tempo that others write to. Do not read what the sink tempo of the
// same server writes.
type tempoConfig struct {
	// URL of Tempo's HTTP API, such as http://tempo:3200. Mandatory.
	URL string `yaml:"url"`
	// Query in TraceQL picks the traces; of each that it finds all spans are
	// taken. Default: {}, all traces.
	Query string `yaml:"query"`
	// Token is sent as a Bearer token. Default: none.
	Token     plug.Secret `yaml:"token"`
	TokenFile string      `yaml:"token_file"`
	// Org is sent as X-Scope-OrgID, by which Tempo keeps tenants apart; several
	// are joined by |. Default: none.
	Org string `yaml:"org"`
	// TLS says how Tempo is trusted. Default: by the system's roots.
	TLS *tlsconf.Client `yaml:"tls"`
	// Tenant owns the spans. Default: the tenant of the config file.
	Tenant string `yaml:"tenant"`
	// Mapping says what attributes mean. Default: otlp.
	Mapping string `yaml:"mapping"`
	// Since is how far back the first search goes. Default: 1h.
	Since plug.Duration `yaml:"since"`
	// Poll is how often Tempo is asked. Default: 15s.
	Poll plug.Duration `yaml:"poll"`
	// Overlap is how late spans may come: so far back each search looks again.
	// Default: 5m.
	Overlap plug.Duration `yaml:"overlap"`
	// Step is the longest time that one search covers while the source catches
	// up. Default: 1h.
	Step plug.Duration `yaml:"step"`
	// Limit is how many traces one search may find; where there are more, its
	// time is cut in halves, and for one second limit is raised. Default: 500.
	Limit int `yaml:"limit"`
	// Timeout of one request. Default: 30s.
	Timeout plug.Duration `yaml:"timeout"`
	// MaxTrace caps the answer with one trace; a larger one is passed over,
	// counted and named in the log. Default: 24MiB.
	MaxTrace plug.Bytes `yaml:"max_trace"`
	// MaxSpan caps one span; a larger one is rejected, its neighbours are taken.
	// Default: 1MiB.
	MaxSpan plug.Bytes `yaml:"max_span"`
	// Batch is how many bytes go into the journal at once. Default: 1MiB.
	Batch plug.Bytes `yaml:"batch"`
	// Backfill marks the spans as history: alerts on them are shown but never
	// notified or acted on. Default: false.
	Backfill bool `yaml:"backfill"`
}

func (cfg *tempoConfig) check(c plug.Config) error {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "":
		return c.Errorf("url: %q is no http or https URL of a host", cfg.URL)
	case strings.TrimSpace(cfg.Query) == "":
		return c.Errorf("query is empty; {} finds all traces")
	case cfg.Tenant == "":
		return c.Errorf("tenant is missing")
	case cfg.Since < 0 || cfg.Poll <= 0 || cfg.Overlap < 0 || cfg.Timeout <= 0:
		return c.Errorf("poll and timeout must be above zero, since and overlap not below it")
	case cfg.Step < plug.Duration(time.Second) || cfg.Step > plug.Duration(168*time.Hour):
		return c.Errorf("step must lie between 1s and 168h, the longest time that Tempo searches by default")
	case cfg.Limit < 1:
		return c.Errorf("limit must be at least 1")
	case cfg.MaxTrace < 1 || cfg.MaxTrace > maxOTLPBody/2 || cfg.Batch < 1 || cfg.Batch > maxOTLPBody/2:
		return c.Errorf("max_trace and batch must lie between 1 and 24MiB")
	case cfg.MaxSpan < 1 || cfg.MaxSpan > cfg.MaxTrace:
		return c.Errorf("max_span must lie between 1 and max_trace")
	}
	return nil
}

// tempo polls a Tempo. Everything is done by the goroutine of Run. The cursor
// moves on after the journal has all that was found before it. Traces are taken
// by their spans: what comes late is taken alone, what comes again after a
// restart is the same bytes under the same ids.
type tempo struct {
	name    string
	cfg     tempoConfig
	client  *tempoClient
	mapping *decode.Mapping
	append  AppendFunc
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time
	state   *tempoState
	seen    *tempoSeen
	fullAt  time.Time // last second that held more traces than Tempo shows

	body  []byte               // of the batch that is being filled
	fresh map[spanKey]struct{} // its spans
	done  []tempoFind          // traces whose spans are in it
}

func openTempo(c plug.Config, d Deps) (*tempo, error) {
	cfg := tempoConfig{
		Query: "{}", Tenant: d.Tenant, Mapping: "otlp", Since: plug.Duration(time.Hour), Poll: plug.Duration(15 * time.Second),
		Overlap: plug.Duration(5 * time.Minute), Step: plug.Duration(time.Hour), Limit: 500, Timeout: plug.Duration(30 * time.Second),
		MaxTrace: 24 << 20, MaxSpan: 1 << 20, Batch: 1 << 20,
	}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	if err := cfg.check(c); err != nil {
		return nil, err
	}
	m, err := d.Decode.Mapping(cfg.Mapping)
	if err == nil {
		err = m.ForSpans()
	}
	if err != nil {
		return nil, c.Errorf("%v", err)
	}
	client, err := newTempoClient(&cfg)
	if err != nil {
		return nil, c.Errorf("%v", err)
	}
	state, err := loadTempoState(filepath.Join(d.DataDir, "collector", "tempo-"+url.PathEscape(c.Name)+".json"))
	if err != nil {
		return nil, c.Errorf("%v", err)
	}
	if cfg.Token != "" && strings.HasPrefix(cfg.URL, "http:") {
		d.Log.Warn("token and spans go over plain http; use https outside the machine")
	}
	return &tempo{
		name: c.Name, cfg: cfg, client: client, mapping: m, append: d.Append, log: d.Log, metrics: newMetrics(d.Reg), now: d.Now,
		state: state, seen: newTempoSeen(), fresh: map[spanKey]struct{}{},
	}, nil
}

// Run polls until ctx ends.
func (s *tempo) Run(ctx context.Context) error {
	defer s.client.close()
	failed := time.Duration(0)
	for ctx.Err() == nil {
		if err := s.poll(ctx); err != nil && ctx.Err() == nil {
			failed = s.backoff(failed, err)
			wait(ctx, failed)
			continue
		}
		if failed > 0 {
			s.log.Info("traces are read from Tempo again")
		}
		failed = 0
		wait(ctx, time.Duration(s.cfg.Poll))
	}
	return nil
}

// backoff says how long to wait after a poll that failed.
func (s *tempo) backoff(last time.Duration, err error) time.Duration {
	s.log.Warn("traces cannot be read from Tempo, trying again", "error", err)
	next := min(max(2*last, time.Second), 2*time.Minute)
	if later, ok := errors.AsType[*tempoLater](err); ok {
		next = max(next, later.after)
	}
	if later, ok := errors.AsType[*journal.RetryAfter](err); ok {
		next = max(next, later.After)
	}
	return next/2 + rand.N(next/2) + 1
}

// poll takes all that is there up to now.
func (s *tempo) poll(ctx context.Context) error {
	now := s.now()
	if s.state.Until.IsZero() || s.state.Until.After(now) { // at first, and after the clock was put back
		s.state.Until = now.Add(-time.Duration(s.cfg.Since))
	}
	for {
		to := s.state.Until.Add(time.Duration(s.cfg.Step))
		if to.After(now) {
			to = now
		}
		from := s.state.Until.Add(-time.Duration(s.cfg.Overlap))
		if err := s.window(ctx, from.Truncate(time.Second), to.Truncate(time.Second).Add(time.Second)); err != nil {
			s.drop()
			return err
		}
		if err := s.flush(ctx); err != nil {
			return err
		}
		s.state.Until = to
		if err := saveState(s.state.path, s.state); err != nil {
			return err
		}
		s.seen.forget()
		if to.Equal(now) {
			return nil
		}
	}
}

// window takes the traces of a time. Search has no pages: where it finds as many
// as it may, there may be more, and each half is searched by itself.
func (s *tempo) window(ctx context.Context, from, to time.Time) error {
	found, err := s.client.search(ctx, from, to, s.cfg.Limit)
	if err != nil {
		return err
	}
	if len(found) >= s.cfg.Limit {
		if half := from.Add(to.Sub(from) / 2).Truncate(time.Second); half.After(from) {
			if err := s.window(ctx, from, half); err != nil {
				return err
			}
			return s.window(ctx, half, to)
		}
		if found, err = s.second(ctx, from, to, found); err != nil {
			return err
		}
	}
	for _, f := range found {
		if err := s.take(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// second searches the shortest time there is, which holds more traces than
// limit, with larger limits, as far as Tempo allows.
func (s *tempo) second(ctx context.Context, from, to time.Time, found []tempoFind) ([]tempoFind, error) {
	for limit := 8 * s.cfg.Limit; limit <= maxTempoLimit*s.cfg.Limit; limit *= 8 {
		more, err := s.client.search(ctx, from, to, limit)
		if _, refused := errors.AsType[*tempoRefused](err); refused {
			break
		}
		if err != nil {
			return nil, err
		}
		if found = more; len(found) < limit {
			return found, nil
		}
	}
	if from.After(s.fullAt) {
		s.fullAt = from
		s.metrics.skip(s.name, "over_limit", 1)
		s.log.Error("more traces in one second than Tempo shows; some may be missing: narrow query, or raise limit here and what Tempo allows", "found", len(found), "at", from)
	}
	return found, nil
}

// take adds the spans of a trace that are new.
func (s *tempo) take(ctx context.Context, f tempoFind) error {
	if !s.seen.changed(f, s.now(), time.Duration(s.cfg.Overlap)/2) {
		return nil
	}
	raw, err := s.client.trace(ctx, f.id)
	if refused, ok := errors.AsType[*tempoRefused](err); ok {
		s.metrics.skip(s.name, refused.cause, 1)
		s.log.Warn("a trace is passed over", "trace", f.id, "cause", refused.cause, "error", err)
		s.seen.note(f, s.now())
		return nil
	}
	if err != nil {
		return err
	}
	have, fresh := len(s.body), map[spanKey]struct{}{}
	s.body, err = otlpwire.AppendKept(s.body, raw, func(trace, span []byte) bool {
		k, ok := spanKeyOf(trace, span)
		if !ok {
			return true // the reader rejects it
		}
		_, twice := fresh[k] // Tempo keeps what is sent twice
		fresh[k] = struct{}{}
		return !twice && !s.seen.has(k)
	})
	if err != nil {
		s.body = s.body[:have]
		s.metrics.skip(s.name, "malformed", 1)
		s.log.Error("a trace is passed over", "trace", f.id, "cause", "malformed", "error", err)
		s.seen.note(f, s.now())
		return nil
	}
	maps.Copy(s.fresh, fresh)
	s.done = append(s.done, f)
	if len(s.body) >= int(s.cfg.Batch) {
		return s.flush(ctx)
	}
	return nil
}

// flush stores the batch. Only then its spans count as seen.
func (s *tempo) flush(ctx context.Context) error {
	defer s.drop()
	if len(s.body) > 0 {
		b := newBatch(s.cfg.Tenant, s.name, "", typeOTLP, s.now(), s.body)
		if s.cfg.Backfill {
			b.Flags |= schemas.BatchBackfill
		}
		rejects, err := s.mapping.ReadSpans(b, decode.Limits{RecordBytes: int(s.cfg.MaxSpan), Records: maxTempoSpans})
		if err != nil && !errors.Is(err, decode.ErrNothing) {
			return err
		}
		b.ID = batchID(b, "")
		size := len(s.body)
		k, err := keep(ctx, s.append, b, rejects)
		if err != nil {
			return err
		}
		s.metrics.count(s.name, k, size, rejects)
	}
	for _, f := range s.done {
		s.seen.note(f, s.now())
	}
	s.seen.add(s.fresh)
	return nil
}

// drop forgets the batch; the journal may own its bytes.
func (s *tempo) drop() { s.body, s.fresh, s.done = nil, map[spanKey]struct{}{}, nil }

// maxTempoLimit is how many times limit is asked for at most.
const maxTempoLimit = 8 * 8

// maxTempoSpans is no bound: one trace of max_trace has fewer.
const maxTempoSpans = maxOTLPBody
