package alerting

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/agentrail/agentrail/schemas"
)

// Run hands alerts over until ctx ends: at once what has changed, and everything
// that goes on every Resend. What does not arrive is handed over again.
func (f *Feed) Run(ctx context.Context) error {
	const slowest = 30 * time.Second
	tick := time.NewTicker(f.o.Resend)
	defer tick.Stop()
	var pause time.Duration
	var again <-chan time.Time
	all := true // after a start
	for {
		if err := f.handOver(ctx, all); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			pause = min(max(2*pause, time.Second), slowest)
			f.o.Log.Warn("alerts are not handed over; trying again", "err", err, "after", pause)
			again = time.After(pause)
		} else {
			pause, again, all = 0, nil, false
		}
		wake := f.wake
		if again != nil { // not with every new alert
			wake = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			all = true
		case <-again:
		case <-wake:
		}
	}
}

// handOver posts what is due: everything, or what has changed.
func (f *Feed) handOver(ctx context.Context, all bool) error {
	f.mu.Lock()
	now := f.o.Now()
	var due []*tracked
	if all {
		due = slices.Collect(maps.Values(f.alerts))
	} else {
		for id := range f.dirty {
			due = append(due, f.alerts[id])
		}
	}
	clear(f.dirty)
	slices.SortFunc(due, func(a, b *tracked) int {
		return cmp.Or(a.Alert.DecidedAt.Compare(b.Alert.DecidedAt), cmp.Compare(a.Alert.ID, b.Alert.ID))
	})
	var posts []Posting
	var going, ended []*tracked
	for _, t := range due {
		if t.Done {
			continue
		}
		over := f.ends(ctx, t, now)
		if over && !t.ended.IsZero() && f.finished(ctx, t, now) {
			f.o.To.Forget(f.posting(t, t.Ended, now))
			t.Done = true
			continue
		}
		t.posted = t.changes
		for _, p := range t.Past {
			was := f.postingOf(t, p.Severity, p.Starts, p.Ends, now)
			was.past = true
			posts = append(posts, *was)
		}
		if over {
			posts = append(posts, *f.posting(t, t.Ended, now))
			ended = append(ended, t)
		} else {
			posts = append(posts, *f.posting(t, now.Add(f.o.Expire), now))
			going = append(going, t)
		}
	}
	f.full = f.full && len(f.alerts) >= f.o.MaxAlerts
	f.count()
	f.mu.Unlock()
	if len(posts) == 0 {
		return nil
	}
	err := f.o.To.Put(ctx, merged(posts))
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.m.posted.WithLabelValues("failed").Inc()
		for _, t := range due {
			if f.alerts[t.Alert.ID] == t {
				f.dirty[t.Alert.ID] = true
			}
		}
		return err
	}
	f.m.posted.WithLabelValues("ok").Inc()
	// What has changed in the meantime comes again at once.
	for _, t := range going {
		if t.posted == t.changes {
			t.Past, t.Fired = nil, true
		}
	}
	for _, t := range ended {
		if t.posted == t.changes {
			t.Past, t.ended = nil, now
		}
	}
	return nil
}

// ends reports whether the alert is handed over as over: it is resolved and
// whoever is to be told knows of its beginning. People never hear less because
// an alert was short.
func (f *Feed) ends(ctx context.Context, t *tracked, now time.Time) bool {
	if !t.Told && t.Fired {
		told := f.o.To.Told(ctx, f.posting(t, now, now), false)
		wait := now.Sub(t.Ended)
		// Somebody who closes an alert knows of it.
		t.Told = told == ToldAll || t.resolved() && (t.Life.By != "" || told == ToldSome && wait > f.o.HoldSome || wait > f.o.Hold)
	}
	return t.resolved() && t.Told
}

// finished reports whether the end needs no more hand-overs.
func (f *Feed) finished(ctx context.Context, t *tracked, now time.Time) bool {
	return now.Sub(t.Ended) > f.o.Hold || f.o.To.Told(ctx, f.posting(t, t.Ended, now), true) == ToldAll
}

// Look has the feed see at once who was told of what.
func (f *Feed) Look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, t := range f.alerts {
		if t.resolved() && !t.Done {
			f.dirty[id] = true
		}
	}
	if len(f.dirty) > 0 {
		f.poke()
	}
}

func (f *Feed) posting(t *tracked, ends, now time.Time) *Posting {
	return f.postingOf(t, t.Life.Severity, t.Began, ends, now)
}

func (f *Feed) postingOf(t *tracked, s schemas.Severity, starts, ends, now time.Time) *Posting {
	l := t.Life.At(now)
	link := ""
	if f.o.Link != "" {
		link = f.o.Link + "/alerts/" + t.Alert.ID
	}
	p := &Posting{Labels: maps.Clone(t.Labels), Annotations: annotationsOf(&t.Alert, l, link), Starts: starts, Ends: ends, Link: link}
	p.Labels[labelSeverity] = model.LabelValue(s)
	if p.Ends.Before(p.Starts) { // clocks of the journal and of now may differ
		p.Starts = p.Ends
	}
	p.muted = l.State == schemas.StateAcknowledged || l.State == schemas.StateSilenced || t.Alert.Quiet() != ""
	return p
}

// merged leaves one posting of the same labels: what goes on before what is
// over, then the newest.
func merged(posts []Posting) []Posting {
	at := map[string]int{}
	var out []Posting
	for _, p := range posts {
		i, dup := at[p.key()]
		switch {
		case !dup:
			at[p.key()] = len(out)
			out = append(out, p)
		case !p.Ends.Before(out[i].Ends):
			out[i] = p
		}
	}
	return out
}
