package alerting

import (
	"context"
	"log/slog"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/alertmanager/notify"
)

// stage stands before Alertmanager's pipeline: it keeps back alerts that people
// have acknowledged or silenced one by one, and notes afterwards who was told.
type stage struct {
	r     *Router
	inner notify.Stage
}

// Exec implements notify.Stage.
func (s *stage) Exec(ctx context.Context, l *slog.Logger, alerts ...*alert.Alert) (context.Context, []*alert.Alert, error) {
	var err error
	if wanted := s.r.wanted(alerts); len(wanted) > 0 {
		_, _, err = s.inner.Exec(ctx, l, wanted...)
	}
	s.r.note(ctx, alerts)
	return ctx, alerts, err
}

// wanted returns the alerts that are not kept back. What is over is told in any
// case to those who know of its beginning.
func (r *Router) wanted(alerts []*alert.Alert) []*alert.Alert {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(alerts), func(a *alert.Alert) bool {
		k := r.known[a.Fingerprint()]
		return k != nil && k.muted && !a.Resolved()
	})
}

// note reads in the notification log who was told of the alerts of a group.
func (r *Router) note(ctx context.Context, alerts []*alert.Alert) {
	group, _ := notify.GroupKey(ctx)
	receiver, _ := notify.ReceiverName(ctx)
	news := false
	for _, i := range r.wired.Load().receivers[receiver] {
		entries, err := r.nflog.Query(nflog.QGroupKey(group), nflog.QReceiver(&nflogpb.Receiver{
			GroupName: receiver, Integration: i.Name(), Idx: uint32(i.Index()),
		}))
		if err != nil || len(entries) != 1 { // nflog.ErrNotFound: nobody was told of this group yet
			continue
		}
		begun, over := set(entries[0].FiringAlerts), set(entries[0].ResolvedAlerts)
		name := integrationName(receiver, i.Name(), i.Index())
		r.mu.Lock()
		for _, a := range alerts {
			k := r.known[a.Fingerprint()]
			if k == nil {
				continue
			}
			is := k.told[name]
			switch h := hash(a); {
			case begun[h]:
				is = max(is, toldBegin)
			case over[h] && a.Resolved():
				is = toldEnd
			}
			news = news || is != k.told[name]
			k.told[name] = is
		}
		r.mu.Unlock()
	}
	if news && r.o.Noted != nil {
		r.o.Noted()
	}
}

func set(hashes []uint64) map[uint64]bool {
	out := make(map[uint64]bool, len(hashes))
	for _, h := range hashes {
		out[h] = true
	}
	return out
}

// hash is how the notification log knows an alert: XXH64 of its labels.
func hash(a *alert.Alert) uint64 {
	p := Posting{Labels: a.Labels}
	return xxhash.Sum64String(p.key())
}
