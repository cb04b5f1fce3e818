package alerting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/api"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/alertmanager/silence"

	"github.com/agentrail/agentrail/internal/durable"
)

// RouterOptions of a router.
type RouterOptions struct {
	File string // alertmanager.yml. Mandatory.
	Dir  string // of silences and the notification log; it is made. Mandatory.
	Link string // address of this server's pages
	Now  func() time.Time
	Log  *slog.Logger // nil: silent
	Reg  prometheus.Registerer

	Health HealthFunc // nil: nobody is told
	Noted  func()     // called when somebody was told of something; nil: not
}

// Router is Alertmanager within this process: the same provider, dispatcher,
// pipeline, silences, inhibition and notification log, fed by Put instead of by
// HTTP. It is a Target. Alertmanager's own app package does this wiring too, but
// serves a web page that its module does not contain and owns listener, flags
// and cluster.
type Router struct {
	o      RouterOptions
	log    *slog.Logger
	ledger *ledger

	alerts   *mem.Alerts
	silences *silence.Silences
	silencer *silence.Silencer
	nflog    *nflog.Log
	api      *api.API
	handler  http.Handler
	parts    parts

	wired  atomic.Pointer[wiring]
	reload chan change

	stale   atomic.Bool // silences or notification log are newer than their files
	persist sync.Mutex  // one writer of the files at a time

	mu    sync.Mutex
	known map[model.Fingerprint]*knowledge
}

// knowledge is what is known of a posting beside what Alertmanager knows.
type knowledge struct {
	muted bool
	ends  time.Time        // as put last
	told  map[string]phase // by integration
}

type phase int

const (
	toldBegin phase = iota + 1
	toldEnd
)

// How long silences that are over and the notification log are kept, as
// Alertmanager does, and how often things are cleared up.
const (
	retention   = 120 * time.Hour
	gcInterval  = 15 * time.Minute
	maintenance = 30 * time.Second
	saveEvery   = time.Second
	maxSilences = 10_000
)

// OpenRouter reads the config and the state of the run before. Run works it.
func OpenRouter(o RouterOptions) (*Router, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Reg == nil {
		o.Reg = prometheus.NewRegistry()
	}
	r := &Router{o: o, log: o.Log, ledger: newLedger(o.Now), reload: make(chan change), known: map[model.Fingerprint]*knowledge{}}
	first, err := r.read()
	if err != nil {
		return nil, err
	}
	if err := durable.Mkdir(o.Dir); err != nil {
		return nil, fmt.Errorf("make folder of alerting: %w", err)
	}
	recorder := eventrecorder.NopRecorder()
	if err := r.openState(recorder); err != nil {
		return nil, err
	}
	r.silencer = silence.NewSilencer(r.silences, o.Log, recorder)
	r.alerts, err = mem.NewAlerts(context.Background(), 30*time.Minute, 0, r.silencer, o.Log, recorder, o.Reg, featurecontrol.NoopFlags{})
	if err != nil {
		return nil, fmt.Errorf("open alerts: %w", err)
	}
	if err := r.openParts(recorder); err != nil {
		r.alerts.Close()
		return nil, err
	}
	r.wire(first)
	return r, nil
}

// read reads the config.
func (r *Router) read() (*routing, error) {
	next, err := load(r.o.File, r.log)
	if err != nil {
		return nil, err
	}
	if next.templates.ExternalURL, err = url.Parse(r.o.Link); err != nil {
		return nil, fmt.Errorf("alerting.link: %w", err)
	}
	return next, nil
}

// openState reads silences and notification log. A file that cannot be read is
// set aside: what is lost by that is told again, never kept quiet.
func (r *Router) openState(recorder eventrecorder.Recorder) error {
	nf, err := aside(r, "nflog", func(reg prometheus.Registerer, file string) (*nflog.Log, error) {
		return nflog.New(nflog.Options{SnapshotFile: file, Retention: retention, Logger: r.log, Metrics: reg})
	})
	if err != nil {
		return err
	}
	sil, err := aside(r, "silences", func(reg prometheus.Registerer, file string) (*silence.Silences, error) {
		return silence.New(silence.Options{
			SnapshotFile: file, Retention: retention, Logger: r.log, Metrics: reg, EventRecorder: recorder,
			Limits: silence.Limits{MaxSilences: func() int { return maxSilences }, MaxSilenceSizeBytes: func() int { return 64 << 10 }},
		})
	})
	if err != nil {
		return err
	}
	nf.SetBroadcast(func([]byte) { r.stale.Store(true) })
	sil.SetBroadcast(func([]byte) { r.stale.Store(true) })
	r.nflog, r.silences = nf, sil
	return nil
}

