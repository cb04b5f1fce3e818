package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/collector/store/engine"
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
			"A second start in the same folder goes on with what is there.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return u.run(cmd.Context()) },
	}
	cmd.Flags().StringVar(&u.dir, "data", "data", "folder for everything")
	cmd.Flags().StringVar(&u.listen, "listen", "127.0.0.1:7680", "address; a taken port is replaced by a free one")
	cmd.Flags().BoolVar(&u.once, "once", false, "end after the day; exit code 1 if an incident was missed or a twin was not quiet")
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
	past  upState
	view  *upView
}

// upState is kept in the folder between runs.
type upState struct {
	Seed    uint64    `json:"seed"`
	End     time.Time `json:"end"`     // of the sample day
	Played  bool      `json:"played"`  // wholly
	Table   string    `json:"table"`   // of incidents, as it was printed
	Perfect bool      `json:"perfect"` // every incident found, every twin quiet
}

// run goes through the first minute step by step. The server runs in this
// process; everything else is done from outside, over HTTP, as a client would.
func (u *up) run(ctx context.Context) error {
	u.view = newUpView(u.c)
	defer u.view.end()
	cfg, err := u.prepare(ctx)
	if err != nil {
		return err
	}
	log, err := u.openLog()
	if err != nil {
		return err
	}
	defer log.Close()
	// The end of its terminal ends up, unlike serve, which reads its tokens again.
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer cancel()
	ready := make(chan string, 1)
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, cfg, serveOptions{
			log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo})),
			onReady: func(addr string, login func(string) string) {
				u.login = login(upPrincipal)
				ready <- addr
			},
		})
	}()
	var addr string
	select {
	case addr = <-ready:
	case err := <-served:
		return err
	}
	played := make(chan error, 1)
	go func() { played <- u.play(ctx, "http://"+addr) }()
	select {
	case err = <-played:
		cancel()
		if serr := <-served; err == nil {
			err = serr
		}
	case err = <-served:
		if err == nil && ctx.Err() == nil {
			err = errors.New("the server ended by itself; see " + filepath.Join(u.dir, "serve.log"))
		}
		cancel()
		if perr := <-played; err == nil {
			err = perr
		}
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// play shows the stream, plays the day unless it was played before, and goes on
// with live traffic.
func (u *up) play(ctx context.Context, url string) error {
	u.view.line("listening  %s   token in %s", url, filepath.Join(u.dir, "token"))
	if u.login != "" {
		u.view.line("open       %s%s   logs in once, within %d minutes", url, u.login, int(auth.CodeLife.Minutes()))
	}
	here, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the current folder: %w", err)
	}
	cmds := upCommands{program: programName(), url: url, dir: u.dir, here: here}
	u.view.show = func(id string) string { return cmds.client("alerts show " + id) }
	from := "start"
	if u.past.Played {
		from = "now" // what was found before has been shown; agentrail alerts lists it
	}
	w := newWatch(url, u.token, from, u.view)
	watching := make(chan struct{})
	wctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { defer close(watching); w.run(wctx) }()
	defer func() { stop(); <-watching }()
	if !u.past.Played {
		if err := u.day(ctx, url, w); err != nil {
			return err
		}
	} else {
		u.view.line("the sample day of %s is here already; going on with it", u.past.End.Local().Format("2006-01-02 15:04 MST"))
		if err := w.drained(ctx); err != nil {
			return err
		}
	}
	u.view.print("\n" + u.past.Table + "\n" + cmds.next(u.once))
	if u.once {
		if !u.past.Perfect {
			return &findings{n: 1}
		}
		return nil
	}
	u.view.line("normal traffic goes on, some 20 records a second; Ctrl-C ends it")
	live := &sample.Sender{URL: url, Token: u.token}
	return live.Live(ctx, sample.Live(sample.Options{Seed: u.past.Seed, End: u.past.End}, u.c.now(), 20), nil)
}

