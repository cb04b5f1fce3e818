package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

// run plays the cell out.
func (c *cell) run(ctx context.Context, s subject, m misfortune) {
	ctx, cancel := context.WithTimeout(ctx, cellTime)
	defer cancel()
	dir, err := os.MkdirTemp("", "agentrail-cell-")
	if err != nil {
		c.err = err
		return
	}
	defer os.RemoveAll(dir)
	if err := c.play(ctx, s, m, dir); err != nil {
		c.err = err
	}
}

func (c *cell) play(ctx context.Context, s subject, m misfortune, dir string) (err error) {
	mappings, err := decode.Open("")
	if err != nil {
		return err
	}
	j, err := journal.OpenDisk(ctx, journal.Options{Dir: filepath.Join(dir, "journal"), Decode: mappings.Decode, Own: decode.Own, ReserveBytes: -1, Tick: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	want, poison, err := fillJournal(ctx, j)
	if err != nil {
		return err
	}
	var recovered atomic.Bool
	var refuse func([]byte) bool
	if m.poison {
		refuse = func(doc []byte) bool { return bytes.Contains(doc, []byte(poison)) }
	}
	receiver, ids := s.open(refuse)
	srv := httptest.NewUnstartedServer(&sinktest.Faulty{Next: receiver, Script: func(n int, _ *http.Request) sinktest.Fault {
		if n < 3 || !recovered.Load() && !m.brief {
			return m.fault
		}
		return sinktest.Fault{}
	}})
	url := "http://" + srv.Listener.Addr().String()
	if m.down {
		addr := srv.Listener.Addr().String()
		_ = srv.Listener.Close()
		srv.Listener = &late{addr: addr}
	} else {
		srv.Start()
	}
	defer func() {
		if !m.down || recovered.Load() {
			srv.CloseClientConnections()
			srv.Close()
		}
	}()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(webhookSecret), 0o600); err != nil {
		return err
	}
	began := time.Now()
	kind, fields := s.config(url, secret)
	failing, err := startSink(ctx, j, kind, "failing", fields)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, failing.stop()) }()
	healthy, err := startSink(ctx, j, "file", "healthy", "path: "+filepath.Join(dir, "healthy.ndjson")+"\n")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, healthy.stop()) }()

	if err := healthy.drained(ctx); err != nil {
		return err
	}
	c.healthy = time.Since(began)
	c.early = failing.done() >= cellEvents
	if m.down {
		if err := srv.Listener.(*late).open(); err != nil {
			return err
		}
		srv.Start()
	}
	recovered.Store(true)
	if err := failing.drained(ctx); err != nil {
		return err
	}
	c.took = time.Since(began)
	c.counted = failing.counted()
	c.dead = int(failing.parked.Load())
	got, err := ids()
	if err != nil {
		return err
	}
	for id := range want {
		if got[id] == 0 {
			c.lost++
		}
		if got[id] > 1 {
			c.doubled++
		}
	}
	c.lost -= c.dead // parked with their reason, so not lost
	return nil
}

// fillJournal appends the events of a cell and returns their ids, and a text
// that only one of them holds.
func fillJournal(ctx context.Context, j *journal.Disk) (map[string]bool, string, error) {
	want, poison := map[string]bool{}, "event-1234."
	for i := range cellBatches {
		var docs []any
		for k := range cellSize {
			docs = append(docs, schemas.Health{Kind: "test", Consumer: fmt.Sprintf("event-%d.", i*cellSize+k), Reason: strings.Repeat("x", 200), At: time.Now().UTC()})
		}
		b, err := decode.Own("default", schemas.ClassHealth, "health", time.Now().UnixNano(), docs...)
		if err != nil {
			return nil, "", err
		}
		if _, err := j.Append(ctx, b); err != nil {
			return nil, "", err
		}
		for ev := range b.Accepted() {
			want[ev.ID.String()] = true
		}
	}
	if len(want) != cellEvents {
		return nil, "", fmt.Errorf("%d events in the journal, not %d", len(want), cellEvents)
	}
	return want, poison, nil
}

// followed is a sink on a cursor.
type followed struct {
	fw     *sinks.Forwarder
	book   *sinks.Reconciler
	sink   sinks.Sink
	cursor journal.Cursor
	parked atomic.Int64
	cancel context.CancelFunc
	ended  chan error
}

func startSink(ctx context.Context, j *journal.Disk, kind, name, fields string) (*followed, error) {
	c, err := plug.NewConfig(kind, name, fields+"from: start\nclasses: [health]\nbatch: {max_events: 200, linger: 1ms}\n")
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	s, common, err := sinks.Open(ctx, c, sinks.Deps{Log: log})
	if err != nil {
		return nil, err
	}
	f := &followed{sink: s, ended: make(chan error, 2)}
	f.fw, err = sinks.NewForwarder(sinks.Options{Name: name, Sink: s, Common: common, Log: log, MinBackoff: 20 * time.Millisecond, MaxBackoff: 500 * time.Millisecond})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	nothing := func(context.Context, schemas.ID, schemas.Statement) error { return nil }
	if f.book, err = sinks.NewReconciler(sinks.ReconcilerOptions{Forwarders: []*sinks.Forwarder{f.fw}, Append: nothing}); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if f.cursor, err = j.Open(ctx, name, 0, common.Start()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	o := f.fw.FollowOptions()
	o.Rows, o.Park = 200, func(_ context.Context, letters []schemas.DeadLetter) error {
		f.parked.Add(int64(len(letters)))
		return nil
	}
	count, err := j.Open(ctx, name+"/count", 0, journal.FromStart())
	if err != nil {
		return nil, errors.Join(err, f.cursor.Close(), s.Close())
	}
	ctx, f.cancel = context.WithCancel(ctx)
	go func() { f.ended <- journal.Follow(ctx, f.cursor, f.fw, o) }()
	go func() {
		err := journal.Follow(ctx, count, f.book, journal.FollowOptions{Name: name + "/count", State: f.book})
		f.ended <- errors.Join(err, count.Close())
	}()
	return f, nil
}

// done is how many events the ledger says are dealt with, counted what it
// accounts for at all.
func (f *followed) done() (n int64) {
	for _, r := range f.rows() {
		n += r.Filtered + r.Accepted + r.Dead
	}
	return n
}

func (f *followed) counted() (n int64) {
	for _, r := range f.rows() {
		if r.Seen == r.Filtered+r.Accepted+r.Dead+r.Waiting {
			n += r.Seen
		}
	}
	return n
}

func (f *followed) rows() []sinks.LedgerRow { return f.book.Rows("default", "", time.Time{}, nil) }

// drained waits until the sink has dealt with all events.
func (f *followed) drained(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for f.done() < cellEvents {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("sink %s has done %d of %d events: %w", f.fw.Name(), f.done(), cellEvents, ctx.Err())
		}
	}
	return nil
}

func (f *followed) stop() error {
	f.cancel()
	return errors.Join(<-f.ended, <-f.ended, f.cursor.Close(), f.sink.Close())
}

// late is a listener of an address that nobody listens on until open.
type late struct {
	net.Listener
	addr string
}

func (l *late) open() (err error) {
	l.Listener, err = net.Listen("tcp", l.addr)
	return err
}
