package alerting

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/common/model"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/api"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/marker"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/timeinterval"
)

// parts outlast a reload: what has metrics, and what the API looks into.
type parts struct {
	recorder   eventrecorder.Recorder
	groups     marker.GroupMarker
	pipelines  *notify.PipelineBuilder
	dispatches *dispatch.DispatcherMetrics
}

// wiring is what one config makes of the alerts: routes, inhibition, receivers.
type wiring struct {
	*routing
	routes     *dispatch.Route
	inhibitor  *inhibit.Inhibitor
	dispatcher *dispatch.Dispatcher
}

// change is a config that is to take the place of the present one.
type change struct {
	to   *routing
	done chan struct{}
}

// openParts makes what is made once.
func (r *Router) openParts(recorder eventrecorder.Recorder) error {
	r.parts = parts{
		recorder: recorder, groups: marker.NewGroupMarker(),
		pipelines:  notify.NewPipelineBuilder(r.o.Reg, featurecontrol.NoopFlags{}, recorder),
		dispatches: dispatch.NewDispatcherMetrics(false, r.o.Reg, featurecontrol.NoopFlags{}),
	}
	var err error
	r.api, err = api.New(api.Options{
		Alerts: r.alerts, Silences: r.silences, GroupMutedFunc: r.parts.groups.Muted, Timeout: 30 * time.Second, Logger: r.log, Registry: r.o.Reg,
		GroupFunc: func(ctx context.Context, routes func(*dispatch.Route) bool, alerts func(*alert.Alert, time.Time) bool) (dispatch.AlertGroups, map[model.Fingerprint][]string, error) {
			return r.wired.Load().dispatcher.Groups(ctx, routes, alerts)
		},
		RequestDuration: promauto.With(r.o.Reg).NewHistogramVec(prometheus.HistogramOpts{
			Name: "alertmanager_http_request_duration_seconds", Help: "Histogram of latencies for HTTP requests.", Buckets: prometheus.DefBuckets,
		}, []string{"handler", "method", "code"}),
	})
	if err != nil {
		return fmt.Errorf("open Alertmanager's API: %w", err)
	}
	r.handler = r.api.Register(newNowhere(), Prefix)
	return nil
}

// wire makes what stands between provider and receivers, and has it answer from
// now on. It does not run yet.
func (r *Router) wire(to *routing) *wiring {
	intervals := map[string][]timeinterval.TimeInterval{}
	for _, ti := range to.conf.MuteTimeIntervals {
		intervals[ti.Name] = ti.TimeIntervals
	}
	for _, ti := range to.conf.TimeIntervals {
		intervals[ti.Name] = ti.TimeIntervals
	}
	receivers, names := map[string][]notify.Integration{}, map[string]bool{}
	for name, made := range to.receivers {
		receivers[name] = nil
		for _, i := range made {
			receivers[name] = append(receivers[name], observe(i, name, r.ledger))
			names[integrationName(name, i.Name(), i.Index())] = true
		}
	}
	r.ledger.keep(names)
	w := &wiring{routing: to, routes: dispatch.NewRoute(to.conf.Route, nil), inhibitor: inhibit.NewInhibitor(r.alerts, to.conf.InhibitRules, r.log, r.parts.recorder)}
	pipeline := r.parts.pipelines.New(
		receivers, func() time.Duration { return 0 }, w.inhibitor, r.silencer, timeinterval.NewIntervener(intervals), r.parts.groups, r.nflog, nil,
	)
	w.dispatcher = dispatch.NewDispatcher(
		r.alerts, w.routes, &stage{r, pipeline}, r.parts.groups, func(d time.Duration) time.Duration { return max(d, notify.MinTimeout) },
		maintenance, nil, r.log, r.parts.recorder, r.parts.dispatches, to.templates,
	)
	r.api.Update(to.conf, func(ctx context.Context, labels model.LabelSet) {
		w.inhibitor.Mutes(ctx, labels)
		r.silencer.Mutes(ctx, labels)
	})
	r.wired.Store(w)
	return w
}

// start runs it until stop is called, which waits for its end.
func (w *wiring) start(now time.Time) (stop func()) {
	var wg sync.WaitGroup
	wg.Go(w.inhibitor.Run)
	w.inhibitor.WaitForLoading()
	wg.Go(func() { w.dispatcher.Run(now) })
	w.dispatcher.WaitForLoading()
	return func() {
		w.dispatcher.Stop()
		w.inhibitor.Stop()
		wg.Wait()
	}
}

// Reload reads the config again. With a fault in it, which is returned, the old
// one stays. Alerts, silences and what was told stay in any case; receivers that
// are new are told of alerts that go on. It waits for Run, which carries it out.
func (r *Router) Reload(ctx context.Context) error {
	next, err := r.read()
	if err != nil {
		return err
	}
	c := change{next, make(chan struct{})}
	select {
	case r.reload <- c:
	case <-ctx.Done():
		return fmt.Errorf("reload alerting: %w", ctx.Err())
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("reload alerting: %w", ctx.Err())
	}
}
