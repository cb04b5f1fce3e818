package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/schemas"
)

// newDemo plants an incident into a running server and waits for its alert.
func newDemo(c *console) *cobra.Command {
	d := &demo{c: c, patience: 10 * time.Second}
	cmd := &cobra.Command{
		Use:   "demo [INCIDENT]",
		Short: "Plant an incident into the server of `agentrail up` and wait for its alert",
		Long: "Plant a made-up incident into the server of `agentrail up`, through its ordinary intake, and wait for the alert.\n" +
			"Without argument it lists the incidents. Each run is another incident, with agents and people of its own.\n\n" +
			"What it plants stays: the records are written into the journal, like those of the sample day, and reach every\n" +
			"sink. So it takes the server that runs in the folder --data, which holds a sample anyway, and any other only\n" +
			"with --server, --token-file and --force.",
		Example: "  agentrail demo\n  agentrail demo burst\n  agentrail demo denials --data /tmp/try",
		Args:    cobra.MaximumNArgs(1),
	}
	d.cl = addClient(c, cmd)
	cmd.Flags().StringVar(&d.dir, "data", "data", "folder of the `agentrail up`")
	cmd.Flags().BoolVar(&d.force, "force", false, "plant into the server of --server, which is no sample, with the token of --token-file")
	cmd.Flags().Uint64Var(&d.seed, "seed", 0, "of the sample day whose names are taken (default: that of the folder)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return d.list()
		}
		if args[0] == "runaway" {
			return d.runaway(cmd.Context())
		}
		return d.run(cmd.Context(), args[0])
	}
	return cmd
}

// demo is one run of the verb.
type demo struct {
	c     *console
	cl    *client
	dir   string
	force bool
	seed  uint64

	patience   time.Duration // how long an alert may take
	url, token string
	cmds       upCommands
}

func (d *demo) list() error {
	width := terminalWidth(d.c.out)
	for _, s := range sample.Demos() {
		fmt.Fprintln(d.c.out, alignLine([]string{s.Name, s.What}, []int{12, 0}, width))
	}
	fmt.Fprintln(d.c.out, alignLine([]string{"runaway", runawayWhat}, []int{12, 0}, width))
	return nil
}

// run listens first and sends then, so that no alert is missed.
func (d *demo) run(ctx context.Context, name string) error {
	if err := d.find(ctx); err != nil {
		return err
	}
	began := d.c.now()
	dls, label, err := sample.Plant(sample.Options{Seed: d.seed}, name, began, uint64(began.UnixNano()))
	if err != nil {
		return usagef("agentrail demo lists them", "%w", err)
	}
	view := newUpView(d.c)
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the server took longer than a minute"))
	defer cancel()
	alerts, listening, ended := make(chan schemas.Alert, 100), make(chan struct{}), make(chan struct{})
	w := &stream{url: d.url, token: d.token, opened: func() { close(listening) }, alert: func(a schemas.Alert) {
		if tellable(&a) && label.Concerns(&a) {
			select {
			case alerts <- a:
			default: // there are plenty
			}
		}
	}}
	var lost error // why the stream ended
	go func() {
		defer close(ended)
		_, lost = w.read(ctx, "class=alert&from=now", "")
	}()
	defer func() { cancel(); <-ended }()
	select {
	case <-listening:
	case <-ended:
		return fmt.Errorf("listen to alerts: %w", lost)
	}
	sender := &sample.Sender{URL: d.url, Token: d.token}
	var sent time.Time
	for i := range dls {
		sent = d.c.now()
		dls[i].History = dls[i].History && !d.force // others take no history
		if _, err := sender.Send(ctx, &dls[i]); err != nil {
			return fmt.Errorf("plant %s: %w", name, cmp.Or(context.Cause(ctx), err))
		}
	}
	view.line("planted    %s: %s (records: %d)", name, label.What, len(label.Records))
	patience := time.NewTimer(d.patience)
	defer patience.Stop()
	select {
	case a := <-alerts:
		view.line("told       %d ms after its last records were sent", d.c.now().Sub(sent).Milliseconds())
		searchable := d.force || d.searchable(ctx, w)
		view.show = func(id string) string { return d.cmds.alert(id, searchable) }
		view.alert(&a)
		return nil
	case <-patience.C:
		return hintf("is the detector in the server's config, and does it keep up? "+d.cmds.client("alerts")+" lists what there is",
			"no alert about %s in %s", name, d.patience)
	case <-ended:
		return fmt.Errorf("listen to alerts: %w", cmp.Or(context.Cause(ctx), lost))
	}
}

// searchable reports whether the server of up can look things up already.
func (d *demo) searchable(ctx context.Context, w *stream) bool {
	st, err := w.ask(ctx)
	return err == nil && !slices.ContainsFunc(st.NotReady, func(why string) bool { return strings.HasPrefix(why, "store: ") })
}

// find settles which server and which names.
func (d *demo) find(ctx context.Context) error {
	here, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the current folder: %w", err)
	}
	if d.dir, err = filepath.Abs(d.dir); err != nil {
		return err
	}
	d.cmds = newUpCommands(d.c, d.dir, here)
	if d.cl.server != "" || d.cl.tokenFile != "" {
		return d.findOther()
	}
	if d.force {
		return usagef("name it with --server and its token with --token-file", "--force is for a server that is named")
	}
	r, ok := runningIn(ctx, d.dir)
	if !ok {
		return hintf("start it with: "+d.cmds.up()+"; or name its folder with --data", "no agentrail up runs in %s", d.cmds.path())
	}
	b, err := os.ReadFile(filepath.Join(d.dir, "token"))
	if err != nil {
		return fmt.Errorf("read token: %w", err)
	}
	past, err := readState(d.dir)
	if err != nil {
		return err
	}
	if d.seed == 0 {
		d.seed = past.Seed
	}
	d.url, d.token = r.URL, strings.TrimSpace(string(b))
	if d.c.env("AGENTRAIL_SERVER") != "" {
		d.cmds.url = d.url
	}
	return nil
}

// findOther takes the server that was named, which need not hold a sample.
func (d *demo) findOther() error {
	if !d.force {
		return usagef("leave out --server and --token-file to plant into the `agentrail up` in --data, or say --force",
			"demo writes made-up records into the journal of that server, and nothing takes them out again")
	}
	base, err := d.cl.base()
	if err != nil {
		return err
	}
	if d.token, err = d.cl.token(); err != nil {
		return err
	}
	d.url = strings.TrimRight(base.String(), "/")
	d.cmds.url = d.url
	d.cmds.tokenFile = d.cl.tokenFile
	return nil
}
