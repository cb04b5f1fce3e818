package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
)

// newLogger writes what the program says about itself to standard error.
func newLogger(c *console, lc logConfig) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(lc.Level)) // check has seen it
	o := &slog.HandlerOptions{Level: level}
	if lc.Format == "text" {
		return slog.New(slog.NewTextHandler(c.err, o))
	}
	return slog.New(slog.NewJSONHandler(c.err, o))
}

// stack runs what was pushed, last first.
type stack struct{ stops []stop }

type stop struct {
	name string
	fn   func() error
}

func (s *stack) push(name string, fn func() error) { s.stops = append(s.stops, stop{name, fn}) }

func (s *stack) run(log *slog.Logger) error {
	var errs []error
	for _, st := range slices.Backward(s.stops) {
		began := time.Now()
		if err := st.fn(); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", st.name, err))
		}
		log.Debug("stopped", "part", st.name, "took", time.Since(began))
	}
	s.stops = nil
	return errors.Join(errs...)
}

// followers starts goroutines and waits for them.
type followers struct {
	ctx     context.Context
	cancel  context.CancelFunc
	fail    context.CancelCauseFunc
	j       journal.Journal
	metrics *journal.Metrics
	log     *slog.Logger
	wg      sync.WaitGroup
	after   stack
	names   map[string]bool
}

// newFollowers returns an empty group; an error of one ends the program by fail.
func newFollowers(ctx context.Context, fail context.CancelCauseFunc, j journal.Journal, m *journal.Metrics, log *slog.Logger) *followers {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	return &followers{ctx: ctx, cancel: cancel, fail: fail, j: j, metrics: m, log: log, names: map[string]bool{}}
}

// follow opens the cursor and feeds the consumer from it.
func (f *followers) follow(name string, from journal.From, c journal.Consumer, o journal.FollowOptions) error {
	o.Name, o.Metrics, o.Log, o.Park = name, f.metrics, f.log, owner{append: f.j.Append}.park
	f.names[name] = true
	for shard := range f.j.Shards() {
		cur, err := f.j.Open(f.ctx, name, shard, from)
		if err != nil {
			return fmt.Errorf("open cursor %s: %w", name, err)
		}
		f.run(name, func(ctx context.Context) error {
			return errors.Join(journal.Follow(ctx, cur, c, o), cur.Close())
		})
	}
	return nil
}

