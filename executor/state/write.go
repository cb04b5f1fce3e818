package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// maxGroup is how many changes may share one commit.
const maxGroup = 64

// job is one change that waits for its commit.
type job struct {
	ctx  context.Context
	do   func(*tx) error
	err  error
	tx   tx
	done chan struct{}
}

// tx is the transaction of one change.
type tx struct {
	*writer
	after []func() // run once it is on disk
}

// writer is the one connection that writes, with its statements. The goroutine
// of commits owns it.
type writer struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt // by their text; the texts are those of this package
}

// write does a change in a transaction of its own and returns when it is on
// disk. Changes that come at once share one commit; one that errs is undone
// alone. The change must not use anything of the store but its tx.
func (s *Store) write(ctx context.Context, do func(*tx) error) error {
	j := &job{ctx: ctx, do: do, done: make(chan struct{})}
	select {
	case <-s.closing:
		return ErrClosed
	default:
	}
	select {
	case s.jobs <- j:
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-j.done:
		return j.err
	case <-s.done: // it may have been answered last
		select {
		case <-j.done:
			return j.err
		default:
			return ErrClosed
		}
	}
}

// commits takes changes until the store closes.
func (s *Store) commits(conn *sql.Conn) {
	defer close(s.done)
	defer conn.Close()
	w := &writer{conn: conn, prepared: map[string]*sql.Stmt{}}
	for {
		var group []*job
		select {
		case j := <-s.jobs:
			group = append(group, j)
		case <-s.closing:
			select {
			case j := <-s.jobs: // was there before
				group = append(group, j)
			default:
				return
			}
		}
		for more := true; more && len(group) < maxGroup; {
			select {
			case j := <-s.jobs:
				group = append(group, j)
			default:
				more = false
			}
		}
		s.commit(w, group)
	}
}

// commit does the changes of a group. Statements run without the callers'
// contexts: a transaction that others share is not given up half way.
func (s *Store) commit(w *writer, group []*job) {
	alone := len(group) == 1
	_, err := w.exec("BEGIN IMMEDIATE")
	for _, j := range group {
		if err == nil && !alone {
			_, err = w.exec("SAVEPOINT change")
		}
		if err != nil {
			continue
		}
		if j.err = j.ctx.Err(); j.err == nil {
			j.tx.writer = w
			j.err = j.run()
		}
		if alone {
			continue
		}
		if j.err != nil {
			_, err = w.exec("ROLLBACK TO change")
		}
		if err == nil {
			_, err = w.exec("RELEASE change")
		}
	}
	switch {
	case err == nil && alone && group[0].err != nil:
		_, err = w.exec("ROLLBACK")
	case err == nil:
		_, err = w.exec("COMMIT")
	}
	if err != nil {
		s.log.Error("changes of the state are not kept", "error", err, "changes", len(group))
		_, _ = w.exec("ROLLBACK") // there may be nothing to roll back any more
	}
	for _, j := range group {
		switch {
		case err != nil && j.err == nil:
			j.err = fmt.Errorf("commit: %w", err)
		case j.err == nil:
			for _, f := range j.tx.after {
				f()
			}
		}
		close(j.done)
	}
}

func (j *job) run() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("BUG: a change of the state broke: %v", p)
		}
	}()
	return j.do(&j.tx)
}

// statement returns the prepared statement.
func (w *writer) statement(query string) (*sql.Stmt, error) {
	if st, ok := w.prepared[query]; ok {
		return st, nil
	}
	st, err := w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, explain(err)
	}
	w.prepared[query] = st
	return st, nil
}

// exec runs a statement and returns how many rows it changed.
func (w *writer) exec(query string, args ...any) (int64, error) {
	st, err := w.statement(query)
	if err != nil {
		return 0, err
	}
	r, err := st.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, explain(err)
	}
	return r.RowsAffected()
}

func (w *writer) row(query string, args ...any) scanner {
	st, err := w.statement(query)
	if err != nil {
		return failed{err}
	}
	return st.QueryRowContext(context.Background(), args...)
}

// must is exec of a statement that has to change a row; what names it.
func (t *tx) must(what, query string, args ...any) error {
	n, err := t.exec(query, args...)
	if err != nil {
		return fmt.Errorf("keep %s: %w", what, err)
	}
	if n == 0 {
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	return nil
}

// isDuplicate reports whether a row with that key exists.
func isDuplicate(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}
