package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/brake"
	"github.com/agentrail/agentrail/executor/gateway"
	"github.com/agentrail/agentrail/executor/platform"
	engines "github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/executor/trigger"
	"github.com/agentrail/agentrail/internal/auth"
)

func newExecutor(c *console) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "executor",
		Short: "Run agents behind gates, and stand before MCP servers",
		Long: "Run the agents of the section executor of the config: on schedule, by webhook, folder or request, on behalf of their subscribers.\n" +
			"Each call passes the gates, and no write is made before its verdict is on record at the server.",
		Example: "  agentrail executor --config /etc/agentrail/agentrail.yaml",
		Args:    cobra.NoArgs,
	}
	cmd.AddCommand(newExecutorParked(c), newExecutorResend(c))
	cmd.Flags().StringVar(&file, "config", "agentrail.yaml", "config file")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(file)
		if err != nil {
			return err
		}
		if cfg.Executor == nil {
			return hintf("add it after deploy/agentrail.yaml", "%s has no section executor", file)
		}
		return execute(cmd.Context(), cfg.Executor, executeOptions{log: newLogger(c, cfg.Log)})
	}
	return cmd
}

// executeOptions are what the executor is told beside its config.
type executeOptions struct {
	log     *slog.Logger
	onReady func(addr string) // called once the listener takes requests; may be nil
}