// aside opens a part from its file, or without it if it cannot be read.
func aside[T any](r *Router, name string, open func(reg prometheus.Registerer, file string) (T, error)) (T, error) {
	path := filepath.Join(r.o.Dir, name)
	if _, err := open(prometheus.NewRegistry(), path); err != nil {
		bad := path + ".unreadable"
		r.log.Error("state of alerting cannot be read; it is set aside and notifications may be repeated", "file", path, "kept", bad, "err", err)
		if err := os.Rename(path, bad); err != nil {
			var none T
			return none, fmt.Errorf("set aside %s: %w", path, err)
		}
	}
	return open(r.o.Reg, path)
}

// Run notifies until ctx ends. What was told and which silences there are is on
// disk within a second, and when Run returns.
func (r *Router) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	stop := r.wired.Load().start(r.o.Now())
	if r.o.Health != nil {
		wg.Go(func() { r.ledger.watch(ctx, 10*time.Second, r.o.Health) })
	}
	save, gc := time.NewTicker(saveEvery), time.NewTicker(gcInterval)
	defer save.Stop()
	defer gc.Stop()
	for ctx.Err() == nil {
		select {
		case <-save.C:
			if r.stale.Load() {
				if err := r.Save(); err != nil {
					r.log.Error("state of alerting is not saved; after a crash notifications may be repeated", "err", err)
				}
			}
		case <-gc.C:
			_, err := r.silences.GC()
			_, nerr := r.nflog.GC()
			if err = errors.Join(err, nerr); err != nil {
				r.log.Warn("state of alerting is not cleared up", "err", err)
			}
			r.stale.Store(true)
		case c := <-r.reload:
			stop()
			stop = r.wire(c.to).start(r.o.Now())
			close(c.done)
		case <-ctx.Done():
		}
	}
	stop()
	wg.Wait()
	r.alerts.Close()
	return r.Save()
}

// Save writes silences and notification log. When it returns they survive.
func (r *Router) Save() error {
	r.persist.Lock()
	defer r.persist.Unlock()
	r.stale.Store(false)
	err := errors.Join(
		durable.WriteFile(filepath.Join(r.o.Dir, "nflog"), snapshot(r.nflog.Snapshot)),
		durable.WriteFile(filepath.Join(r.o.Dir, "silences"), snapshot(r.silences.Snapshot)),
	)
	if err != nil {
		r.stale.Store(true)
		return fmt.Errorf("save alerting: %w", err)
	}
	return nil
}

// Receivers returns how the receivers do.
func (r *Router) Receivers() []Receiver { return r.ledger.list() }

// Put hands postings to the dispatcher.
func (r *Router) Put(ctx context.Context, posts []Posting) error {
	now := r.o.Now()
	var out []*alert.Alert
	for i := range posts {
		p := &posts[i]
		fp := p.Labels.Fingerprint()
		r.mu.Lock()
		k := r.known[fp]
		over := !p.Ends.After(now)
		if over && k != nil && k.ends.Equal(p.Ends) {
			r.mu.Unlock()
			continue // handed over already
		}
		switch {
		case p.past:
			delete(r.known, fp)
		case k == nil:
			r.known[fp] = &knowledge{p.muted, p.Ends, map[string]phase{}}
		default:
			if !over && !k.ends.After(now) { // it begins once more
				clear(k.told)
			}
			k.muted, k.ends = p.muted, p.Ends
		}
		r.mu.Unlock()
		a := &alert.Alert{Alert: model.Alert{
			Labels: p.Labels, Annotations: p.Annotations, StartsAt: p.Starts, EndsAt: p.Ends, GeneratorURL: p.Link,
		}, UpdatedAt: now}
		if err := a.Validate(); err != nil { // cannot be: labels are ours and their values valid UTF-8
			r.log.Error("alert is not one for Alertmanager; nobody is told of it", "alert", p.Annotations["alert"], "err", err)
			continue
		}
		out = append(out, a)
	}
	return r.alerts.Put(ctx, out...)
}

// Forget lets go of what is known of the posting.
func (r *Router) Forget(p *Posting) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, p.Labels.Fingerprint())
}

// Told reports who was told, by the notification log, as far as somebody is to
// be told at all: an alert that is silenced or inhibited, or whose routes lead
// to receivers without integrations, is not waited for.
func (r *Router) Told(ctx context.Context, p *Posting, end bool) Told {
	want := toldBegin
	if end {
		want = toldEnd
	}
	r.mu.Lock()
	var told map[string]phase
	if k := r.known[p.Labels.Fingerprint()]; k != nil {
		told = maps.Clone(k.told)
	}
	r.mu.Unlock()
	some, all := false, true
	w := r.wired.Load()
	for _, route := range w.routes.Match(p.Labels) {
		for _, i := range w.receivers[route.RouteOpts.Receiver] {
			if told[integrationName(route.RouteOpts.Receiver, i.Name(), i.Index())] >= want {
				some = true
			} else {
				all = false
			}
		}
	}
	switch {
	case all, r.silencer.Mutes(ctx, p.Labels), w.inhibitor.Mutes(ctx, p.Labels):
		return ToldAll
	case some:
		return ToldSome
	}
	return ToldNobody
}
