package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
)

// pipelineStatus says where the pipeline stands, for the API.
type pipelineStatus struct {
	j          *journal.Disk
	c          *config
	engine     *detectors.Engine
	oldest     oldest
	follow     *journal.Metrics
	reg        prometheus.Gatherer
	started    time.Time
	forwarders map[string]*sinks.Forwarder
	store      *storage
	people     *people
}

// status reads the counters that are exported as metrics, too, so that the two
// cannot tell different stories.
func (p *pipelineStatus) status(ctx context.Context) (api.Status, error) {
	counts, err := p.gather()
	if err != nil {
		return api.Status{}, err
	}
	accepted := counts.sum("agentrail_collector_records_total", "outcome", "accepted")
	duplicate := counts.sum("agentrail_collector_records_total", "outcome", "duplicate")
	rejected := counts.sum("agentrail_collector_records_total", "outcome", "rejected")
	st := api.Status{Started: p.started, Stages: []api.Stage{
		{Name: "received", Events: uint64(accepted + duplicate + rejected), Rejected: uint64(rejected)},
		{Name: "journalled", Events: uint64(accepted)},
	}}
	if p.store != nil {
		st.Stages = append(st.Stages, api.Stage{Name: "stored", Events: uint64(counts.sum("agentrail_store_events_total", "", ""))})
	}
	if len(p.forwarders) > 0 {
		s := api.Stage{Name: "forwarded"}
		for _, f := range p.forwarders {
			l := f.Ledger()
			s.Events += uint64(l.Accepted)
			s.Rejected += uint64(l.Dead)
		}
		st.Stages = append(st.Stages, s)
	}
	for _, c := range p.follow.Consumers() {
		stage := api.ConsumerStage{
			Name: c.Name, Kind: c.Name, Events: uint64(counts.sum("agentrail_consumer_events_total", "consumer", c.Name)), Offset: c.Next, Lag: c.Lag, OldestUnread: c.OldestUnread.Seconds(), LastError: c.LastError,
			Retries: uint64(counts.sum("agentrail_consumer_retries_total", "consumer", c.Name)),
			Parked:  uint64(counts.sum("agentrail_consumer_parked_total", "consumer", c.Name)),
		}
		if f := p.forwarders[c.Name]; f != nil { // which tries again by itself
			stage.Kind = "sink"
			l := f.Ledger()
			stage.Retries += uint64(l.Retries)
			stage.LastError = cmp.Or(l.LastError, stage.LastError)
		}
		st.Consumers = append(st.Consumers, stage)
	}
	for _, l := range p.engine.Learning() {
		st.Learning = append(st.Learning, api.Learning(l))
	}
	p.parts(ctx, &st, counts)
	return st, nil
}

// ready names what is not ready. A receiver that is away does not count: its
// cursor waits and nothing else does.
func (p *pipelineStatus) ready(context.Context) []string {
	var out []string
	if err := p.j.Healthy(); err != nil {
		out = append(out, "journal: "+err.Error())
	}
	if p.store != nil {
		if why := p.store.notReady(); why != "" {
			out = append(out, "store: "+why)
		}
	}
	return out
}

// families are gathered metrics by name.
type families map[string]*dto.MetricFamily

func (p *pipelineStatus) gather() (families, error) {
	all, err := p.reg.Gather()
	if err != nil {
		return nil, err
	}
	out := families{}
	for _, f := range all {
		out[f.GetName()] = f
	}
	return out, nil
}

// sum adds up a counter over all label sets that have the label.
func (f families) sum(name, label, value string) (total float64) {
	for _, m := range f[name].GetMetric() {
		match := label == ""
		for _, l := range m.GetLabel() {
			match = match || l.GetName() == label && l.GetValue() == value
		}
		if match {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return total
}

// restorePatience is how long a request waits for the list of dead letters after
// a restart: the journal's next tick, and some.
const restorePatience = 2 * time.Second

// deadLetters shows the list to the API, once it is that of before a restart.
func deadLetters(d *sinks.DeadLetters) api.DeadLetters {
	whole := func(ctx context.Context) error {
		err := d.Whole(ctx, restorePatience)
		if errors.Is(err, sinks.ErrRestoring) {
			return fmt.Errorf("%w: %w", api.ErrStarting, err)
		}
		return err
	}
	return api.DeadLetters{
		List: func(ctx context.Context, tenant, consumer string, limit int) ([]schemas.DeadLetter, error) {
			if err := whole(ctx); err != nil {
				return nil, err
			}
			return d.List(tenant, consumer, limit), nil
		},
		Get: func(ctx context.Context, tenant, id string) (schemas.DeadLetter, error) {
			if err := whole(ctx); err != nil {
				return schemas.DeadLetter{}, err
			}
			l, err := d.Get(ctx, tenant, id)
			return l, notFound(err, sinks.ErrNoDeadLetter)
		},
	}
}

// cursors shows the journal's cursors to the API.
func cursors(j *journal.Disk) api.Cursors {
	return api.Cursors{
		List: func(context.Context) ([]api.Cursor, error) {
			var out []api.Cursor
			for _, c := range j.Cursors() {
				out = append(out, api.Cursor{Name: c.Name, Offset: c.Committed, Lag: c.Lag, Updated: c.LastUsed, Abandoned: !c.Open})
			}
			return out, nil
		},
		Remove: func(_ context.Context, name string) error { return j.RemoveCursor(name) },
	}
}