// run calls fn in a goroutine of its own until the group is stopped.
func (f *followers) run(name string, fn func(context.Context) error) {
	f.wg.Go(func() {
		if err := fn(f.ctx); err != nil && f.ctx.Err() == nil {
			f.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// afterwards is called when all goroutines of the group have ended.
func (f *followers) afterwards(name string, fn func() error) { f.after.push(name, fn) }

func (f *followers) stop() error {
	f.cancel()
	f.wg.Wait()
	return f.after.run(f.log)
}

// nameAbandoned warns of cursors whose consumers are gone from the config.
func (f *followers) nameAbandoned(j *journal.Disk, c *config) {
	for _, cur := range j.Cursors() {
		if !f.names[cur.Name] {
			f.log.Warn("cursor has no consumer in the config; it holds retention for 7 days",
				"cursor", cur.Name, "config", c.file, "hint", "agentrail log cursors rm "+cur.Name)
		}
	}
}

// owner appends documents of our own.
type owner struct {
	append collector.AppendFunc
}

func (o owner) document(ctx context.Context, tenant string, class schemas.Class, kind string, doc any) error {
	b, err := decode.Own(tenant, class, kind, time.Now().UnixNano(), doc)
	if err != nil {
		return err
	}
	_, err = o.append(ctx, b)
	return err
}

// park appends dead letters, a batch for each tenant.
func (o owner) park(ctx context.Context, letters []schemas.DeadLetter) error {
	by := map[string][]any{}
	for _, l := range letters {
		by[l.Tenant] = append(by[l.Tenant], l)
	}
	for tenant, docs := range by {
		b, err := decode.Own(tenant, schemas.ClassHealth, "dead_letter", time.Now().UnixNano(), docs...)
		if err != nil {
			return err
		}
		if _, err := o.append(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// configLoaded puts on record with which configuration the server runs. The
// server runs without that record too: it says so.
func (o owner) configLoaded(ctx context.Context, c *config, log *slog.Logger) {
	h, err := configLoaded(c, time.Now())
	if err = errors.Join(err, o.document(ctx, h.Tenant, schemas.ClassHealth, "health", h)); err != nil {
		log.Warn("configuration is not on record as a whole", "err", err)
	}
}

// health returns where a sink reports about itself.
func (o owner) health(tenant string) sinks.HealthFunc {
	return func(ctx context.Context, h schemas.Health) error {
		if h.Tenant == "" {
			h.Tenant = tenant
		}
		return o.document(ctx, h.Tenant, schemas.ClassHealth, "health", h)
	}
}

// lookup reads one event again, decoded, from the journal.
func lookup(j journal.Journal) func(context.Context, uint16, uint64, uint32) (*schemas.Event, error) {
	read := rereadBatch(j)
	return func(ctx context.Context, shard uint16, offset uint64, index uint32) (*schemas.Event, error) {
		b, err := read(ctx, shard, offset)
		if err != nil {
			return nil, err
		}
		if int(index) >= len(b.Events) {
			return nil, fmt.Errorf("batch %d/%d has no record %d", shard, offset, index)
		}
		return &b.Events[index], nil
	}
}

// rereadBatch reads one batch again, decoded, from the journal. Records that are
// asked for one after the other often lie in one batch, which is decoded once:
// the last one is remembered for as long as somebody else holds it or the
// collector of garbage leaves it.
func rereadBatch(j journal.Journal) func(context.Context, uint16, uint64) (*schemas.Batch, error) {
	var mu sync.Mutex
	var last weak.Pointer[schemas.Batch]
	return func(ctx context.Context, shard uint16, offset uint64) (*schemas.Batch, error) {
		mu.Lock()
		known := last.Value()
		mu.Unlock()
		if known != nil && known.Shard == shard && known.Offset == offset {
			return known, nil
		}
		b, err := batchOf(ctx, j, shard, offset, 0)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		last = weak.Make(b)
		mu.Unlock()
		return b, nil
	}
}

// batchOf reads the batch of one record.
func batchOf(ctx context.Context, j journal.Journal, shard uint16, offset uint64, index uint32) (*schemas.Batch, error) {
	cur, err := j.Open(ctx, "", int(shard), journal.FromOffset(offset))
	if err != nil {
		return nil, err
	}
	defer cur.Close()
	b, err := cur.Next(ctx)
	if err != nil {
		return nil, err
	}
	if b.Gap != nil || b.Offset != offset || int(index) >= len(b.Events) {
		return nil, fmt.Errorf("record %d/%d/%d is not in the journal any more", shard, offset, index)
	}
	return b, nil
}

// resender gives a source's dead letter to the source once more.
type resender struct {
	j       journal.Journal
	mu      sync.Mutex
	sources map[string]collector.Source
}

func (r *resender) add(name string, s collector.Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sources == nil {
		r.sources = map[string]collector.Source{}
	}
	r.sources[name] = s
}

func (r *resender) reappend(ctx context.Context, l schemas.DeadLetter, raw []byte) error {
	r.mu.Lock()
	s := r.sources[l.Consumer]
	r.mu.Unlock()
	again, ok := s.(collector.Rereader)
	if !ok {
		return fmt.Errorf("source %s is not in the config; bring it back or drop the letter", l.Consumer)
	}
	if table, ok := s.(collector.TableRereader); ok {
		b, err := batchOf(ctx, r.j, l.Shard, l.Offset, l.Index)
		if err != nil {
			return err
		}
		if b.Decoder == decode.CSV { // a row is nothing without its header
			alone, err := decode.Alone(b, int(l.Index))
			if err != nil {
				return err
			}
			return table.RereadTable(ctx, b, alone)
		}
	}
	return again.Reread(ctx, l.Tenant, bytes.Clone(raw))
}

// refuseWhenFull answers 429 while the caller's tenant has too many dead
// letters: what more could not be read would not be kept where it can be seen.
func refuseWhenFull(dead *sinks.DeadLetters, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p, ok := auth.FromContext(r.Context()); ok && dead.Full(p.Tenant) {
			problem.Write(w, problem.Details{
				Status: http.StatusTooManyRequests, Title: "Too many dead letters", Code: "dead_letters_full", RetryAfter: time.Minute,
				Detail: "this tenant's list of dead letters is full; look with agentrail dlq ls and clear it with agentrail dlq retry|drop",
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// trust lets those in who bring a signed token: programs under auth.issuers and
// people of the provider under auth.oidc.
func trust(ctx context.Context, tokens *auth.Tokens, c *authConfig) error {
	if c == nil {
		return nil
	}
	if err := tokens.Trust(ctx, c.Issuers); err != nil {
		return err
	}
	if c.OIDC == nil {
		return nil
	}
	if err := tokens.Recognise(ctx, *c.OIDC); err != nil {
		return fmt.Errorf("auth.oidc: %w", err)
	}
	return nil
}
