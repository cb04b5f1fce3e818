package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/executor/state"
)

// judge holds what was done against the labels.
func (b *day) judge(ctx context.Context, t *table) ([]outcome, error) {
	defer b.store.Close()
	all, err := b.store.Responses(ctx, state.ResponseFilter{Limit: 100_000})
	if err != nil {
		return nil, err
	}
	slices.Reverse(all) // the first one first
	t.ordinary, t.hindered = t.ordinary+b.runs[nobody], t.hindered+b.stopped[nobody]
	by := map[string]*outcome{}
	for i, l := range b.Labels {
		o := by[l.Incident]
		if o == nil {
			o = &outcome{incident: l.Incident}
			by[l.Incident] = o
		}
		if l.Twin {
			o.twin = b.stopped[i]
		} else {
			o.runs, o.stopped = b.runs[i], b.stopped[i]
		}
	}
	for i := range all {
		r := &all[i]
		if r.Confirmed.IsZero() {
			continue
		}
		t.paused++
		about := b.about(r)
		for i, l := range b.Labels {
			if l.Twin && slices.Contains(b.by[i], r.ID) && len(about) > 0 {
				t.shared = append(t.shared, fmt.Sprintf("seed %d: %d records of the twin of %s: an agent or person of it was in %s as well", b.Options.Seed, b.stopped[i], l.Incident, about[0].Incident))
			}
		}
		if len(about) == 0 {
			t.wrong = append(t.wrong, fmt.Sprintf("seed %d: %s of %s at %s: %s", b.Options.Seed, r.Action, r.Target, r.Asked.Format(time.DateTime), r.Reason))
		}
		for _, l := range about {
			if o := by[l.Incident]; o.action == "" {
				o.action, o.rule, o.took = r.Action, r.Rule, r.Confirmed.Sub(l.Start)
			}
		}
	}
	var out []outcome
	for _, o := range by {
		if o.action == "" && o.runs > 0 && o.stopped == o.runs {
			o.action, o.rule = "nothing more to do", "paused before it began"
		}
		out = append(out, *o)
	}
	return out, nil
}

// counted is how long after its last record an incident may still be the reason:
// detectors count in windows, and sources hand over late.
const counted = 15 * time.Minute

// about returns the incidents that the response is about: one of their rules
// told, in their time, and what is paused is theirs.
func (b *day) about(r *state.Response) (out []sample.Label) {
	for _, l := range b.Labels {
		told := slices.ContainsFunc(l.Rules, func(rule string) bool { return strings.HasPrefix(r.Rule, rule) })
		if !l.Twin && told && !r.Asked.Before(l.Start) && !r.Asked.After(l.End.Add(counted)) && b.hits(r, l) {
			out = append(out, l)
		}
	}
	return out
}

// hits reports whether the response's target belongs to the label.
func (b *day) hits(r *state.Response, l sample.Label) bool {
	for _, e := range l.Entities {
		switch {
		case e.ID == r.Target, e.Name == r.Target && e.Kind == "actor":
			return true
		case e.Kind == "agent":
			for k, id := range b.subs {
				if id == r.Target && k[0] == e.ID {
					return true
				}
			}
		}
	}
	return false
}
