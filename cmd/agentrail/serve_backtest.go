package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	web "github.com/agentrail/agentrail/dashboards/console"
	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// backtests runs rules over the server's own journal for the pages, one job at
// a time, with one processor at most and half of its time: what comes in goes
// first. Jobs and results are in memory only.
type backtests struct {
	detectors []plug.Config
	ruling    detectors.Ruling
	rules     func() []detectors.Rule
	mappings  *decode.Set
	j         *journal.Disk
	dir       string // of the journal
	offsetAt  func(context.Context, time.Time) (uint64, error)
	log       *slog.Logger

	wg   sync.WaitGroup
	mu   sync.Mutex
	over bool
	jobs []*backtestJob // the newest last
	n    int            // that were started
}

type backtestJob struct {
	web.BacktestJob
	tenant string
	cancel context.CancelCauseFunc
	r      *replay
	head   uint64
}

// Bounds of the jobs.
const (
	backtestLearn   = 24 * time.Hour // what is read before the time asked for
	backtestMost    = 30 * time.Minute
	backtestKept    = 40
	backtestAlerts  = 200_000 // transitions
	backtestTop     = 20      // rows of a table
	backtestOpened  = 100_000 // alerts in the picture
	backtestBusy    = 20 * time.Millisecond
	backtestSkewed  = 5 * time.Minute // how far a source's clock may be ahead
	backtestDrafted = "a rule of your own"
)

var errStopped = errors.New("stopped")

func newBacktests(c *config, engine *detectors.Engine, mappings *decode.Set, j *journal.Disk, log *slog.Logger) *backtests {
	return &backtests{
		detectors: c.Detectors, ruling: c.ruling(), rules: engine.Rules, mappings: mappings, j: j, dir: filepath.Join(c.Data, "journal"), offsetAt: offsetAt(j), log: log,
	}
}

// pages shows the jobs to the console.
func (b *backtests) pages() web.Backtests {
	return web.Backtests{Start: b.start, Stop: b.stop, List: b.list}
}

// start opens the detectors and begins to read.
func (b *backtests) start(tenant, by string, ask web.BacktestRequest) (string, error) {
	if ask.Draft != "" {
		ask.Rule = ""
	}
	s, title, err := b.side(ask)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over || slices.ContainsFunc(b.jobs, func(j *backtestJob) bool { return j.Running() }) {
		cancel(errStopped)
		return "", web.ErrBusy
	}
	b.n++
	job := &backtestJob{
		BacktestJob: web.BacktestJob{ID: fmt.Sprintf("b%d", b.n), By: by, Ask: ask, Title: title, State: "running", Started: time.Now()},
		tenant:      tenant, cancel: cancel, head: b.j.Head(),
		r: &replay{dir: b.dir, mappings: b.mappings, from: ask.From.Add(-backtestLearn), to: ask.To, tenant: tenant, workers: 1},
	}
	if b.jobs = append(b.jobs, job); len(b.jobs) > backtestKept {
		b.jobs = b.jobs[1:]
	}
	b.log.Info("backtest began", "job", job.ID, "by", by, "tenant", tenant, "rule", title)
	b.wg.Go(func() {
		defer cancel(nil)
		b.run(ctx, job, s)
	})
	return job.ID, nil
}

// side opens what is to be run and says what it is.
func (b *backtests) side(ask web.BacktestRequest) (*side, string, error) {
	configs, title := b.detectors, "all rules in force"
	switch {
	case ask.Draft != "":
		return b.draft(ask.Draft)
	case ask.Rule != "":
		at := slices.IndexFunc(b.rules(), func(r detectors.Rule) bool { return r.Name == ask.Rule })
		if at < 0 {
			return nil, "", fmt.Errorf("%w: no rule %q is in force", api.ErrQuery, ask.Rule)
		}
		name := b.rules()[at].Detector
		configs = slices.DeleteFunc(slices.Clone(configs), func(c plug.Config) bool { return c.Name != name })
		title = ask.Rule
	}
	s, err := newSide(configs, b.ruling, b.mappings)
	if err != nil {
		return nil, "", fmt.Errorf("open detectors for a backtest: %w", err)
	}
	return s, title, nil
}

// draft opens a rule that stands in no file yet.
func (b *backtests) draft(text string) (*side, string, error) {
	dir, err := os.MkdirTemp("", "agentrail-draft-")
	if err != nil {
		return nil, "", fmt.Errorf("write the rule: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "draft.yml"), []byte(text), 0o600); err != nil {
		return nil, "", fmt.Errorf("write the rule: %w", err)
	}
	one, err := plug.NewConfig("sigma", rulesName, fmt.Sprintf("{rules: %q}", dir))
	if err != nil {
		return nil, "", fmt.Errorf("write the rule: %w", err)
	}
	s, err := newSide([]plug.Config{one}, detectors.Ruling{}, b.mappings)
	if err != nil {
		return nil, "", fmt.Errorf("%w: the rule cannot be used: %s", api.ErrQuery, strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), ""))
	}
	for _, r := range s.engine.Rules() {
		return s, cmp.Or(r.Title, r.Name, backtestDrafted) + " (draft)", nil
	}
	return nil, "", fmt.Errorf("%w: there is no rule in it", api.ErrQuery)
}

