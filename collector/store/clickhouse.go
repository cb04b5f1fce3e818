package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/agentrail/agentrail/collector/store/engine"
)

// connect makes the driver for the embedded engine or for a server.
func connect(o Options) (driver.Conn, error) {
	switch {
	case o.Engine != nil && o.DSN != "":
		return nil, errors.New("store has both an embedded engine and a DSN; keep one")
	case o.DSN != "":
		opts, err := clickhouse.ParseDSN(o.DSN)
		if err != nil {
			return nil, errors.New("read store.dsn: not a ClickHouse address; write clickhouse://user:key@host:9000/database") // the cause may hold the key
		}
		if opts.Compression == nil {
			opts.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
		}
		return clickhouse.Open(opts)
	case o.Engine != nil:
		return clickhouse.Open(&clickhouse.Options{
			Protocol:    clickhouse.HTTP,
			Addr:        []string{"engine:80"},
			Auth:        clickhouse.Auth{Database: "default", Username: engine.UserWriter, Password: o.Engine.Secret(engine.UserWriter)},
			DialContext: func(ctx context.Context, _ string) (net.Conn, error) { return o.Engine.Dial(ctx) },
			ReadTimeout: 5 * time.Minute,
			// No compression: it is one machine, and both cores have better things to do.
		})
	}
	return nil, errors.New("store has neither an embedded engine nor a DSN; set store.dsn or leave store.engine on")
}

// insertSettings returns the settings that every insert carries. None is left
// to a default: the defaults of de-duplication and of asynchronous inserts have
// changed between releases. Settings that this server does not have are left
// out, but one of the two that switch de-duplication on must be there.
func insertSettings(ctx context.Context, conn driver.Conn) (map[string]any, error) {
	wanted := map[string]any{
		"async_insert":               0,
		"insert_deduplicate":         1,
		"deduplicate_insert":         "enable",
		"max_insert_block_size":      maxInsertRows * 2,
		"min_insert_block_size_rows": maxInsertRows * 2,
		"deduplicate_blocks_in_dependent_materialized_views": 1,

		// What merges do anyway need not be done to every new part as well:
		// collapse rows of one key, build the bloom filters.
		"optimize_on_insert":                 0,
		"materialize_skip_indexes_on_insert": 0,
	}
	known, err := knownSettings(ctx, conn, wanted)
	if err != nil {
		return nil, err
	}
	if known["insert_deduplicate"] == nil && known["deduplicate_insert"] == nil {
		return nil, errors.New("this ClickHouse has neither insert_deduplicate nor deduplicate_insert: use release 23.8 or newer")
	}
	return known, nil
}

// readSettings returns the settings that every query carries, without those
// that this server does not have.
func readSettings(ctx context.Context, conn driver.Conn) (map[string]any, error) {
	return knownSettings(ctx, conn, map[string]any{
		// Large sorts spill to disk: an export must not be refused for its size.
		"max_bytes_before_external_sort":       128 << 20,
		"max_bytes_ratio_before_external_sort": 0,
		// Reads the column of times first, of all rows, and then what the query
		// selects by: for what is rare ten times the work of the other way round.
		"use_top_k_dynamic_filtering": 0,
	})
}

// knownSettings returns those of the settings that this server has.
func knownSettings(ctx context.Context, conn driver.Conn, wanted map[string]any) (map[string]any, error) {
	rows, err := conn.Query(ctx, "SELECT name FROM system.settings WHERE name IN {names:Array(String)}",
		clickhouse.Named("names", keys(wanted)))
	if err != nil {
		return nil, fmt.Errorf("read ClickHouse's settings: %w", err)
	}
	defer func() { _ = rows.Close() }()
	known := map[string]any{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("read ClickHouse's settings: %w", err)
		}
		known[name] = wanted[name]
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read ClickHouse's settings: %w", err)
	}
	return known, nil
}

func keys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range maps.Keys(m) {
		out = append(out, k)
	}
	return out
}

// tableSettings are what every table of ours must have; migrations set them.
var tableSettings = []string{
	"non_replicated_deduplication_window = 10000",
	"fsync_after_insert = 1",
	"fsync_part_directory = 1",
	"min_compressed_bytes_to_fsync_after_merge = 1",
	"old_parts_lifetime = 60",
}

// tables are the tables that Consume writes to.
var tables = []string{"events", "raw", "events_per_hour", "runs", "alerts"}

