package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// backtest runs rules over the journal as it lies on disk.
type backtest struct {
	c                           *console
	data, rules, against, mapTo string
	config, policies, format    string
	from, to                    string
	learn                       time.Duration
	detectors                   bool
	cfg                         *config // nil: none was named
	since, until                time.Time
}

var backtestFormats = []string{"table", "json", "markdown"}

func newBacktest(c *console) *cobra.Command {
	b := &backtest{c: c}
	cmd := &cobra.Command{
		Use:   "backtest",
		Short: "Say what rules would have raised and paused on what is stored, and how two versions differ",
		Long: "Run rules over the journal in the data folder, as the server would have. Nothing is changed, nobody is told and nothing\n" +
			"is paused; the server may run. --from and --to are times of events (RFC 3339, or how long ago: 36h, 7d); --learn is\n" +
			"what is read before --from so that detectors know what is usual. History counts like live events. Suppressions of\n" +
			"the journal hold, and are shown.\n\n" +
			"With --against alerts of the same rule on the same entity at the same time count as the same one. Policies answer as\n" +
			"if nobody had approved anything and every platform had obeyed at once.\n\n" +
			"Exit code 1 if --against is named and the versions differ, or something could not be read; else 0.",
		Example: "  agentrail backtest --data /var/lib/agentrail --rules rules/ --from 7d\n" +
			"  agentrail backtest --rules rules/ --against shipped --detectors --policies responses.yaml --output markdown",
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&b.data, "data", "data", "data folder of the server, or the folder of a journal")
	f.StringVar(&b.rules, "rules", "shipped", "folder of Sigma rules, or shipped")
	f.StringVar(&b.against, "against", "", "another folder of rules, or shipped: say what differs")
	f.StringVar(&b.mapTo, "map", "", "which records are of which logsource; default: the shipped map")
	f.StringVar(&b.config, "config", "", "config of the server, for mappings, modes, exceptions and, with --detectors, detectors")
	f.BoolVar(&b.detectors, "detectors", false, "run the other detectors, too: those of --config, else those that are on by default")
	f.StringVar(&b.policies, "policies", "", "file of response policies, or shipped: say what they would have done")
	f.StringVar(&b.from, "from", "", "time of the first event; default: the beginning")
	f.StringVar(&b.to, "to", "", "time after the last event; default: the end")
	f.DurationVar(&b.learn, "learn", 24*time.Hour, "how much before --from is read for learning")
	f.StringVarP(&b.format, "output", "o", "table", "format: table, json or markdown")
	closedSet(cmd, "output", backtestFormats...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return b.run(cmd.Context()) }
	return cmd
}

func (b *backtest) run(ctx context.Context) error {
	if err := b.check(); err != nil {
		return err
	}
	dir, err := journalFolder(b.data)
	if err != nil {
		return err
	}
	var policies *response.Config
	switch b.policies {
	case "":
	case "shipped":
		policies = response.Shipped()
	default:
		if policies, err = response.Load(b.policies); err != nil {
			return err
		}
	}
	var files []string
	if b.cfg != nil {
		files = b.cfg.Mappings
	}
	mappings, err := mappingsOf(dir, files)
	if err != nil {
		return err
	}
	r := &replay{dir: dir, mappings: mappings, to: b.until}
	if !b.since.IsZero() {
		r.from = b.since.Add(-b.learn)
	}
	var sides []*side
	for _, from := range []string{b.rules, b.against} {
		if from == "" {
			continue
		}
		configs, err := b.detectorsFor(from)
		if err != nil {
			return err
		}
		var ruling detectors.Ruling
		if b.cfg != nil {
			ruling = b.cfg.ruling()
		}
		s, err := newSide(configs, ruling, mappings)
		if err != nil {
			return fmt.Errorf("open rules %s: %w", from, err)
		}
		sides = append(sides, s)
	}
	subs, began := subscriptionBook{}, time.Now()
	if err := b.replay(ctx, r, sides, subs); err != nil {
		return fmt.Errorf("read journal %s: %w", dir, err)
	}
	report, err := b.report(ctx, r, sides, subs, policies, time.Since(began))
	if err != nil {
		return err
	}
	if err := report.print(b.c, b.format); err != nil {
		return err
	}
	if n := report.findings(); n > 0 {
		return &findings{n}
	}
	return nil
}

