package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
	"github.com/agentrail/agentrail/sinks/sinktest/receivers"
)

// run plays the cell out.
func (c *cell) run(ctx context.Context, k receivers.Kind, m misfortune, dns *names, name string) {
	ctx, cancel := context.WithTimeout(ctx, cellTime)
	defer cancel()
	dir, err := os.MkdirTemp("", "agentrail-cell-")
	if err != nil {
		c.err = err
		return
	}
	defer os.RemoveAll(dir)
	c.err = c.play(ctx, k, m, dir, dns, name)
}

// stage is the receiver of a cell and what goes wrong in front of it.
type stage struct {
	m         misfortune
	front     *receivers.Front
	receiver  *receivers.Receiver
	dns       *names
	name      string // of the receiver, for the name server
	recovered atomic.Bool
	conns     atomic.Int64
}

// set builds the stage; the address is what the sink is to connect to.
func (s *stage) set(k receivers.Kind, dir string) (address string, err error) {
	if s.front, err = receivers.NewFront(); err != nil {
		return "", err
	}
	s.front.Trouble = func() receivers.Trouble {
		if s.on(int(s.conns.Add(1)) - 1) {
			return s.m.trouble
		}
		return receivers.Calm
	}
	if s.m.trouble == receivers.Stranger {
		var protocols []string
		if k.ALPN != "" {
			protocols = []string{k.ALPN}
		}
		if s.front.TLS, err = receivers.NewCertificates(dir, protocols...); err != nil {
			return "", err
		}
	}
	if s.m.down {
		if err := s.front.Shut(); err != nil {
			return "", err
		}
	}
	o := receivers.Options{Listener: s.front, Dir: dir, Refuse: func(n int) receivers.Refusal {
		if s.on(n) {
			return s.m.refuse
		}
		return receivers.Taken
	}}
	if s.m.poison {
		o.Poison = func(doc []byte) bool { return bytes.Contains(doc, []byte(cellPoison)) }
	}
	if s.m.lose {
		o.Lose = func(n int) bool { return n < 12 && n%3 == 0 }
	}
	if s.receiver, err = k.Open(o); err != nil {
		return "", err
	}
	address = s.front.Addr().String()
	if _, port, err := net.SplitHostPort(address); s.m.unknown && err == nil {
		address = net.JoinHostPort(s.name, port)
	}
	return address, err
}

// on reports whether the request or connection n goes wrong.
func (s *stage) on(n int) bool {
	switch {
	case n < s.m.from:
		return false
	case s.m.brief:
		return n < briefRequests
	}
	return n < s.m.from+briefRequests || !s.recovered.Load()
}

// recover ends the misfortune.
func (s *stage) recover() error {
	s.recovered.Store(true)
	s.dns.learn(s.name)
	if s.m.down {
		return s.front.Open()
	}
	return nil
}

func (c *cell) play(ctx context.Context, k receivers.Kind, m misfortune, dir string, dns *names, name string) (err error) {
	mappings, err := decode.Open("")
	if err != nil {
		return err
	}
	j, err := journal.OpenDisk(ctx, journal.Options{Dir: filepath.Join(dir, "journal"), Decode: mappings.Decode, Own: decode.Own, ReserveBytes: -1, Tick: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	want, err := fillJournal(ctx, j, mappings, m)
	if err != nil {
		return err
	}
	c.events = len(want)
	s := &stage{m: m, dns: dns, name: name}
	address, err := s.set(k, dir)
	if err != nil {
		return err
	}
	defer s.receiver.Close()
	caFile := ""
	if s.front.TLS != nil {
		caFile = s.front.TLS.CAFile
	}
	began := time.Now()
	failing, err := startSink(ctx, j, k.Sink, "failing", s.receiver.Fields(address, caFile)+"timeout: 1s\ncontent: true\n")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, failing.stop()) }()
	healthy, err := startSink(ctx, j, "file", "healthy", "path: "+filepath.Join(dir, "healthy.ndjson")+"\n")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, healthy.stop()) }()

	if err := healthy.drained(ctx, c.events); err != nil {
		return err
	}
	c.healthy = time.Since(began)
	c.early = failing.done() >= int64(c.events)
	if err := wait(ctx, m.least-time.Since(began)); err != nil {
		return err
	}
	if err := s.recover(); err != nil {
		return err
	}
	if err := failing.drained(ctx, c.events); err != nil {
		return err
	}
	c.took = time.Since(began)
	c.counted = failing.counted()
	c.dead = int(failing.parked.Load())
	c.violations = s.receiver.Violations()
	got, err := s.arrived(ctx, c.events-c.dead)
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
		delete(got, id)
	}
	c.lost -= c.dead // parked with their reason, so not lost
	if len(got) > 0 {
		return fmt.Errorf("the receiver has %d events that nobody sent", len(got))
	}
	return nil
}

// arrived asks the receiver what it has until that is as many events as it
// accepted: syslog is read after its bytes are acknowledged.
func (s *stage) arrived(ctx context.Context, n int) (got map[string]int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		if got, err = s.receiver.Events(); err != nil || len(got) >= n {
			return got, err
		}
		if wait(ctx, 20*time.Millisecond) != nil {
			return got, nil // what is missing counts as lost
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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
	c, err := plug.NewConfig(kind, name, fields+"from: start\nclasses: [health, activity]\nbatch: {max_events: 200, linger: 1ms}\n")
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	s, common, err := sinks.Open(ctx, c, sinks.Deps{Log: log})
	if err != nil {
		return nil, err
	}
	f := &followed{sink: s, ended: make(chan error, 2)}
	f.fw, err = sinks.NewForwarder(sinks.Options{Name: name, Sink: s, Common: common, Log: log, MinBackoff: firstBackoff, MaxBackoff: maxBackoff, MaxRetryAfter: maxRetryAfter})
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

// drained waits until the sink has dealt with so many events.
func (f *followed) drained(ctx context.Context, events int) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for f.done() < int64(events) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("sink %s has done %d of %d events: %w", f.fw.Name(), f.done(), events, ctx.Err())
		}
	}
	return nil
}

func (f *followed) stop() error {
	f.cancel()
	return errors.Join(<-f.ended, <-f.ended, f.cursor.Close(), f.sink.Close())
}
