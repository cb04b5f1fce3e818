package main

import (
	"context"
	_ "embed" // of the policies
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/deploy/sample/watch"
	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/schemas"
)

//go:embed policies.yaml
var policies string

// days plays labelled days, one after the other, and prints the table.
func days(ctx context.Context, dir string) error {
	t := &table{}
	for seed := range *seeds {
		d := sample.Generate(sample.Options{Seed: uint64(seed), End: time.Date(2026, 11, 25, 18, 0, 0, 0, time.UTC)})
		b, err := newDay(ctx, filepath.Join(dir, fmt.Sprint(seed)), d)
		if err != nil {
			return err
		}
		if err = errors.Join(b.play(ctx), b.end()); err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		all, err := b.judge(ctx, t)
		if err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		t.add(all)
		t.records += d.Records
		fmt.Fprintf(os.Stderr, "\r%d of %d days", seed+1, *seeds)
	}
	fmt.Fprintln(os.Stderr)
	fmt.Printf("\n%d labelled days, each delivery taken when its source hands it over, answered by %s\n\n", *seeds, "deploy/brake/policies.yaml")
	t.print(os.Stdout)
	return t.broken()
}

// day is a labelled day that is lived: the shipped mappings and detectors see
// each delivery at the moment at which its source hands it over, and the
// executor's responder, on a state of its own, hears of the alerts by the same
// clock. So none of them is stale or of history but those that would be, and the
// rule that nothing acts on these holds as ever. What the responder and the
// executor put on record goes back to the detectors.
type day struct {
	*sample.Day
	watch *watch.Watch
	store *state.Store
	r     *response.Responder
	end   func() error

	mu      sync.Mutex
	now     time.Time
	records []trail.Record // of responses, on their way back

	labels  map[string]int // by insertId
	subs    map[[2]string]string
	names   map[string]string // address by id of a person
	pauses  []*pause
	gone    map[string]bool  // insertIds of records that the brake stopped
	stopped map[int]int      // how many of them there are, by label
	by      map[int][]string // ids of the responses that stopped them, by label
	runs    map[int]int      // records of runs, by label
	told    int              // alerts that were handed over
}

