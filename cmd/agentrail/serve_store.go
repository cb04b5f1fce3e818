package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/store"
	"github.com/agentrail/agentrail/collector/store/engine"
	"github.com/agentrail/agentrail/schemas"
)

// storage is the store while it comes up: the pipeline does not wait for
// ClickHouse, the store's cursor does. A nil storage is a pipeline without.
type storage struct {
	c   *config
	log *slog.Logger
	reg prometheus.Registerer
	say func(storeNews) // never nil

	up     chan struct{} // closed when s is there
	mu     sync.Mutex
	engine *engine.Supervisor
	s      *store.Store
	last   error // why it is not there yet
}

// storeNews says how the store comes up: how far the engine's library is, why a
// try failed, or that it is open.
type storeNews struct {
	done, total int64 // bytes; total is 0 when nothing is being fetched
	err         error // another try follows
	open        bool
}

// newStorage returns a storage that tells say of its way up, from the goroutine
// of open; say may be nil.
func newStorage(c *config, log *slog.Logger, reg prometheus.Registerer, say func(storeNews)) *storage {
	if c.Store.Kind == "none" {
		return nil
	}
	if say == nil {
		say = func(storeNews) {}
	}
	return &storage{c: c, log: log, reg: reg, say: say, up: make(chan struct{}), last: errors.New("starting")}
}

