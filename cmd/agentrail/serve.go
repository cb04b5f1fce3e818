package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/notary"
	"github.com/agentrail/agentrail/collector/recent"
	"github.com/agentrail/agentrail/collector/survey"
	web "github.com/agentrail/agentrail/dashboards/console"
	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
	"github.com/agentrail/agentrail/sinks/alerting"
)

func newServe(c *console) *cobra.Command {
	var file, cpuprofile string
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Run the pipeline",
		Example: "  agentrail serve --config /etc/agentrail/agentrail.yaml",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&file, "config", "agentrail.yaml", "config file")
	cmd.Flags().StringVar(&cpuprofile, "cpuprofile", "", "write a CPU profile there when the server ends")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(file)
		if err != nil {
			return err
		}
		if c.env("GOGC") == "" {
			debug.SetGCPercent(gcPercent)
		}
		if cpuprofile != "" {
			f, err := os.Create(cpuprofile)
			if err != nil {
				return fmt.Errorf("write profile: %w", err)
			}
			defer f.Close()
			if err := pprof.StartCPUProfile(f); err != nil {
				return fmt.Errorf("start profile: %w", err)
			}
			defer pprof.StopCPUProfile()
		}
		return serve(cmd.Context(), cfg, serveOptions{log: newLogger(c, cfg.Log)})
	}
	return cmd
}

// gcPercent keeps the server under 300 MB at full load, at the cost of some
// processor time; the variable GOGC goes before it. See DESIGN.md.
const gcPercent = 75

// serveOptions are what serve is told beside its config.
type serveOptions struct {
	log *slog.Logger
	// onReady is called once the listener takes requests. login makes the path
	// of a page that logs the principal in once, or "" if it has no token.
	onReady func(addr string, login func(principal string) string)
	// executor says where the executor is and gives a token of it; nil: the config says.
	executor func() (base, token string)
	onRoutes func([]string)  // called with the patterns of the listener before it takes requests; may be nil
	onStore  func(storeNews) // called while the store comes up, from a goroutine of its own; may be nil
}

