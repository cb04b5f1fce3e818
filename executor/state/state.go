// Package state is everything of the executor that survives a restart: agents,
// subscriptions, pauses, runs, confirmations, and the records that wait to be
// sent. It is one SQLite file, owned by one process. Whatever changes together
// is one transaction, and what a method has returned without an error is on
// disk.
package state

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/agentrail/agentrail/internal/durable"
)

// What callers branch on.
var (
	ErrLocked    = errors.New("another executor has the data folder")
	ErrCorrupt   = errors.New("the database cannot be read")
	ErrNewer     = errors.New("the database is of a newer version")
	ErrNotFound  = errors.New("not found")
	ErrConflict  = errors.New("conflict")
	ErrBusy      = fmt.Errorf("%w: it runs already", ErrConflict)
	ErrDuplicate = fmt.Errorf("%w: it was started before", ErrConflict)
	ErrExpired   = fmt.Errorf("%w: it has expired", ErrConflict)
	ErrClosed    = errors.New("the store is closed")
)

// Options of a store. Zero values take a default.
type Options struct {
	Log *slog.Logger
	Now func() time.Time
}

// Store holds the state. All methods may be called concurrently.
type Store struct {
	log     *slog.Logger
	now     func() time.Time
	lock    io.Closer
	read    *sql.DB // may only read
	writer  *sql.DB // one connection, which the goroutine of commits owns
	jobs    chan *job
	done    chan struct{} // closed when commits has ended
	closing chan struct{}
	once    sync.Once

	agents        cache[Agent]
	subscriptions cache[Subscription]
	definitions   cache[string]
	changes       atomic.Uint64 // of agents and subscriptions

	braking sync.Mutex // changes of brakes
	brakes  atomic.Pointer[map[target][]Pause]
	waiting atomic.Int64 // records in the outbox
	spans   atomic.Int64 // of these, spans
}

// Open opens the state in a folder, which is made with permissions 0700 if it
// is missing. If another process has it the error is ErrLocked.
func Open(ctx context.Context, dir string, o Options) (_ *Store, err error) {
	s := &Store{log: o.Log, now: o.Now, jobs: make(chan *job, maxGroup), done: make(chan struct{}), closing: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if err := durable.Mkdir(dir); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	s.lock, err = durable.Lock(filepath.Join(dir, "executor.lock"))
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("open %s: %w; stop it, or give this one a folder of its own", dir, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	path := filepath.Join(dir, "executor.db")
	if err := s.open(ctx, path); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, explain(err)), s.release())
	}
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, explain(err)), s.release())
	}
	go s.commits(conn)
	return s, nil
}

// Now is the time by the store's clock, which ends pauses.
func (s *Store) Now() time.Time { return s.now() }

// Close waits for what is being written and gives the folder free.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.closing) })
	<-s.done
	return s.release()
}

func (s *Store) release() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// open opens the file, checks it, brings its schema up to date and reads what
// is answered from memory.
func (s *Store) open(ctx context.Context, path string) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite would make it readable for others
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	pragmas := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)", "cell_size_check(1)"}}
	if s.writer, err = sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+pragmas.Encode()); err != nil {
		return err
	}
	s.writer.SetMaxOpenConns(1)
	if err := check(ctx, s.writer); err != nil {
		return err
	}
	if err := migrate(ctx, s.writer); err != nil {
		return err
	}
	pragmas.Add("_pragma", "query_only(1)")
	if s.read, err = sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+pragmas.Encode()); err != nil {
		return err
	}
	s.read.SetMaxOpenConns(4)
	s.read.SetMaxIdleConns(2)
	if err := s.loadPauses(ctx); err != nil {
		return err
	}
	return s.loadOutbox(ctx)
}

// check finds a file that is damaged before anything rests on it.
func check(ctx context.Context, db *sql.DB) error {
	var found string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		return err
	}
	if found != "ok" {
		return fmt.Errorf("%w: %s; restore it from a copy, or move it away and publish and subscribe again", ErrCorrupt, found)
	}
	return nil
}

//go:embed migrations/*.sql
var migrations embed.FS

// migrate runs the migrations that the file has not had, each in a transaction.
// Their order is that of their names; the number of those done is in the file.
func migrate(ctx context.Context, db *sql.DB) error {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	var done int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&done); err != nil {
		return err
	}
	if done > len(files) {
		return fmt.Errorf("%w (%d, this program knows %d); run the program that wrote it", ErrNewer, done, len(files))
	}
	for i, f := range files[done:] {
		text, err := migrations.ReadFile("migrations/" + f.Name())
		if err != nil {
			panic("BUG: " + err.Error())
		}
		step := fmt.Sprintf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT", text, done+i+1)
		if _, err := db.ExecContext(ctx, step); err != nil {
			return fmt.Errorf("migrate %s: %w", f.Name(), err)
		}
	}
	return nil
}

// explain names the errors of SQLite that an operator can do something about.
func explain(err error) error {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w; restore it from a copy, or move it away and publish and subscribe again", ErrCorrupt, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w; free space on the disk", err)
	}
	return err
}

// NewID returns a new identifier with the prefix.
func NewID(prefix string) string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails: the program ends instead
	return prefix + hex.EncodeToString(b[:])
}

// nano is how times are kept.
func nano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// stamp scans a column of times.
type stamp struct{ to *time.Time }

func (s stamp) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("time is %T", v)
	}
	*s.to = moment(n)
	return nil
}

// rows reads all rows of a query.
func rows[T any](ctx context.Context, db querier, scan func(scanner) (T, error), query string, args ...any) (out []T, err error) {
	r, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, explain(err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for r.Next() {
		v, err := scan(r)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return slices.Clip(out), explain(r.Err())
}

// querier is a pool, or the connection of a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// scanner is a row.
type scanner interface{ Scan(into ...any) error }

// one reads one row; what names it in the error.
func one[T any](r scanner, scan func(scanner) (T, error), what string) (T, error) {
	v, err := scan(r)
	if errors.Is(err, sql.ErrNoRows) {
		return v, fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	if err != nil {
		return v, fmt.Errorf("read %s: %w", what, explain(err))
	}
	return v, nil
}
