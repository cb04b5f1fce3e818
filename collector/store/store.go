// Package store keeps what people query: rows in ClickHouse, embedded or on a
// server, written by a cursor of the journal and read by the API.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/store/engine"
	"github.com/agentrail/agentrail/schemas"
)

// Options say where the rows go and what is kept.
type Options struct {
	Engine *engine.Supervisor // the embedded engine; or
	DSN    string             // a ClickHouse server: clickhouse://user:key@host:9000/database, http://..., https://...

	Raw          bool          // keep the records as received in the table raw
	Retention    time.Duration // of events and runs, whole days from receipt; 0: for ever. Roll-ups stay.
	RawRetention time.Duration // of raw, whole days; 0: as Retention

	Log *slog.Logger          // Mandatory.
	Reg prometheus.Registerer // Mandatory.
}

// Store writes events into ClickHouse and answers queries about them. Consume
// is for one Follow loop a shard; everything else may be called concurrently.
type Store struct {
	o       Options
	conn    driver.Conn
	direct  *direct        // to the embedded engine; nil: rows go through conn
	insert  map[string]any // settings of every insert
	read    map[string]any // settings of every query
	metrics *metrics

	mu      sync.Mutex // one plan at a time: inserts are large
	scratch [2]scratch // one for each insert under way
}

// Open connects, brings the tables up to date, and proves that inserts are
// de-duplicated and durable before anything is written.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Log == nil || o.Reg == nil {
		return nil, errors.New("BUG: a store needs a logger and a registerer")
	}
	conn, err := connect(o)
	if err != nil {
		return nil, err
	}
	s := &Store{o: o, conn: conn}
	if o.Engine != nil {
		s.direct = newDirect(o.Engine)
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s.metrics = newMetrics(o.Reg) // last: a failed Open may be repeated with the same registerer
	return s, nil
}

func (s *Store) prepare(ctx context.Context) error {
	if err := s.conn.Ping(ctx); err != nil {
		return fmt.Errorf("connect to ClickHouse: %w", err)
	}
	if err := migrate(ctx, s.conn, s.o.Log); err != nil {
		return err
	}
	var err error
	if s.insert, err = insertSettings(ctx, s.conn); err != nil {
		return err
	}
	if s.read, err = readSettings(ctx, s.conn); err != nil {
		return err
	}
	if err := assertTables(ctx, s.conn); err != nil {
		return err
	}
	if err := probe(ctx, s.conn, s.insert); err != nil {
		return err
	}
	return s.retain(ctx)
}

// Ready reports whether ClickHouse answers.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.conn.Ping(ctx); err != nil {
		return fmt.Errorf("ask ClickHouse: %w", err)
	}
	return nil
}

// Close closes the connections. The engine is its owner's to close.
func (s *Store) Close() error {
	if s.direct != nil {
		s.direct.close()
	}
	return s.conn.Close()
}

var _ journal.Consumer = (*Store)(nil)

// Consume inserts the accepted events of a plan of batches of one shard.
// Follow must offer exactly the same plan again after an error or a crash
// (FollowOptions.Exact, InFlight 1): each insert carries a token made of the
// plan's offsets, the table and the partition, and ClickHouse keeps it once.
// Alerts that are not readable are returned as *journal.Rejected after
// everything else was written.
func (s *Store) Consume(ctx context.Context, batches []*schemas.Batch) error {
	if len(batches) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	began := time.Now()
	p := makePlan(batches)
	jobs, bad := makeJobs(p, s.o.Raw)
	if err := s.run(ctx, jobs); err != nil {
		s.metrics.failures.Inc()
		return err
	}
	s.metrics.rows.Add(float64(p.rows))
	s.metrics.seconds.Observe(time.Since(began).Seconds())
	if len(bad) > 0 {
		return &journal.Rejected{Items: bad}
	}
	return nil
}
