package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// side is one version of the rules, and what it raised.
type side struct {
	engine *detectors.Engine
	alerts []schemas.Alert // transitions, in order
	open   []schemas.Alert // as they stood at the end
	in     chan *schemas.Batch
	end    chan struct{}
}

// newSide opens the detectors. A rule that cannot be loaded is an error; what
// the ruling says about rules that are not run here is left out.
func newSide(configs []plug.Config, ruling detectors.Ruling, mappings *decode.Set) (*side, error) {
	s := &side{in: make(chan *schemas.Batch, ahead), end: make(chan struct{})}
	o := detectors.Options{
		Detectors: configs, Vocabulary: mappings.Vocabulary(), Tools: mappings.Tool, Strict: true,
		Append: func(context.Context, *schemas.Batch) (uint64, error) { return 0, nil },
		Own: func(_ string, _ schemas.Class, _ string, _ int64, docs ...any) (*schemas.Batch, error) {
			for _, d := range docs {
				s.alerts = append(s.alerts, *d.(*schemas.Alert))
			}
			return &schemas.Batch{}, nil
		},
	}
	var err error
	if s.engine, err = detectors.NewEngine(o); err != nil || len(ruling.Modes)+len(ruling.Exceptions) == 0 {
		return s, err
	}
	rules := s.engine.Rules()
	known := func(name string) bool {
		return slices.ContainsFunc(rules, func(r detectors.Rule) bool {
			return name == r.Name || name == r.ID || name == r.Detector || strings.HasPrefix(name, r.Name+".")
		})
	}
	o.Ruling.Modes = map[string]schemas.Mode{}
	for name, m := range ruling.Modes {
		if known(name) {
			o.Ruling.Modes[name] = m
		}
	}
	for _, x := range ruling.Exceptions {
		if known(x.Rule) {
			o.Ruling.Exceptions = append(o.Ruling.Exceptions, x)
		}
	}
	s.engine, err = detectors.NewEngine(o)
	return s, err
}

// run consumes until in is closed.
func (s *side) run(ctx context.Context) {
	defer close(s.end)
	for b := range s.in {
		_ = s.engine.Consume(ctx, []*schemas.Batch{b}) // Append never fails
	}
	s.open = s.engine.Open()
}

// fired is one alert as it ended up.
type fired struct {
	ID         string       `json:"id"`
	Tenant     string       `json:"tenant"`
	Rule       string       `json:"rule"`
	Severity   string       `json:"severity"`
	Mode       schemas.Mode `json:"mode"`
	Entity     string       `json:"entity"` // kind:id
	Name       string       `json:"name,omitempty"`
	First      time.Time    `json:"first"`
	Last       time.Time    `json:"last"`
	Count      int64        `json:"count"` // events
	Suppressed bool         `json:"suppressed,omitempty"`
	Backfill   bool         `json:"backfill,omitempty"`
	Reason     string       `json:"reason"` // when it opened
}

// fold makes one entry of the transitions of each alert that begins in time.
func (s *side) fold(since time.Time) []*fired {
	by, out := map[string]*fired{}, []*fired{}
	all := slices.Concat(s.alerts, s.open)
	for i := range all {
		a := &all[i]
		key := a.ID
		if a.Backfill {
			key += " history"
		}
		f := by[key]
		if f == nil {
			if a.FirstSeen.Before(since) {
				continue
			}
			f = &fired{
				ID: a.ID, Tenant: a.Tenant, Rule: a.Rule, Entity: a.Entity.Kind + ":" + a.Entity.ID, Name: a.Entity.Name, First: a.FirstSeen,
				Suppressed: true, Backfill: a.Backfill, Reason: a.Reason,
			}
			by[key] = f
			out = append(out, f)
		}
		f.Severity, f.Mode, f.Last, f.Count = string(a.Severity), a.Mode, a.LastSeen, a.Count
		f.Suppressed = f.Suppressed && a.Suppressed != nil
	}
	slices.SortStableFunc(out, func(a, b *fired) int { return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.ID, b.ID)) })
	return out
}

// transitions since then, in the order of their events, for policies.
func (s *side) transitions(since time.Time) []schemas.Alert {
	out := slices.DeleteFunc(slices.Clone(s.alerts), func(a schemas.Alert) bool { return a.LastSeen.Before(since) })
	slices.SortStableFunc(out, func(a, b schemas.Alert) int { return a.LastSeen.Compare(b.LastSeen) })
	return out
}

// subscriptionBook knows the subscriptions that events named, for policies.
type subscriptionBook map[string]map[string]*response.Subscription // by tenant and id

func (s subscriptionBook) note(b *schemas.Batch) {
	if b.Class != schemas.ClassActivity {
		return
	}
	for i := range b.Events {
		ev := &b.Events[i]
		if ev.Subscription == "" || !ev.Accepted() {
			continue
		}
		of := s[ev.Tenant]
		if of == nil {
			of = map[string]*response.Subscription{}
			s[strings.Clone(ev.Tenant)] = of
		}
		x := of[ev.Subscription]
		if x == nil {
			x = &response.Subscription{ID: strings.Clone(ev.Subscription)}
			of[x.ID] = x
		}
		if x.Agent == "" {
			x.Agent = strings.Clone(ev.Agent)
		}
		if ev.Action == "subscription.create" || x.Subscriber == "" && ev.Action != "subscription.edit" {
			x.Subscriber = strings.Clone(firstOf(ev.ActorEmail, ev.Actor))
		}
	}
}

// resolver answers queries about the subscriptions of a tenant.
func (s subscriptionBook) resolver(tenant string) func(context.Context, response.Query) ([]response.Subscription, error) {
	of := s[tenant]
	return func(_ context.Context, q response.Query) (out []response.Subscription, _ error) {
		for _, x := range of {
			if (q.ID == "" || q.ID == x.ID) && (q.Agent == "" || q.Agent == x.Agent) && (q.Subscriber == "" || strings.EqualFold(q.Subscriber, x.Subscriber)) {
				out = append(out, *x)
			}
		}
		slices.SortFunc(out, func(a, b response.Subscription) int { return cmp.Compare(a.ID, b.ID) })
		return out, nil
	}
}
