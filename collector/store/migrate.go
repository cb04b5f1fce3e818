package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	ddl "github.com/agentrail/agentrail/schemas/clickhouse"
)

// migration is one file of schemas/clickhouse.
type migration struct {
	version    uint32
	name       string
	digest     string
	statements []string
}

const migrationsTable = `CREATE TABLE IF NOT EXISTS agentrail_migrations
(
    version UInt32,
    name    String,
    digest  String,
    applied DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(applied)
ORDER BY version
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`

// migrate carries out the migrations that this database has not seen. It can
// be repeated after a crash at any point. A database of a newer Agentrail, and
// a migration that was changed after it was applied, are refused.
func migrate(ctx context.Context, conn driver.Conn, log *slog.Logger) error {
	all, err := loadMigrations(ddl.Migrations)
	if err != nil {
		return err
	}
	if err := conn.Exec(ctx, migrationsTable); err != nil {
		return fmt.Errorf("make table agentrail_migrations: %w", err)
	}
	applied, err := appliedMigrations(ctx, conn)
	if err != nil {
		return err
	}
	for _, m := range all {
		digest, done := applied[m.version]
		delete(applied, m.version)
		switch {
		case done && digest != m.digest:
			return fmt.Errorf("migration %s was changed after it was applied to this database: restore the file of the release that applied it", m.name)
		case done:
			continue
		}
		if err := m.apply(ctx, conn); err != nil {
			return err
		}
		log.Info("migration applied", "migration", m.name)
	}
	for v := range applied {
		return fmt.Errorf("this database has migration %d, which this version of Agentrail does not know: run the newer version", v)
	}
	return nil
}

func loadMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	var out []migration
	for _, name := range names { // Glob sorts
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", name, err)
		}
		number, _, _ := strings.Cut(name, "_")
		v, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("read migration %s: its name begins with no number", name)
		}
		sum := sha256.Sum256(b)
		m := migration{version: uint32(v), name: name, digest: hex.EncodeToString(sum[:])}
		for st := range strings.SplitSeq(string(b), ";\n") {
			if strings.TrimSpace(st) != "" {
				m.statements = append(m.statements, st)
			}
		}
		out = append(out, m)
	}
	return out, nil
}

func appliedMigrations(ctx context.Context, conn driver.Conn) (map[uint32]string, error) {
	rows, err := conn.Query(ctx, "SELECT version, argMax(digest, applied) FROM agentrail_migrations GROUP BY version")
	if err != nil {
		return nil, fmt.Errorf("read table agentrail_migrations: %w", err)
	}
	defer func() { _ = rows.Close() }()
	out := map[uint32]string{}
	for rows.Next() {
		var v uint32
		var digest string
		if err := rows.Scan(&v, &digest); err != nil {
			return nil, fmt.Errorf("read table agentrail_migrations: %w", err)
		}
		out[v] = digest
	}
	return out, rows.Err()
}

func (m *migration) apply(ctx context.Context, conn driver.Conn) error {
	for i, st := range m.statements {
		if err := conn.Exec(ctx, st); err != nil {
			return fmt.Errorf("apply migration %s, statement %d: %w", m.name, i+1, err)
		}
	}
	in := withInsert(ctx, map[string]any{"async_insert": 0}, m.digest, nil)
	if err := insertRow(in, conn, "INSERT INTO agentrail_migrations (version, name, digest, applied)", m.version, m.name, m.digest, time.Now().UTC()); err != nil {
		return fmt.Errorf("note migration %s: %w", m.name, err)
	}
	return nil
}
