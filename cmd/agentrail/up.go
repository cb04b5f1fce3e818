package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/internal/auth"
)

// newUp is the first run: everything on loopback in one folder, a sample day
// played through the ordinary intake, and what was found.
func newUp(c *console) *cobra.Command {
	u := &up{c: c}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start everything on loopback and play a labelled sample day",
		Long: "Start the pipeline on loopback in one folder, play a labelled sample day into it through its own HTTP intake,\n" +
			"show what arrives and what is found, and keep some normal traffic going until Ctrl-C.\n" +
			"A second start in the same folder goes on with what is there; `agentrail demo` plants an incident into it.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return u.run(cmd.Context()) },
	}
	cmd.Flags().StringVar(&u.dir, "data", "data", "folder for everything")
	cmd.Flags().StringVar(&u.listen, "listen", "127.0.0.1:7680", "address; a taken port is replaced by a free one")
	cmd.Flags().BoolVar(&u.once, "once", false, "end after the day; exit code 1 if an incident was missed or a twin was not quiet")
	cmd.Flags().StringVar(&u.tempo, "tempo", "", "address of the API of a Grafana Tempo, where traces are searched, too")
	cmd.Flags().StringVar(&u.tempoPush, "tempo-push", "", "address at which that Tempo takes OTLP over HTTP")
	cmd.Flags().Uint64Var(&u.seed, "seed", 1, "of the sample day; counts in a new folder only")
	return cmd
}

// upPrincipal is whose token up makes and uses.
const upPrincipal = "up"

// up is one run of the verb.
type up struct {
	c           *console
	dir, listen string
	once        bool
	seed        uint64

	token string
	login string // path of the page, logged in once

	tempo, tempoPush string
	executor         string                 // its address, once it listens
	executing        atomic.Pointer[string] // the same, for the pages
	reference        bool                   // the agents' servers are those of npm

	past  upState
	view  *upView
	store *upStore
	cmds  upCommands
}

// run goes through the first minute step by step. The server runs in this
// process; everything else is done from outside, over HTTP, as a client would.
func (u *up) run(ctx context.Context) error {
	u.view = newUpView(u.c)
	defer u.view.end()
	cfg, err := u.prepare(ctx)
	if err != nil {
		return u.explain(err)
	}
	log, err := u.openLog()
	if err != nil {
		return u.explain(err)
	}
	defer log.Close()
	// The end of its terminal ends up, unlike serve, which reads its tokens again.
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer cancel()
	logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	u.store = &upStore{view: u.view, config: u.cmds.path("config", "agentrail.yaml")}
	ready := make(chan string, 1)
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, cfg, serveOptions{
			log: logger,
			onReady: func(addr string, login func(string) string) {
				u.login = login(upPrincipal)
				ready <- addr
			},
			onStore:  u.store.take,
			executor: u.executorForPages,
		})
	}()
	var addr string
	select {
	case addr = <-ready:
	case err := <-served:
		return u.explain(err)
	}
	defer u.mark(serverURL(addr))()
	// What the signal means is said at once, and again when it is done.
	said := make(chan struct{})
	stopping := context.AfterFunc(ctx, func() { defer close(said); u.view.line("stopping") })
	end := func() {
		if !stopping() {
			<-said
		}
		cancel()
	}
	played := make(chan error, 1)
	go func() { played <- u.play(ctx, cfg, serverURL(addr), logger) }()
	select {
	case err = <-played:
		end()
		if serr := <-served; err == nil {
			err = serr
		}
	case err = <-served:
		if err == nil && ctx.Err() == nil {
			err = errors.New("the server ended by itself; see " + filepath.Join(u.dir, "serve.log"))
		}
		end()
		if perr := <-played; err == nil {
			err = perr
		}
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	if err == nil {
		u.view.end()
		u.view.line("stopped    everything is in %s; go on with: %s", u.cmds.path(), u.cmds.up())
	}
	return u.explain(err)
}

// play shows the stream, plays the day unless it was played before, and goes on
// with live traffic.
func (u *up) play(ctx context.Context, cfg *config, url string, log *slog.Logger) error {
	u.view.line("listening  %s   token in %s", url, u.cmds.path("token"))
	if u.login != "" {
		u.view.line("open       %s%s   logs in once, within %d minutes", url, u.login, int(auth.CodeLife.Minutes()))
	}
	if u.c.env("AGENTRAIL_SERVER") != "" {
		u.cmds.url = url
	}
	u.view.show = func(id string) string { return u.cmds.alert(id, !u.store.missing()) }
	from := "start"
	if u.past.Played {
		from = "now" // what was found before has been shown; agentrail alerts lists it
	}
	w := newWatch(url, u.token, from, u.view, u.store)
	watching := make(chan struct{})
	wctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { defer close(watching); w.run(wctx) }()
	// The server's end waits for connections that are open.
	defer func() { stop(); <-watching; http.DefaultClient.CloseIdleConnections() }()
	sender := &sample.Sender{URL: url, Token: u.token, Log: log.With("part", "sample")}
	if !u.past.Played {
		if err := u.day(ctx, sender, w); err != nil {
			return err
		}
	} else {
		u.view.line("the sample day of %s is here already; going on with it", u.past.End.Local().Format("2006-01-02 15:04 MST"))
	}
	u.view.print("\n" + u.past.Table + "\n" + u.cmds.next(u.once))
	if u.once {
		if err := w.stored(ctx); err != nil {
			return err
		}
		if !u.past.Perfect {
			return &findings{n: 1}
		}
		return nil
	}
	// after the day, so that it neither slows it nor counts in its table
	ectx, end := context.WithCancel(ctx)
	gone := u.runExecutor(ectx, cfg, url, log)
	defer func() { end(); <-gone }()
	u.view.line("ready      normal traffic goes on, some 20 records a second; Ctrl-C ends it")
	return sender.Live(ctx, sample.Live(sample.Options{Seed: u.past.Seed, End: u.past.End}, u.c.now(), 20), nil)
}

// day plays the whole sample day and judges what was found. What an earlier run
// has sent of it is known to the journal and counts once.
func (u *up) day(ctx context.Context, sender *sample.Sender, w *watch) error {
	if u.past.End.IsZero() {
		u.past.Seed, u.past.End = u.seed, u.c.now().Truncate(time.Second)
		if err := u.save(); err != nil {
			return err
		}
	} else {
		u.view.line("the sample day of %s was not played to its end; going on with it", u.past.End.Local().Format("2006-01-02 15:04 MST"))
	}
	day := sample.Generate(sample.Options{Seed: u.past.Seed, End: u.past.End})
	u.view.line("sample     a day of %s records that ends now: %d planted incidents, a benign twin of each; %s of the days before",
		grouped(uint64(day.Records-day.History)), len(day.Labels)/2, grouped(uint64(day.History)))
	w.expect(day)
	if _, err := sender.Play(ctx, day, nil); err != nil {
		return err
	}
	if err := w.drained(ctx); err != nil {
		return err
	}
	score := w.judge(day)
	u.past.Played, u.past.Table, u.past.Perfect = true, score.String(), score.Perfect()
	return u.save()
}
