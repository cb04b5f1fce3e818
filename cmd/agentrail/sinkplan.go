package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
	"github.com/agentrail/agentrail/sinks/format"
)

// planFlags are what a plan is made with.
type planFlags struct {
	then, now, data, since, format string
	from                           uint64
	price                          float64
}

func newSinkPlan(c *console) *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "plan [NAME] --config NEW",
		Short: "Show what a change of sinks would do, on past events",
		Long: "Read past events from the journal's folder, beside a running server or without one, or with --server from a server (those of the token's tenant;\n" +
			"its role must be one that may read content), and compare what each sink sends by the config --now with what it would send by --config:\n" +
			"events and bytes a day, the difference by kind and action, fields that go, come or are written otherwise, and examples, before and after. Nothing is sent and nothing is changed.\n" +
			"Bytes are those of the formatted events, before the protocol's envelope and before compression; receivers that charge by volume count about as much.",
		Example: "  agentrail sink plan soc --config new.yaml --now /etc/agentrail/agentrail.yaml --since 24h --price 2.50\n" +
			"  agentrail sink plan soc --config new.yaml --now agentrail.yaml --server https://agentrail.example.com --since 2h",
		Args: cobra.MaximumNArgs(1),
	}
	cl := addClient(c, cmd)
	cmd.Flags().Lookup("server").Usage = "read the events from this server, not from a folder"
	cmd.Flags().StringVar(&f.then, "config", "", "config file with the change (mandatory)")
	cmd.Flags().StringVar(&f.now, "now", "agentrail.yaml", "config file that is in effect")
	cmd.Flags().StringVar(&f.data, "data", "", "data folder of the server, or the folder of a journal; default: what --now says")
	cmd.Flags().StringVar(&f.since, "since", "24h", "from that time of receipt on: RFC 3339, or how long ago (15m, 2h, 7d)")
	cmd.Flags().Uint64Var(&f.from, "from", 0, "offset to begin at, where that is known: spares reading what lies before")
	cmd.Flags().Float64Var(&f.price, "price", 0, "what the receiver costs for a GB (10^9 bytes), for an estimate a month")
	cmd.Flags().StringVarP(&f.format, "output", "o", "table", "format: table or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		plans, err := f.plan(cmd.Context(), c, cl, args)
		if err != nil {
			return err
		}
		if f.format == "json" {
			return printJSON(c.out, plans)
		}
		p := &page{w: c.out}
		for _, plan := range plans {
			p.plan(plan, f.price)
		}
		return p.err
	}
	return cmd
}

// plan reads the configs and the journal.
func (f *planFlags) plan(ctx context.Context, c *console, cl *client, args []string) ([]*sinks.Plan, error) {
	since, err := api.ParseTime(f.since, c.now())
	switch {
	case f.format != "table" && f.format != "json":
		return nil, usagef("use --output table or json", "unknown output format %q", f.format)
	case f.then == "":
		return nil, usagef("add --config NEW.yaml", "plan needs the config with the change")
	case err != nil:
		return nil, usagef("write 2026-11-23T08:00:00Z, or how long ago: 15m, 2h, 7d", "--since is %q, which is no time", f.since)
	case cl.server != "" && (f.data != "" || f.from > 0):
		return nil, usagef("leave out --data and --from, or --server", "events come from a folder or from a server")
	case f.price < 0 || math.IsNaN(f.price) || math.IsInf(f.price, 0):
		return nil, usagef("use --price 2.50", "--price is no price")
	}
	now, err := loadConfig(f.now)
	if err != nil {
		return nil, err
	}
	then, err := loadConfig(f.then)
	if err != nil {
		return nil, err
	}
	plans, err := sinkPlans(ctx, now, then, args)
	if err != nil {
		return nil, err
	}
	if cl.server != "" {
		s := &planStream{tap: tap{c: c, cl: cl, q: url.Values{"since": {since.Format(time.RFC3339Nano)}, "position": {"2s"}, "class": {"activity,alert,control,evidence,health"}}, sleep: pause}, plans: plans}
		return plans, s.run(ctx)
	}
	dir, err := journalFolder(firstOf(f.data, now.Data))
	if err != nil {
		return nil, err
	}
	store := filepath.Join(filepath.Dir(dir), "mappings")
	if _, err := os.Stat(store); err != nil {
		store = "" // a journal alone: the shipped mappings must do
	}
	mappings, err := decode.Open(store, now.Mappings...)
	if err != nil {
		return nil, fmt.Errorf("read mappings: %w", err)
	}
	if err := readPlans(ctx, c, dir, f.from, since, mappings.Decode, plans); err != nil {
		return nil, err
	}
	return plans, nil
}

