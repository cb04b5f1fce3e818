package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
)

// ledger is the delivery ledger of the server's sinks and what is replayed to
// them, for the API and the pages.
type ledger struct {
	reconciler *sinks.Reconciler
	replays    *sinks.Replays
	forwarders map[string]*sinks.Forwarder
	offsetAt   func(context.Context, time.Time) (uint64, error)
	j          *journal.Disk
}

// newLedger starts both.
func newLedger(f *followers, j *journal.Disk, own owner, operator string, inOrder []*sinks.Forwarder, forwarders map[string]*sinks.Forwarder, log *slog.Logger, reg prometheus.Registerer) (*ledger, error) {
	l := &ledger{forwarders: forwarders, offsetAt: offsetAt(j), j: j}
	var err error
	l.reconciler, err = sinks.NewReconciler(sinks.ReconcilerOptions{
		Forwarders: inOrder, Reg: reg, Log: log,
		Append: func(ctx context.Context, id schemas.ID, s schemas.Statement) error {
			return own.once(ctx, id, s.Tenant, schemas.ClassEvidence, sinks.KindStatement, s)
		},
	})
	if err != nil {
		return nil, err
	}
	if err := f.follow(sinks.LedgerName, journal.FromStart(), l.reconciler, journal.FollowOptions{State: l.reconciler}); err != nil {
		return nil, err
	}
	f.run("ledger statements", l.reconciler.Run)

	l.replays, err = sinks.NewReplays(sinks.ReplayOptions{
		Operator: operator, OffsetAt: l.offsetAt, Log: log,
		Sink: func(name string) (*sinks.Forwarder, bool) { fw, ok := forwarders[name]; return fw, ok },
		Open: func(ctx context.Context, from uint64) (sinks.BatchReader, error) {
			return j.Open(ctx, "", 0, journal.FromOffset(from))
		},
		Append: func(ctx context.Context, id schemas.ID, tenant string, h schemas.Health) error {
			return own.once(ctx, id, tenant, schemas.ClassHealth, "health", h)
		},
	})
	if err != nil {
		return nil, err
	}
	if err := f.follow(sinks.ReplayName, journal.FromNow(), l.replays, journal.FollowOptions{State: l.replays, SnapshotEvery: time.Second}); err != nil {
		return nil, err
	}
	f.run("replays", l.replays.Run)
	return l, nil
}

// once appends a document under a batch id: again, it changes nothing.
func (o owner) once(ctx context.Context, id schemas.ID, tenant string, class schemas.Class, kind string, doc any) error {
	b, err := decode.Own(tenant, class, kind, time.Now().UnixNano(), doc)
	if err != nil {
		return err
	}
	b.Header.ID = id
	_, err = o.append(ctx, b)
	return err
}

// rows answers the API's and the pages' questions.
func (l *ledger) rows(_ context.Context, q api.LedgerQuery) ([]api.LedgerRow, error) {
	var out []api.LedgerRow
	for _, r := range l.reconciler.Rows(q.Tenant, q.Sink, q.Since, l.replays.Count) {
		out = append(out, api.LedgerRow{
			Sink: r.Sink, Hour: r.Hour, From: r.From, To: r.To, Seen: r.Seen, Filtered: r.Filtered, Accepted: r.Accepted, Indexed: r.Indexed, Dead: r.Dead,
			Waiting: r.Waiting, Replayed: r.Replayed, Difference: r.Difference, Partial: r.Partial, Closed: r.Closed,
		})
	}
	return out, nil
}

// misdated is the argument of a control by which its author agrees that the
// receiver misdates what is sent.
const misdated = "misdated"

// checkReplay refuses what cannot be carried out, and asks before the receiver
// would misdate events.
func (l *ledger) checkReplay(ctx context.Context, c schemas.Control) error {
	f, ok := l.forwarders[c.Target]
	if !ok {
		return api.ErrNotFound
	}
	if c.Verb != sinks.VerbReplay {
		return nil
	}
	ask, err := sinks.ParseReplay(c)
	if err != nil {
		return fmt.Errorf("%w: %w", api.ErrQuery, err)
	}
	if c.Args["filter"] != "" && f.Whole() {
		return fmt.Errorf("%w: sink %s sends requests whole; filter is for sinks of events", api.ErrQuery, c.Target)
	}
	past, what := f.Window()
	if past <= 0 || c.Args[misdated] == "yes" {
		return nil
	}
	from := ask.From.At
	if from.IsZero() {
		at := max(ask.From.Offset, l.j.First())
		if at >= l.j.Head() {
			return nil
		}
		if _, received, err := receivedAt(ctx, l.j, at); err == nil {
			from = time.Unix(0, received)
		}
	}
	if age := time.Since(from); age > past {
		return fmt.Errorf("%w: the range begins %s ago and this receiver takes events of the last %s: %s", api.ErrConsent, age.Round(time.Minute), past, what)
	}
	return nil
}