// open brings the store up, however often it takes, and returns.
func (st *storage) open(ctx context.Context) error {
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 30*time.Second) {
		err := st.try(ctx)
		if err == nil {
			st.log.Info("store is open", "kind", st.c.Store.Kind)
			close(st.up)
			st.say(storeNews{open: true})
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		st.mu.Lock()
		st.last = err
		st.mu.Unlock()
		st.say(storeNews{err: err})
		st.log.Warn("store not open yet; the journal keeps what comes", "err", err, "next_try", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (st *storage) try(ctx context.Context) error {
	o := store.Options{Raw: *st.c.Store.Raw, Log: st.log, Reg: st.reg}
	if st.c.Store.Kind == "clickhouse" {
		o.DSN = st.c.Store.DSN.Reveal()
	} else {
		e, err := st.startEngine(ctx)
		if err != nil {
			return err
		}
		o.Engine = e
	}
	s, err := store.Open(ctx, o)
	if err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s = s
	return nil
}

// startEngine starts the child once; it is kept when the store could not be
// opened on it.
func (st *storage) startEngine(ctx context.Context) (*engine.Supervisor, error) {
	st.mu.Lock()
	e := st.engine
	st.mu.Unlock()
	if e != nil {
		return e, nil
	}
	lib := st.c.Store.Library
	if lib == "" {
		var err error
		progress := func(done, total int64) { st.say(storeNews{done: done, total: total}) }
		if lib, err = engine.Fetch(ctx, st.c.Store.Cache, progress); err != nil {
			return nil, err
		}
		st.say(storeNews{})
	}
	o := engine.SupervisorOptions{
		Engine: engine.Options{Data: filepath.Join(st.c.Data, "engine"), Library: lib, SHA256: st.c.Store.LibrarySHA256, MaxMemory: int64(st.c.Store.Memory)},
		Args:   []string{"engine"}, Log: st.log,
	}
	e, err := engine.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.engine = e
	return e, nil
}

// close ends the connections and the engine.
func (st *storage) close() error {
	if st == nil {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	var errs []error
	if st.s != nil {
		errs = append(errs, st.s.Close())
	}
	if st.engine != nil {
		errs = append(errs, st.engine.Close())
	}
	return errors.Join(errs...)
}

// Consume waits for the store and hands the plan on.
func (st *storage) Consume(ctx context.Context, batches []*schemas.Batch) error {
	select {
	case <-st.up:
		return st.s.Consume(ctx, batches)
	case <-ctx.Done():
		return ctx.Err()
	}
}

var _ journal.Consumer = (*storage)(nil)

// notReady says why queries cannot be answered yet.
func (st *storage) notReady() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.s == nil {
		return st.last.Error()
	}
	return ""
}

func (st *storage) opened() (*store.Store, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.s == nil {
		return nil, fmt.Errorf("%w: %w", api.ErrNotOpen, st.last)
	}
	return st.s, nil
}

// running returns the embedded engine, or why it does not run yet.
func (st *storage) running() (*engine.Supervisor, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.s == nil || st.engine == nil {
		return nil, fmt.Errorf("the store is not open yet: %w", st.last)
	}
	return st.engine, nil
}

// queries shows the store to the API.
func (st *storage) queries() api.Store {
	if st == nil {
		return api.Store{}
	}
	return api.Store{Events: st.events, Event: st.event, Runs: st.runs, Hours: st.hours, Alerts: st.alerts, Alert: st.alert}
}

func storeQuery(q api.Query) store.Query {
	return store.Query{
		Tenant: q.Tenant, From: q.Since, To: q.Until, Actor: q.Actor, Agent: q.Agent, Action: q.Action,
		Tool: q.Tool, Subscription: q.Subscription, Outcome: q.Outcome, Kind: q.Kind, Class: q.Class,
		Run: q.Run, Trace: q.Trace, After: q.After, Limit: q.Limit,
	}
}

func (st *storage) events(ctx context.Context, q api.Query, yield func(api.Event) error) error {
	s, err := st.opened()
	if err != nil {
		return err
	}
	for row, err := range s.Events(ctx, storeQuery(q)) {
		if err != nil {
			return err
		}
		if err := yield(apiEvent(row)); err != nil {
			return err
		}
	}
	return nil
}

func (st *storage) event(ctx context.Context, tenant, id string) (api.Event, error) {
	s, err := st.opened()
	if err != nil {
		return api.Event{}, err
	}
	row, err := s.EventByID(ctx, tenant, id)
	if err != nil {
		return api.Event{}, notFound(err, store.ErrNotFound)
	}
	e := apiEvent(row)
	if row.Raw != nil {
		text := string(row.Raw)
		e.Raw = &text
	}
	return e, nil
}

func (st *storage) runs(ctx context.Context, q api.Query) ([]api.Run, error) {
	s, err := st.opened()
	if err != nil {
		return nil, err
	}
	var out []api.Run
	for r, err := range s.Runs(ctx, storeQuery(q)) {
		if err != nil {
			return nil, err
		}
		out = append(out, apiRun(r))
	}
	return out, nil
}

func (st *storage) hours(ctx context.Context, q api.Query) ([]api.HourTotal, error) {
	s, err := st.opened()
	if err != nil {
		return nil, err
	}
	var out []api.HourTotal
	for h, err := range s.Hours(ctx, storeQuery(q)) {
		if err != nil {
			return nil, err
		}
		out = append(out, api.HourTotal(h))
	}
	return out, nil
}

func (st *storage) alerts(ctx context.Context, q api.Query) ([]schemas.Alert, error) {
	s, err := st.opened()
	if err != nil {
		return nil, err
	}
	sq := storeQuery(q)
	sq.Limit = 0 // rule, severity and state are chosen here
	var out []schemas.Alert
	for a, err := range s.Alerts(ctx, sq, q.State == "open") {
		if err != nil {
			return nil, err
		}
		if q.Rule != "" && a.Rule != q.Rule || q.Severity != "" && string(a.Severity) != q.Severity ||
			q.State == "resolved" && a.Transition != schemas.TransitionResolve {
			continue
		}
		if out = append(out, a); len(out) == q.Limit {
			break
		}
	}
	return out, nil
}

func (st *storage) alert(ctx context.Context, tenant, id string) ([]schemas.Alert, error) {
	s, err := st.opened()
	if err != nil {
		return nil, err
	}
	ids, err := s.AlertIDs(ctx, tenant, id, 2)
	switch {
	case err != nil:
		return nil, err
	case len(ids) == 0:
		return nil, fmt.Errorf("alert %s: %w", id, api.ErrNotFound)
	case len(ids) > 1 && ids[0] != id: // sorted: an id that is whole comes first
		return nil, fmt.Errorf("%w: %s and %s", api.ErrAmbiguous, ids[0], ids[1])
	}
	return collect(s.AlertHistory(ctx, tenant, ids[0]))
}

func collect[T any](rows iter.Seq2[T, error]) ([]T, error) {
	var out []T
	for v, err := range rows {
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// notFound turns a part's own error for what is not there into the API's.
func notFound(err, absent error) error {
	if errors.Is(err, absent) {
		return fmt.Errorf("%w: %w", api.ErrNotFound, err)
	}
	return err
}

func apiEvent(e store.EventRow) api.Event {
	return api.Event{
		ID: e.ID.String(), Time: e.Time, Received: e.Received, Shard: e.Shard, Offset: e.Offset, Index: e.Index,
		Class: e.Class, Kind: e.Kind, Source: e.Source, Actor: e.Actor, ActorEmail: e.ActorEmail, ActorType: e.ActorType,
		Department: e.Department, Agent: e.Agent, Name: e.Name, Owner: e.Owner, Subscription: e.Subscription, Run: e.Run,
		Session: e.Session, Trace: e.Trace, Span: e.Span, Initiator: e.Initiator, Action: e.Action, Access: e.Access,
		Endpoint: e.Endpoint, Method: e.Method, Tool: e.Tool, Target: e.Target, Outcome: e.Outcome, OutcomeText: e.OutcomeText,
		Reason: e.Reason, Status: e.Status, DurationNS: int64(e.Duration), IP: e.IP, UserAgent: e.UserAgent,
		SourceID: e.SourceID, SourceAction: e.SourceAction, Flags: e.Flags.Names(), Digest: e.Digest.String(),
	}
}

func apiRun(r store.RunRow) api.Run {
	return api.Run{
		ID: r.Run, Agent: r.Agent, AgentName: r.Name, Owner: r.Owner, Actor: r.Actor, ActorEmail: r.ActorEmail,
		Subscription: r.Subscription, Session: r.Session, Trace: r.Trace, Initiator: r.Initiator, Outcome: r.Outcome,
		Reason: r.Reason, Started: r.Time.Add(-r.Duration), Ended: r.Time, Backfill: r.Backfill, EventID: r.ID.String(),
	}
}