// run reads the journal to where it ended when the job began.
func (b *backtests) run(ctx context.Context, job *backtestJob, s *side) {
	ctx, done := context.WithTimeout(ctx, backtestMost)
	defer done()
	began := time.Now()
	err := b.replay(ctx, job, s)
	var result *web.BacktestResult
	if err == nil || errors.Is(err, errEnough) {
		err = nil
		s.open = s.engine.Open()
		result = resultOf(s.fold(job.Ask.From), job.Ask.Rule)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	job.Took, job.Events, job.Result = time.Since(began), job.r.events.Load(), result
	job.State = "done"
	switch {
	case errors.Is(context.Cause(ctx), errStopped):
		job.State = "stopped"
	case errors.Is(err, context.DeadlineExceeded):
		job.State, job.Problem = "failed", fmt.Sprintf("It took longer than %s. Ask for a shorter time, or use agentrail backtest on the command line.", backtestMost)
	case err != nil:
		job.State, job.Problem = "failed", err.Error()
	case job.r.faults.Missing > 0 || job.r.faults.Unread > 0:
		job.Problem = fmt.Sprintf("Not everything could be read: %d batches are damaged or gone, %d cannot be decoded %s", job.r.faults.Missing, job.r.faults.Unread, job.r.faults.FirstFail)
	}
	b.log.Info("backtest ended", "job", job.ID, "state", job.State, "took", job.Took, "events", job.Events)
}

func (b *backtests) replay(ctx context.Context, job *backtestJob, s *side) error {
	first, err := b.offsetAt(ctx, job.r.from.Add(-backtestSkewed))
	if err != nil {
		return fmt.Errorf("find the first batch: %w", err)
	}
	b.mu.Lock()
	job.r.first = max(first, b.j.First())
	b.mu.Unlock()
	resumed := time.Now()
	return job.r.run(ctx, func(batch *schemas.Batch) error {
		if batch.Offset >= job.head {
			return errEnough
		}
		if err := s.engine.Consume(ctx, []*schemas.Batch{batch}); err != nil {
			return err
		}
		if len(s.alerts) > backtestAlerts {
			return fmt.Errorf("it raises more than %d alerts; ask for a shorter time or a narrower rule", backtestAlerts)
		}
		if busy := time.Since(resumed); busy > backtestBusy {
			pause := time.NewTimer(busy)
			defer pause.Stop()
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-pause.C:
			}
			resumed = time.Now()
		}
		return nil
	})
}

// resultOf adds up what one rule, or all, would have raised.
func resultOf(all []*fired, rule string) *web.BacktestResult {
	if rule != "" {
		all = slices.DeleteFunc(all, func(f *fired) bool { return f.Rule != rule && !strings.HasPrefix(f.Rule, rule+".") })
	}
	out := &web.BacktestResult{Alerts: len(all)}
	by := map[string]*web.BacktestEntity{}
	for _, f := range all {
		if f.Suppressed {
			out.Suppressed++
		}
		if len(out.Opened) < backtestOpened {
			out.Opened = append(out.Opened, f.First)
		}
		e := by[f.Entity]
		if e == nil {
			e = &web.BacktestEntity{Entity: f.Entity, Name: f.Name}
			by[f.Entity] = e
		}
		e.Alerts++
		e.Events += f.Count
		if len(out.Examples) < backtestTop {
			out.Examples = append(out.Examples, web.BacktestExample{Rule: f.Rule, Entity: cmp.Or(f.Name, f.Entity), Reason: f.Reason, At: f.First})
		}
	}
	for _, e := range by {
		out.Entities = append(out.Entities, *e)
	}
	slices.SortFunc(out.Entities, func(a, b web.BacktestEntity) int {
		return cmp.Or(cmp.Compare(b.Alerts, a.Alerts), cmp.Compare(b.Events, a.Events), cmp.Compare(a.Entity, b.Entity))
	})
	out.Entities = out.Entities[:min(len(out.Entities), backtestTop)]
	for _, r := range countRules(all) {
		out.Rules = append(out.Rules, web.BacktestRule{Rule: r.Rule, Severity: r.Severity, Alerts: r.Alerts, Entities: r.Entities})
	}
	out.Rules = out.Rules[:min(len(out.Rules), backtestTop)]
	return out
}

// stop ends a job of the tenant.
func (b *backtests) stop(tenant, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range b.jobs {
		if j.ID == id && j.tenant == tenant {
			j.cancel(errStopped)
			return nil
		}
	}
	return api.ErrNotFound
}

// list returns the jobs of a tenant, newest first.
func (b *backtests) list(tenant string) (out []web.BacktestJob) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range slices.Backward(b.jobs) {
		if j.tenant != tenant {
			continue
		}
		v := j.BacktestJob
		if v.Running() {
			v.Events = j.r.events.Load()
			if at := j.r.offset.Load(); at > j.r.first {
				v.Done = float64(at-j.r.first) / float64(max(j.head-j.r.first, 1))
			}
		}
		out = append(out, v)
	}
	return out
}

// close stops the job that runs and waits for it.
func (b *backtests) close() error {
	b.mu.Lock()
	b.over = true
	for _, j := range b.jobs {
		j.cancel(errStopped)
	}
	b.mu.Unlock()
	b.wg.Wait()
	return nil
}