// serve is the wiring of the whole program, straight on purpose: what is made
// stands in the order in which it is made, and each part's end stands beside
// its beginning. Nothing but this function knows more than one part.
//
//	sources ──read──> journal.Append ──fsync──> 202
//	                      │
//	                      ├─ Follow ─> detectors ──alerts──> Append
//	                      ├─ Follow ─> sink/NAME ...         (one cursor each)
//	                      ├─ Follow ─> ledger ──statements──> Append
//	                      ├─ Follow ─> replays ─> sink
//	                      ├─ Follow ─> store ─> ClickHouse   (exact plans)
//	                      ├─ Follow ─> notary ──heads──> Append
//	                      ├─ Follow ─> survey            (what arrives: doctor, top)
//	                      ├─ Follow ─> recent ─> page, API   (what is new, in memory)
//	                      ├─ Follow ─> alerting ─> people    (routing, silences)
//	                      └─ Follow ─> dlq ──retries──> sink or Append
//
// The end goes the other way round: first no more requests, then the sources,
// then the consumers, which keep what they were doing for the next start, then
// the engine and the journal.
func serve(ctx context.Context, c *config, o serveOptions) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	log := o.log
	var stops stack
	defer func() { err = errors.Join(err, stops.run(log)) }()

	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	tokens, err := auth.Load(c.Auth.Tokens)
	if err != nil {
		return hintf("make one with: agentrail token new --file "+c.Auth.Tokens+" --name me --roles ingest,viewer,admin", "%w", err)
	}
	if err := trust(ctx, tokens, &c.Auth); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	mappings, err := decode.Open(filepath.Join(c.Data, "mappings"), c.Mappings...)
	if err != nil {
		return err
	}
	key, err := notary.OpenKey(c.Evidence.Key, c.Data, c.Evidence.Origin)
	if err != nil {
		return err
	}

	j, err := journal.OpenDisk(ctx, journal.Options{
		Dir: filepath.Join(c.Data, "journal"), Decode: mappings.Decode, Own: decode.Own, Tenant: c.Auth.Tenant,
		MaxBytes: int64(c.Journal.MaxBytes), ReserveBytes: int64(c.Journal.Reserve), SegmentBytes: int64(c.Journal.SegmentBytes),
		Retention: time.Duration(c.Journal.Retention), TailBytes: int64(c.Journal.TailBytes), DedupWindow: c.Journal.DedupWindow,
		EvictUnread: c.Journal.EvictUnread,
		Log:         log.With("part", "journal"), Reg: reg,
	})
	if errors.Is(err, journal.ErrLocked) {
		return hintf("stop the other one, or give this one a data folder of its own", "%w", err)
	} else if err != nil {
		return err
	}
	stops.push("journal", j.Close)

	// Consumers. They end after the sources and before the journal.
	f := newFollowers(ctx, cancel, j, journal.NewMetrics(reg), log)
	stops.push("consumers", f.stop)

	engine, err := detectors.NewEngine(detectors.Options{
		Detectors: c.Detectors, Ruling: c.ruling(), Append: j.Append, Own: decode.Own, Vocabulary: mappings.Vocabulary(), Tools: mappings.Tool,
		Log: log.With("part", "detectors"), Reg: reg,
	})
	if err != nil {
		return err
	}
	if err := f.follow(detectorsCursor, journal.FromStart(), engine, journal.FollowOptions{State: engine}); err != nil {
		return err
	}

	own := owner{append: j.Append}
	if err := own.document(ctx, c.Auth.Tenant, schemas.ClassHealth, "health", rulesLoaded(engine, c.Auth.Tenant)); err != nil {
		return err
	}
	own.configLoaded(ctx, c, log)
	forwarders, inOrder := map[string]*sinks.Forwarder{}, []*sinks.Forwarder(nil)
	sinkMetrics := sinks.NewMetrics(reg)
	for _, sc := range c.Sinks {
		health := own.health(c.Auth.Tenant)
		s, common, err := sinks.Open(ctx, sc, sinks.Deps{Log: log.With("part", "sinks"), Health: health})
		if err != nil {
			return err
		}
		f.afterwards("sink "+sc.Name, s.Close)
		fw, err := sinks.NewForwarder(sinks.Options{
			Name: sc.Name, Sink: s, Common: common, Log: log.With("part", "sinks", "sink", sc.Name), Metrics: sinkMetrics, Health: health,
		})
		if err != nil {
			return sc.Errorf("%v", err)
		}
		forwarders[sc.Name], inOrder = fw, append(inOrder, fw)
		if err := f.follow(fw.Name(), common.Start(), fw, fw.FollowOptions()); err != nil {
			return err
		}
	}

	books, err := newLedger(f, j, own, c.Auth.Tenant, inOrder, forwarders, log.With("part", "ledger"), reg)
	if err != nil {
		return err
	}

	n, err := notary.New(notary.Options{
		Key: key, Append: j.Append, Own: decode.Own, Tenant: c.Auth.Tenant, Log: log.With("part", "notary"), Reg: reg,
	})
	if err != nil {
		return err
	}
	f.afterwards("notary", func() error { return n.Close(context.WithoutCancel(ctx)) })
	if err := f.follow("notary", journal.FromStart(), n, journal.FollowOptions{State: n}); err != nil {
		return err
	}

	seen := &arrivals{survey: survey.New(survey.Options{Unmapped: mappings.Unmapped, NameOf: mappings.NameOf}), operator: c.Auth.Tenant}
	if err := f.follow(survey.Name, journal.FromStart(), seen.survey, journal.FollowOptions{State: seen.survey}); err != nil {
		return err
	}

	again := &resender{j: j}
	dead, err := sinks.NewDeadLetters(sinks.DeadLetterOptions{
		From: j.Head(), Lookup: lookup(j), Sink: func(name string) (*sinks.Forwarder, bool) {
			fw, ok := forwarders[name]
			return fw, ok
		},
		Reappend: again.reappend, Append: own.document, Log: log.With("part", "dlq"),
	})
	if err != nil {
		return err
	}
	if err := f.follow("dlq", journal.FromStart(), dead, journal.FollowOptions{State: dead}); err != nil {
		return err
	}
	f.run("dlq retries", dead.Run)

	rec, err := recent.New(recent.Options{Batch: rereadBatch(j), Log: log.With("part", "recent"), Reg: reg})
	if err != nil {
		return err
	}
	if err := f.follow("recent", journal.FromStart(), rec, journal.FollowOptions{State: rec}); err != nil {
		return err
	}

	told, err := newPeople(c, own, log.With("part", "alerting"), reg)
	if err != nil {
		return err
	}
	if told != nil {
		if err := f.follow(alerting.Name, journal.FromNow(), told.feed, journal.FollowOptions{State: told.feed}); err != nil {
			return err
		}
		f.run("alerting router", told.to.Run)
		f.run("alerting", told.feed.Run)
	}

	st := newStorage(c, log.With("part", "store"), reg, o.onStore)
	f.afterwards("store", st.close)
	if st != nil {
		if err := f.follow("store", journal.FromStart(), st, journal.FollowOptions{
			Exact: true, Rows: 20_000, Bytes: 16 << 20, Linger: 500 * time.Millisecond,
		}); err != nil {
			return err
		}
		f.run("store", st.open)
	}

	traces, err := newTraceReader(c, st)
	if err != nil {
		return err
	}
	f.afterwards("traces", traces.close)

	// Sources and the listener. They end first.
	in := newFollowers(ctx, cancel, j, nil, log)
	mux := &router{}
	for _, sc := range c.Sources {
		s, err := collector.Open(ctx, sc, collector.Deps{
			Append: j.Append, Decode: mappings, Log: log.With("part", "collector"), Reg: reg,
			Tenant: c.Auth.Tenant, DataDir: filepath.Join(c.Data, "sources"), Caller: tokens.Principal, Full: dead.Full,
		})
		if err != nil {
			return err
		}
		again.add(sc.Name, s)
		seen.add(sc.Name, sc.Kind, s)
		in.run("source "+sc.Name, s.Run)
		if hs, ok := s.(collector.HTTPSource); ok {
			for pattern, h := range hs.Routes() {
				mux.Handle(pattern, tokens.Require(refuseWhenFull(dead, h), auth.RoleIngest))
			}
		}
	}
	stops.push("sources", in.stop)

	status := &pipelineStatus{j: j, c: c, follow: f.metrics, reg: reg, started: time.Now(), forwarders: forwarders, store: st, engine: engine, people: told}
	sessions, newest := tokens.Sessions(), memory{rec}
	access := newAccessLog(own, c.Auth.Tenant, log.With("part", "access"))
	sessions.Tell(access.login)
	f.run("access", access.run)
	rolesFile := filepath.Join(c.Data, "roles.json")
	if err := access.roles(ctx, rolesFile, tokens.Principals()); err != nil {
		return err
	}
	if c.Auth.OIDC != nil {
		if err := sessions.Provide(ctx, *c.Auth.OIDC); err != nil {
			return fmt.Errorf("auth.oidc: %w", err)
		}
	}
	server, err := api.New(api.Options{
		Require: sessions.Require, Operator: c.Auth.Tenant, Store: traces.queries(st.queries()), NoteRead: access.read, Append: j.Append, Own: decode.Own, Prove: key.ProveControl,
		Recent: newest.queries(), Lives: rec.Lives, History: newest.history, Record: journalRecord(j),
		Open: func(ctx context.Context, shard int, from journal.From) (api.Reader, error) {
			return j.Open(ctx, "", shard, from)
		},
		DeadLetters: deadLetters(dead), Ledger: books.rows, CheckReplay: books.checkReplay, Cursors: cursors(j), Status: status.status, Ready: status.ready, Notes: both(told.overdue, ruleNotes(engine)), Rules: rulesInForce(engine, time.Now), Survey: seen.options(), OffsetAt: offsetAt(j), Head: j.Head,
		Metrics: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}), Version: version, Log: log.With("part", "api"),
	})
	if err != nil {
		return err
	}
	mux.Handle("/", server)
	for pattern, h := range told.routes(sessions.Require, c.Auth.Tenant, own) {
		mux.Handle(pattern, h)
	}
	tables, err := sqlRoutes(c, st, tokens, access, log.With("part", "sql"))
	if err != nil {
		return err
	}
	for pattern, h := range tables {
		mux.Handle(pattern, h)
	}
	tests := newBacktests(c, engine, mappings, j, log.With("part", "backtest"))
	stops.push("backtests", tests.close)
	pages, err := web.New(web.Options{
		Sessions: sessions, Operator: c.Auth.Tenant, Recent: newest.queries(), Alerts: rec.Alerts, History: newest.history, Evicted: newest.evicted, Changed: rec.Changed,
		Store: traces.queries(st.queries()), Record: journalRecord(j), Neighbours: neighbours(j), Status: status.status, Ready: status.ready,
		Ask: server.Ask, Exported: server.Exported, Seal: sealCase(key, rec, c.Auth.Tenant), Executor: c.Console.executor(o.executor), DeadLetters: deadLetters(dead), Sources: seen.list,
		Detectors: detectorParts(c), Evidence: evidenceOf(c, key), Settings: settings(c),
		Rules: rulesInForce(engine, time.Now), Ledger: books.rows, TraceLink: c.Console.TraceLink, Backtests: tests.pages(),
		NoteRead: access.read, Version: version, Log: log.With("part", "console"),
	})
	if err != nil {
		return err
	}
	f.run("console", pages.Run)
	for pattern, h := range pages.Routes() {
		mux.Handle(pattern, h)
	}
	if o.onRoutes != nil {
		o.onRoutes(mux.patterns)
	}
	l, err := listen(ctx, c.Listen, "listen", c.file, mux, log)
	if err != nil {
		return err
	}
	stops.push("listener", l.close)
	log.Info("serving", "addr", l.addr, "version", version)
	f.nameAbandoned(j, c)
	if o.onReady != nil {
		o.onReady(l.addr, func(principal string) string { return loginPath(sessions, principal) })
	}
	return l.wait(ctx, log, func() {
		if err := tokens.Reload(); err != nil {
			log.Error("tokens not read again; the old ones stay", "err", err)
			return
		}
		log.Info("tokens read again")
		own.configLoaded(ctx, c, log)
		if err := access.roles(ctx, rolesFile, tokens.Principals()); err != nil {
			log.Error("change of roles is not on record", "err", err)
		}
		reloadRules(ctx, engine, c, own, log)
		told.reload(ctx, log)
	})
}