// assertTables reads back how the tables were really made.
func assertTables(ctx context.Context, conn driver.Conn) error {
	var errs []error
	for _, t := range tables {
		var ddl string
		if err := conn.QueryRow(ctx, "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = {t:String}",
			clickhouse.Named("t", t)).Scan(&ddl); err != nil {
			return fmt.Errorf("read how table %s was made: %w", t, err)
		}
		for _, want := range tableSettings {
			if !strings.Contains(ddl, want) {
				errs = append(errs, fmt.Errorf("table %s lacks %s; run ALTER TABLE %s MODIFY SETTING %s", t, want, t, want))
			}
		}
	}
	return errors.Join(errs...)
}

// probe inserts a row twice under one token and expects it once: whatever the
// settings say, this is what the promise of no duplicates rests on.
func probe(ctx context.Context, conn driver.Conn, settings map[string]any) error {
	key := rand.Text()
	for range 2 {
		if err := insertRow(withInsert(ctx, settings, "probe-"+key, nil), conn, "INSERT INTO agentrail_probe (key)", key); err != nil {
			return fmt.Errorf("probe de-duplication: %w", err)
		}
	}
	var n uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM agentrail_probe WHERE key = {key:String}", clickhouse.Named("key", key)).Scan(&n); err != nil {
		return fmt.Errorf("probe de-duplication: %w", err)
	}
	if n != 1 {
		return fmt.Errorf("ClickHouse kept %d of 2 inserts with one token, expected 1: it does not de-duplicate, and a crash would double rows", n)
	}
	return conn.Exec(ctx, "TRUNCATE TABLE agentrail_probe")
}

func insertRow(ctx context.Context, conn driver.Conn, sql string, values ...any) error {
	b, err := conn.PrepareBatch(ctx, sql)
	if err != nil {
		return err
	}
	return errors.Join(b.Append(values...), b.Send())
}

// withInsert returns a context for one insert under a token. columns name the
// types on the wire where they are known; a server that speaks the native
// protocol is asked instead.
func withInsert(ctx context.Context, settings map[string]any, token string, columns []clickhouse.ColumnNameAndType) context.Context {
	opts := []clickhouse.QueryOption{clickhouse.WithSettings(withToken(settings, token))}
	if columns != nil {
		opts = append(opts, clickhouse.WithColumnNamesAndTypes(columns))
	}
	return clickhouse.Context(ctx, opts...)
}

// withToken returns a copy of the settings with the token of one insert.
func withToken(settings map[string]any, token string) map[string]any {
	all := maps.Clone(settings)
	all["insert_deduplication_token"] = token
	return all
}

// retain sets the tables' time to live where it is another than before.
func (s *Store) retain(ctx context.Context) error {
	raw := s.o.RawRetention
	if raw == 0 {
		raw = s.o.Retention
	}
	for table, keep := range map[string]time.Duration{"events": s.o.Retention, "raw": raw, "runs": s.o.Retention, "otel_traces": s.o.Retention} {
		if err := s.setTTL(ctx, table, int64(keep/(24*time.Hour))); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) setTTL(ctx context.Context, table string, days int64) error {
	var now string
	key := "ttl_days." + table
	err := s.conn.QueryRow(ctx, "SELECT argMax(value, updated) FROM agentrail_meta WHERE key = {key:String}", clickhouse.Named("key", key)).Scan(&now)
	if err != nil {
		return fmt.Errorf("read the time to live of %s: %w", table, err)
	}
	want := fmt.Sprint(days)
	if now == want || now == "" && days == 0 {
		return nil
	}
	sql := "ALTER TABLE " + table + " REMOVE TTL"
	if days > 0 {
		received := "received"
		if table == "otel_traces" {
			received = "Received"
		}
		sql = "ALTER TABLE " + table + " MODIFY TTL toDateTime(" + received + ") + INTERVAL " + want + " DAY"
	}
	if err := s.conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("set the time to live of %s to %d days: %w", table, days, err)
	}
	in := withInsert(ctx, s.insert, rand.Text(), nil)
	if err := insertRow(in, s.conn, "INSERT INTO agentrail_meta (key, value, updated)", key, want, time.Now().UTC()); err != nil {
		return fmt.Errorf("note the time to live of %s: %w", table, err)
	}
	return nil
}