// check reads the flags.
func (b *backtest) check() error {
	if !slices.Contains(backtestFormats, b.format) {
		return usagef("use --output table, json or markdown", "unknown output format %q", b.format)
	}
	var err error
	if b.since, err = momentOf(b.from, b.c.now()); err != nil {
		return usagef("such as 2026-11-18T00:00:00Z or 7d", "--from: %w", err)
	}
	if b.until, err = momentOf(b.to, b.c.now()); err != nil {
		return usagef("such as 2026-11-25T00:00:00Z or 1h", "--to: %w", err)
	}
	if !b.since.IsZero() && !b.until.IsZero() && !b.since.Before(b.until) {
		return usagef("--from 7d --to 1d is six days", "--from is not before --to")
	}
	if b.learn < 0 {
		return usagef("such as --learn 24h", "--learn is %s", b.learn)
	}
	for _, dir := range []string{b.rules, b.against} {
		if dir == "" || dir == "shipped" {
			continue
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return usagef("name a folder of rules, or shipped", "%q is no folder", dir)
		}
	}
	if b.config != "" {
		if b.cfg, err = loadConfig(b.config); err != nil {
			return err
		}
	}
	return nil
}

// momentOf reads a time, or how long ago; empty is the zero time.
func momentOf(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	var ago plug.Duration
	if err := ago.UnmarshalText([]byte(text)); err != nil || ago <= 0 {
		return time.Time{}, fmt.Errorf("%q is no time", text)
	}
	return now.Add(-time.Duration(ago)), nil
}

// rulesName is the name of the detector that runs the rules in question.
const rulesName = "sigma"

// detectorsFor returns the detectors of one version: the rules, and with
// --detectors all others.
func (b *backtest) detectorsFor(rules string) ([]plug.Config, error) {
	fields := fmt.Sprintf("{rules: %q}", rules)
	if b.mapTo != "" {
		fields = fmt.Sprintf("{rules: %q, map: %q}", rules, b.mapTo)
	}
	one, err := plug.NewConfig("sigma", rulesName, fields)
	if err != nil {
		return nil, err
	}
	out := []plug.Config{one}
	if !b.detectors {
		return out, nil
	}
	others, err := plugList("subscription", "burst", "denial", "rateband", "shape")
	if b.cfg != nil {
		others = b.cfg.Detectors
	}
	for _, c := range others {
		if c.Kind != "sigma" {
			out = append(out, c)
		}
	}
	return out, err
}

// replay feeds all sides with the journal, and tells how far it is.
func (b *backtest) replay(ctx context.Context, r *replay, sides []*side, subs subscriptionBook) error {
	for _, s := range sides {
		go s.run(ctx)
	}
	stop := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		b.progress(r, sizeOf(r.dir), stop)
	}()
	err := r.run(ctx, func(batch *schemas.Batch) error {
		subs.note(batch)
		for _, s := range sides {
			s.in <- batch
		}
		return nil
	})
	for _, s := range sides {
		close(s.in)
		<-s.end
	}
	close(stop)
	<-told
	return err
}

// progress writes a line every few seconds.
func (b *backtest) progress(r *replay, total int64, stop <-chan struct{}) {
	const every = 5 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			n, read := r.events.Load(), r.bytes.Load()
			_, _ = fmt.Fprintf(b.c.err, "%d events, %d %% of the journal, %.0f events/s\n", n, min(100*read/max(total, 1), 99), float64(n)/time.Since(began).Seconds())
		}
	}
}