func newDay(ctx context.Context, dir string, d *sample.Day) (*day, error) {
	b := &day{Day: d, labels: map[string]int{}, subs: map[[2]string]string{}, names: map[string]string{}, gone: map[string]bool{}, stopped: map[int]int{}, by: map[int][]string{}, runs: map[int]int{}}
	for i, l := range d.Labels {
		for _, r := range l.Records {
			b.labels[r.ID] = i
		}
	}
	var err error
	if b.watch, err = watch.New(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if b.store, err = state.Open(ctx, dir, state.Options{Now: b.clock}); err != nil {
		return nil, err
	}
	for _, a := range d.Agents() {
		if err := b.store.PutAgent(ctx, state.Agent{Name: a, Version: "1", Digest: "d", Spec: "s"}); err != nil {
			return nil, err
		}
		if err := b.store.LimitSubscribers(ctx, a, state.AudienceAll, nil); err != nil {
			return nil, err
		}
	}
	for _, s := range d.Subscriptions() {
		if err := b.subscribe(ctx, s.Agent, s.Subscriber); err != nil {
			return nil, err
		}
	}
	c, err := response.Parse("deploy/brake/policies.yaml", policies)
	if err != nil {
		return nil, err
	}
	b.r, err = response.New(ctx, response.Options{
		Policies: c, Targets: map[string]*response.Opened{"executor": response.Own(b.store, func(func(state.Run) bool, string) int { return 0 })},
		Store: b.store, Recorder: b, Resolve: response.Resolver(b.store), Tenant: "acme", Log: slog.New(slog.DiscardHandler), Now: b.clock,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- b.r.Run(ctx) }()
	b.end = func() error { cancel(); return <-done }
	return b, nil
}

func (b *day) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// subscribe makes the person's subscription to the agent known to the executor,
// as the platform's own calls do.
func (b *day) subscribe(ctx context.Context, agent, user string) error {
	k := [2]string{agent, user}
	if b.subs[k] != "" {
		return nil
	}
	s, err := b.store.CreateSubscription(ctx, state.Subscription{Agent: agent, Subscriber: user})
	b.subs[k] = s.ID
	return err
}

// Commit implements response.Recorder.
func (b *day) Commit(_ context.Context, r trail.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records = append(b.records, r)
	return nil
}

// play lives the day.
func (b *day) play(ctx context.Context) error {
	for i := range b.Deliveries {
		if err := b.live(ctx, &b.Deliveries[i]); err != nil {
			return err
		}
	}
	return nil
}

// live moves the clock to the delivery, lets what is due be done, and then lets
// the detectors see it and the responder hear of what they say.
func (b *day) live(ctx context.Context, dl *sample.Delivery) error {
	b.mu.Lock()
	if dl.At.After(b.now) {
		b.now = dl.At
	}
	b.mu.Unlock()
	if err := b.settle(ctx); err != nil {
		return err
	}
	batch, err := b.watch.Read(dl)
	if err != nil {
		return err
	}
	happened := *dl
	happened.Records = nil
	for i := range batch.Events {
		stopped, err := b.see(ctx, dl, &batch.Events[i])
		if err != nil {
			return err
		}
		if !stopped {
			happened.Records = append(happened.Records, dl.Records[i])
		}
	}
	if err := b.watch.Feed(ctx, &happened, b.clock()); err != nil {
		return err
	}
	for ; b.told < len(b.watch.Alerts); b.told++ {
		b.r.OnAlert(b.watch.Alerts[b.told])
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	return b.back(ctx)
}

// see reports whether the brake has stopped what the record tells: it is one of a
// run and, at its time, what it is about was paused. Such a record never comes to
// be. A person is known to platforms by id and by address.
func (b *day) see(ctx context.Context, dl *sample.Delivery, ev *schemas.Event) (stopped bool, err error) {
	if ev.ActorEmail != "" {
		b.names[ev.Actor] = ev.ActorEmail
	}
	user := b.names[ev.Actor]
	if ev.Action == "subscription.create" && ev.Outcome == schemas.OutcomeOK && !dl.History {
		return false, b.subscribe(ctx, strings.Clone(ev.Agent), strings.Clone(user))
	}
	if !ofRun(ev) {
		return false, nil
	}
	if dl.Repeat || b.gone[ev.SourceID] {
		return b.gone[ev.SourceID], nil
	}
	label, ok := b.labels[ev.SourceID]
	if !ok {
		label = nobody
	}
	b.runs[label]++
	run := state.Run{Subscription: b.subs[[2]string{ev.Agent, user}], Agent: ev.Agent, User: user}
	for _, p := range b.pauses {
		if (p.Covers(run) || p.Covers(state.Run{User: ev.Actor})) && p.held(ev.When()) {
			b.stopped[label]++
			b.by[label] = append(b.by[label], p.Response)
			b.gone[strings.Clone(ev.SourceID)] = true
			return true, nil
		}
	}
	return false, nil
}

// ofRun reports whether the record is one of an agent's run: its start, a call of
// a tool, its end. What people do to agents and subscriptions is none.
func ofRun(ev *schemas.Event) bool {
	what, _, _ := strings.Cut(ev.Action, ".")
	switch {
	case ev.Tool != "", ev.Kind == "workflow_run", ev.Action == "agent.run", ev.Action == "subscription.run":
		return true
	}
	return ev.Agent != "" && what != "agent" && what != "subscription" && what != "trace"
}

// nobody is the label of records that belong to no incident and no twin.
const nobody = -1

// settle waits until the responder has done what is due at this time.
func (b *day) settle(ctx context.Context) error {
	err := eventually(ctx, time.Minute, "the responder rests", func() (bool, error) {
		b.r.Wake()
		return b.r.Settled(), nil
	})
	if err != nil {
		return err
	}
	return b.note(ctx)
}

// back gives the detectors what the responder and the executor put on record.
func (b *day) back(ctx context.Context) error {
	seqs, own, err := b.store.Waiting(ctx, trail.SourceAudit, 1000)
	if err != nil {
		return err
	}
	if len(seqs) > 0 {
		if err := b.store.Sent(ctx, seqs...); err != nil {
			return err
		}
	}
	b.mu.Lock()
	own = append(own, b.records...)
	b.records = nil
	b.mu.Unlock()
	if len(own) == 0 {
		return nil
	}
	dl := &sample.Delivery{Source: sample.SourceAudit, Name: "executor", At: b.clock()} // in time, as those of the platform are not
	for _, r := range own {
		dl.Records = append(dl.Records, sample.Record{Source: sample.SourceAudit, ID: r.ID, Body: r.Body})
	}
	return b.watch.Feed(ctx, dl, b.clock())
}