// execute is the wiring of the executor, straight on purpose, as serve is.
//
//	spec files ──> state <── platform API <── people, CLI       MCP clients ──> gateway
//	                 │            │                                                │
//	   triggers ─────┴──> engine: gates ──verdict──> outbox ──> server's intake (202)
//	   cron, webhook,          │                            ▲
//	   folder                  └──> actions: MCP, HTTP, model
//	                                                        │ records
//	   server's stream ──> brake: pause on disk, then stop ─┤
//	              alerts ──> responder: policy, pause, read back
//
// The end goes the other way round: first no more requests, triggers and
// controls, then what runs, then what it was run with, then the records.
func execute(ctx context.Context, c *executorConfig, o executeOptions) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	log := o.log
	var stops stack
	defer func() { err = errors.Join(err, stops.run(log)) }()

	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	program := "agentrail-executor/" + version
	self := trail.Who{Program: program, Log: platform.Log, User: "agentrail-executor", UserType: "SERVICE", Initiator: trail.InitiatorAPI}

	tokens, err := auth.Load(c.Tokens)
	if err != nil {
		return hintf("make one with: agentrail token new --file "+c.Tokens+" --name me@example.com --tenant "+c.Tenant+" --roles member", "%w", err)
	}
	if err := trust(ctx, tokens, c.auth); err != nil {
		return err
	}
	token, err := c.token()
	if err != nil {
		return err
	}
	proven, err := c.proven()
	if err != nil {
		return err
	}

	store, err := state.Open(ctx, c.Data, state.Options{Log: log.With("part", "state")})
	if errors.Is(err, state.ErrLocked) {
		return hintf("stop the other one, or give this one a data folder of its own", "%w", err)
	} else if err != nil {
		return err
	}
	stops.push("state", store.Close)

	rules := &liveRules{c: c, put: store.PutRecord, who: self, log: log.With("part", "rules"), now: time.Now}
	if err := rules.load(); err != nil {
		return err
	}
	specs := &specFolder{dir: c.Agents, store: store, who: self, log: log.With("part", "specs"), now: time.Now}
	if err := specs.read(ctx); err != nil {
		return err
	}

	outbox := trail.OpenOutbox(trail.OutboxOptions{Store: store, Server: c.Server, Token: token, Traces: c.tracesURL(), Log: log.With("part", "outbox"), Reg: reg})
	stops.push("outbox", func() error {
		ctx, done := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
		defer done()
		return outbox.Close(ctx)
	})

	actions, err := action.Open(ctx, c.Actions, action.Options{Version: version, Log: log.With("part", "actions"), Reg: reg})
	if err != nil {
		return err
	}
	stops.push("actions", actions.Close)

	// The brake stops what the engine runs, the responder pauses by it, and the
	// engine writes nothing in background while the brake hears nothing.
	var engine *engines.Engine
	stop := func(match func(state.Run) bool, reason string) int { return engine.Stop(match, reason) }
	responder, err := newResponder(ctx, c, store, stop, outbox, log.With("part", "response"), reg)
	if err != nil {
		return err
	}
	asked := &askedFor{store: store, specs: specs, responder: responder, publishers: c.Publishers, stop: stop, wake: outbox.Wake, tenant: c.Tenant, program: program, now: time.Now, log: log.With("part", "controls")}
	stops.push("answers", asked.close)
	hold := brake.New(brake.Options{
		Server: c.Server, Token: token, Store: store, Program: program, Stop: stop, Wake: outbox.Wake, OnAlert: responder.OnAlert, OnControl: asked.carryOut, Proven: proven,
		Log: log.With("part", "brake"), Reg: reg,
	})
	engine = engines.New(engines.Options{
		Store: store, Actions: actions, Recorder: outbox, Rules: rules.rules, Fresh: hold.Fresh, Moderates: moderates(tokens, c.Tenant),
		Program: program, ConfirmTimeout: time.Duration(c.ConfirmTimeout), Log: log.With("part", "engine"), Reg: reg,
	})
	if n, err := engine.Recover(ctx); err != nil {
		return err
	} else if n > 0 {
		log.Warn("runs were left open by the executor before", "runs", n)
	}
	stops.push("engine", func() error {
		ctx, done := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
		defer done()
		return engine.Close(ctx)
	})

	in := newFollowers(ctx, cancel, nil, nil, log)
	stops.push("triggers and controls", in.stop)
	in.run("responses", responder.Run)
	if since, yes := responder.Watches(); yes {
		w := &witness{server: c.Server, token: token, tenant: c.Tenant, onEvent: responder.OnEvent, onHead: responder.OnHead, log: log.With("part", "witness")}
		in.run("witness", w.follow(since))
	}
	in.run("brake", hold.Follow)
	in.run("sweep", every(time.Second, log, engine.Sweep))
	triggers, err := trigger.New(trigger.Options{
		Store: store, Engine: engine, Config: c.Triggers, Missed: c.Missed, Log: log.With("part", "triggers"), Reg: reg,
	})
	if err != nil {
		return err
	}
	in.run("triggers", triggers.Run)
	in.run("specs", every(2*time.Second, log, func(ctx context.Context) error {
		rules.read(ctx)
		if !specs.changed() {
			return nil
		}
		return specs.read(ctx)
	}))

	ready := &executorReady{fresh: hold.Fresh, store: store, specs: specs}
	front := gateway.NewHTTP(gateway.HTTPOptions{
		Engine: engine, Tools: actions, Rules: rules.rules, Tenant: c.Tenant, Hosts: c.Hosts, Origins: c.Origins, Version: version, Log: log.With("part", "gateway"),
	})
	stops.push("gateway", front.Close)
	api, err := platform.New(platform.Options{
		Tenant: c.Tenant, Require: tokens.Require, Store: store, Engine: engineAPI{engine}, Brake: hold, Record: outbox, Rules: rules.rules,
		Tools: toolNames(actions), Token: actions.Token, Faults: specs.Faults, MayPublish: c.Publishers, Ready: ready.not,
		Webhooks: triggers.Handler(), Changed: triggers.Wake, Mounted: responseRoutes(responder), MCP: front,
		Metrics: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}), Version: version, Log: log.With("part", "platform"), Reg: reg,
	})
	if err != nil {
		return err
	}
	l, err := listen(ctx, c.Listen, "executor.listen", c.file, api, log)
	if err != nil {
		return err
	}
	stops.push("listener", l.close)
	log.Info("executing", "addr", l.addr, "tenant", c.Tenant, "version", version)
	if o.onReady != nil {
		o.onReady(l.addr)
	}
	return l.wait(ctx, log, func() {
		if err := errors.Join(tokens.Reload(), specs.read(ctx)); err != nil {
			log.Error("not all was read again; the old stays", "err", err)
		} else {
			log.Info("tokens and agents read again")
		}
	})
}

// endPatience is how long the executor waits at its end for what runs, and for
// records to leave. What has not left by then is on disk and leaves later.
const endPatience = 5 * time.Second