// day plays the whole sample day and judges what was found.
func (u *up) day(ctx context.Context, url string, w *watch) error {
	if u.past.End.IsZero() {
		u.past.Seed, u.past.End = u.seed, u.c.now().Truncate(time.Second)
		if err := u.save(); err != nil {
			return err
		}
	}
	day := sample.Generate(sample.Options{Seed: u.past.Seed, End: u.past.End})
	u.view.line("sample     %d records of a day that ends now, %d planted incidents with a benign twin each, %d records of the days before", day.Records-day.History, len(day.Labels)/2, day.History)
	w.expect(day)
	if _, err := sample.Play(ctx, url, u.token, day, nil); err != nil {
		return err
	}
	if err := w.drained(ctx); err != nil {
		return err
	}
	score := w.judge(day)
	u.past.Played, u.past.Table, u.past.Perfect = true, score.String(), score.Perfect()
	return u.save()
}

// prepare makes the folder, its config, a token and the engine's library.
func (u *up) prepare(ctx context.Context) (*config, error) {
	var err error
	if u.dir, err = filepath.Abs(u.dir); err != nil {
		return nil, err
	}
	conf := filepath.Join(u.dir, "config", "agentrail.yaml")
	for _, d := range []string{"config", "export"} {
		if err := os.MkdirAll(filepath.Join(u.dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(u.dir, "up.json")); err == nil {
		if err := json.Unmarshal(b, &u.past); err != nil {
			return nil, hintf("remove the file, or the whole folder to begin anew", "read %s: %w", filepath.Join(u.dir, "up.json"), err)
		}
	}
	if _, err := os.Stat(conf); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(conf, []byte(upConfig(u.dir)), 0o600); err != nil {
			return nil, fmt.Errorf("write config: %w", err)
		}
	}
	cfg, err := loadConfig(conf)
	if err != nil {
		return nil, err
	}
	cfg.Listen = freeAddress(u.listen, u.view)
	if u.token, err = upToken(u.dir, cfg); err != nil {
		return nil, err
	}
	u.view.line("folder     %s", u.dir)
	if cfg.Store.Kind != "embedded" {
		return cfg, nil
	}
	lib, err := engine.Fetch(ctx, cfg.Store.Cache, u.view.progress("engine     fetching the embedded ClickHouse"))
	if err != nil {
		u.view.line("engine     %v", err)
		return nil, err
	}
	cfg.Store.Library = lib
	return cfg, nil
}

// upConfig is the config that up writes; people may change it.
func upConfig(dir string) string {
	return fmt.Sprintf(`# Written by agentrail up; change it as you like.
version: 1
data: %[1]s
auth: {tokens: tokens.yaml}
detectors:
  - {kind: subscription, zone: %[3]s}
  - {kind: burst}
  - {kind: denial}
sources:
  - {kind: workflowrun, allow_backfill: true}
  - {kind: audit, allow_backfill: true}
sinks:
  - {kind: file, name: archive, path: %[2]s, filter: 'class == "alert" || access != "read"', from: start}
`, filepath.Join(dir, "data"), filepath.Join(dir, "export", "events.ndjson"), sample.Zone)
}

// upToken returns the token in the folder, making it at the first start.
func upToken(dir string, cfg *config) (string, error) {
	file := filepath.Join(dir, "token")
	if b, err := os.ReadFile(file); err == nil {
		if _, err := os.Stat(cfg.Auth.Tokens); err == nil {
			return string(b), nil
		}
	}
	token, err := auth.Generate(cfg.Auth.Tokens, auth.Principal{
		Name: upPrincipal, Tenant: cfg.Auth.Tenant,
		Roles: []auth.Role{auth.RoleIngest, auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin, auth.RoleAuditor},
	}, 0)
	if err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	return token, os.WriteFile(file, []byte(token), 0o600)
}

// freeAddress returns addr, or one with a free port if it is taken.
func freeAddress(addr string, v *upView) string {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		l.Close()
		return addr
	}
	host, _, serr := net.SplitHostPort(addr)
	if serr != nil {
		return addr
	}
	v.line("listening  %s is taken; using a free port instead", addr)
	return net.JoinHostPort(host, "0")
}

func (u *up) openLog() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(u.dir, "serve.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

func (u *up) save() error {
	b, err := json.MarshalIndent(u.past, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(u.dir, "up.json")
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		return fmt.Errorf("keep state: %w", err)
	}
	return os.Rename(file+".new", file)
}