// sinkPlans makes a plan for the named sink, or for each of the two configs.
func sinkPlans(ctx context.Context, now, then *config, args []string) ([]*sinks.Plan, error) {
	var names []string
	for _, cfg := range []*config{now, then} {
		for _, s := range cfg.Sinks {
			if !slices.Contains(names, s.Name) && (len(args) == 0 || args[0] == s.Name) {
				names = append(names, s.Name)
			}
		}
	}
	if len(names) == 0 {
		return nil, usagef("name one that stands under sinks: in one of the two configs", "there is no such sink")
	}
	var plans []*sinks.Plan
	for _, name := range names {
		before, err := dryForwarder(ctx, now, name)
		if err != nil {
			return nil, err
		}
		after, err := dryForwarder(ctx, then, name)
		if err != nil {
			return nil, err
		}
		if before.Whole() || after.Whole() {
			if len(args) > 0 {
				return nil, usagef("plan is for sinks of events", "sink %s sends requests of traces whole", name)
			}
			continue
		}
		plans = append(plans, sinks.NewPlan(name, before, after))
	}
	if len(plans) == 0 {
		return nil, usagef("plan is for sinks of events", "the configs have none")
	}
	return plans, nil
}

// dryForwarder makes the forwarder of a sink that sends nothing; nil if the
// config has no such sink.
func dryForwarder(ctx context.Context, cfg *config, name string) (*sinks.Forwarder, error) {
	for _, sc := range cfg.Sinks {
		if sc.Name != name {
			continue
		}
		log := slog.New(slog.DiscardHandler)
		s, common, err := sinks.Open(ctx, sc, sinks.Deps{Log: log, DryRun: true})
		if err != nil {
			return nil, err
		}
		fw, err := sinks.NewForwarder(sinks.Options{Name: name, Sink: s, Common: common, Log: log})
		if err != nil {
			return nil, errors.Join(sc.Errorf("%v", err), s.Close())
		}
		return fw, s.Close()
	}
	return nil, nil
}

// readPlans shows the plans the batches of the journal since that time.
func readPlans(ctx context.Context, c *console, dir string, from uint64, since time.Time, read func(*schemas.Batch) error, plans []*sinks.Plan) error {
	said, damaged := c.now(), 0
	err := journal.Walk(dir, from, math.MaxUint64, func(b *schemas.Batch) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.now().Sub(said) > 2*time.Second {
			said = c.now()
			fmt.Fprintf(c.err, "batch %d of %s, %d events looked at\n", b.Offset, time.Unix(0, b.Received).UTC().Format(time.RFC3339), plans[0].Looked)
		}
		if b.Gap != nil || b.Tick() || b.Received < since.UnixNano() {
			return nil
		}
		if err := read(b); err != nil {
			damaged++
			return nil
		}
		for _, p := range plans {
			p.Add(b)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	if damaged > 0 {
		fmt.Fprintf(c.err, "%d batches could not be decoded and are left out; agentrail log check says more\n", damaged)
	}
	for _, p := range plans {
		p.Finish()
	}
	return nil
}

// plan prints one plan.
func (p *page) plan(s *sinks.Plan, price float64) {
	p.line("sink", s.Sink)
	if s.Looked == 0 {
		p.line("", "no events in that time")
		return
	}
	days := s.Days()
	p.line("looked at", fmt.Sprintf("%d events received from %s to %s", s.Looked, s.First.Format(time.RFC3339), s.Last.Format(time.RFC3339)))
	for _, v := range []struct {
		name string
		v    sinks.Volume
	}{{"now", s.Now}, {"then", s.Then}} {
		text := fmt.Sprintf("%.0f events and %s a day", float64(v.v.Events)/days, size(int64(float64(v.v.Bytes)/days)))
		if price > 0 {
			text += fmt.Sprintf(", %.2f a month", float64(v.v.Bytes)/days*30/1e9*price)
		}
		if v.v.Faulty > 0 {
			text += fmt.Sprintf("; the filter has no value for %d events, which become dead letters", v.v.Faulty)
		}
		p.line(v.name, text)
	}
	const most = 15
	for i, a := range s.Actions {
		if a.Now == a.Then || i == most {
			break
		}
		p.line(firstOf(a.Kind, "-")+" "+a.Action, fmt.Sprintf("%d -> %d events, %s -> %s", a.Now.Events, a.Then.Events, size(a.Now.Bytes), size(a.Then.Bytes)))
	}
	p.list("fields gone", s.Gone)
	p.list("fields new", s.New)
	p.list("fields altered", s.Altered)
	for _, e := range []struct {
		name string
		list []sinks.PlanExample
	}{{"newly dropped", s.Dropped}, {"newly sent", s.Added}} {
		for _, x := range e.list {
			p.line(e.name, fmt.Sprintf("%s %s %s %s %s %s %s", x.Time.Format(time.RFC3339), x.EventID, x.Kind, x.Action, x.Agent, x.Tool, x.Outcome))
		}
	}
	const wide = 1000 // of a sample; JSON has it whole
	for _, x := range s.Samples {
		p.line("sample now", format.Plain(x.Now, wide))
		p.line("       then", format.Plain(x.Then, wide))
	}
}
