package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/agentrail/agentrail/schemas"
)

// ErrNotFound says that there is no such row for this tenant.
var ErrNotFound = errors.New("not found")

// Query says which rows are wanted. Empty fields do not restrict. Rows come
// newest first.
type Query struct {
	Tenant string    // Mandatory.
	From   time.Time // event time, inclusive
	To     time.Time // event time, exclusive

	Actor        string // id or e-mail address
	Agent        string
	Action       string // exact, or a prefix that ends with * as in subscription.*
	Outcome      string // ok, denied, error, cancelled, unknown
	Kind         string // api_call, workflow_run, ...
	Class        string // activity, alert, ...
	Run          string
	Trace        string
	Tool         string
	Subscription string

	Limit int    // rows at most; 0: all
	After string // Key of the last row seen: goes on behind it
}

// filter is a WHERE clause and its parameters. Values reach ClickHouse as
// parameters only, never as text of the statement.
type filter struct {
	where []string
	args  []any
}

func (f *filter) add(cond, name string, value any) {
	f.where = append(f.where, cond)
	f.args = append(f.args, clickhouse.Named(name, value))
}

func (f *filter) equal(column, value string) {
	if value != "" {
		f.add("`"+column+"` = {"+column+":String}", column, value)
	}
}

func (f *filter) String() string { return strings.Join(f.where, " AND ") }

// times restricts to the query's window.
func (q *Query) times(f *filter) {
	if !q.From.IsZero() {
		f.add("time >= fromUnixTimestamp64Nano({from:Int64}, 'UTC')", "from", nanos(q.From))
	}
	if !q.To.IsZero() {
		f.add("time < fromUnixTimestamp64Nano({to:Int64}, 'UTC')", "to", nanos(q.To))
	}
}

// who restricts to what events and runs have in common.
func (q *Query) who(f *filter) error {
	if q.Tenant == "" {
		return errors.New("BUG: a query without a tenant")
	}
	f.add("tenant = {tenant:String}", "tenant", q.Tenant)
	q.times(f)
	if q.Actor != "" {
		f.add("(actor = {actor:String} OR actor_email = {actor:String})", "actor", q.Actor)
	}
	f.equal("agent", q.Agent)
	f.equal("run", q.Run)
	f.equal("trace", q.Trace)
	f.equal("subscription", q.Subscription)
	if q.Outcome != "" {
		v, ok := schemas.ParseOutcome(q.Outcome)
		if !ok {
			return fmt.Errorf("unknown outcome %q; known: ok, denied, error, cancelled, unknown", q.Outcome)
		}
		f.add("outcome = {outcome:String}", "outcome", v.String())
	}
	return nil
}

// what restricts to what only events have.
func (q *Query) what(f *filter) error {
	if prefix, ok := strings.CutSuffix(q.Action, "*"); ok {
		f.add("startsWith(action, {action:String})", "action", prefix)
	} else {
		f.equal("action", q.Action)
	}
	f.equal("kind", q.Kind)
	f.equal("tool", q.Tool)
	if q.Class != "" {
		v, ok := schemas.ParseClass(q.Class)
		if !ok {
			return fmt.Errorf("unknown class %q; known: activity, alert, control, evidence, health", q.Class)
		}
		f.add("class = {class:String}", "class", v.String())
	}
	return nil
}

// page restricts to what lies behind the last row seen.
func (q *Query) page(f *filter) error {
	if q.After == "" {
		return nil
	}
	at, id, err := parseKey(q.After)
	if err != nil {
		return err
	}
	f.add("(time, id) < (fromUnixTimestamp64Nano({at:Int64}, 'UTC'), unhex({id:String}))", "at", at)
	f.args = append(f.args, clickhouse.Named("id", id))
	return nil
}

func (q *Query) limit() string {
	if q.Limit > 0 {
		return " LIMIT " + strconv.Itoa(q.Limit)
	}
	return ""
}

// blocks keeps those of an export small: the driver holds a whole one.
func (q *Query) blocks() string {
	if q.Limit > 0 && q.Limit <= pageRows {
		return ""
	}
	return " SETTINGS max_block_size = 8192"
}

// key names a row's place in the order of time.
func key(at time.Time, id schemas.ID) string {
	return strconv.FormatInt(at.UnixNano(), 10) + "." + id.String()
}

func parseKey(s string) (at int64, id string, err error) {
	ns, id, ok := strings.Cut(s, ".")
	at, err = strconv.ParseInt(ns, 10, 64)
	if b, herr := hex.DecodeString(id); !ok || err != nil || herr != nil || len(b) != len(schemas.ID{}) {
		return 0, "", fmt.Errorf("unknown place %q to go on from; give the key of the last row", s)
	}
	return at, id, nil
}

// each runs a query and yields its rows one by one, so that the caller's
// memory does not grow with the answer. The rows end with an error, or with
// the caller's break, or all read.
func each[T any](ctx context.Context, s *Store, sql string, args []any, scan func(driver.Rows) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		ctx, cancel := context.WithCancel(clickhouse.Context(ctx, clickhouse.WithSettings(s.read)))
		defer cancel()
		rows, err := s.conn.Query(ctx, sql, args...)
		if err != nil {
			yield(zero, fmt.Errorf("query ClickHouse: %w", err))
			return
		}
		defer func() {
			cancel() // first: Close reads what is left of a statement that still runs
			_ = rows.Close()
		}()
		for rows.Next() {
			v, err := scan(rows)
			if err != nil {
				yield(zero, fmt.Errorf("read ClickHouse's answer: %w", err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(zero, fmt.Errorf("query ClickHouse: %w", err))
		}
	}
}

// collect reads all rows.
func collect[T any](rows iter.Seq2[T, error]) ([]T, error) {
	var out []T
	for v, err := range rows {
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// fault is a sequence of one error.
func fault[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		yield(zero, err)
	}
}

// Alerts yields the newest transition of each alert, newest evidence first.
// open leaves out those that are resolved. Of the query, Tenant, From, To (by
// last evidence), Actor, Agent, Run and Limit count.
func (s *Store) Alerts(ctx context.Context, q Query, open bool) iter.Seq2[schemas.Alert, error] {
	if q.Tenant == "" {
		return fault[schemas.Alert](errors.New("BUG: a query without a tenant"))
	}
	var f, outer filter
	f.add("tenant = {tenant:String}", "tenant", q.Tenant)
	outer.where = append(outer.where, "1")
	if open {
		outer.where = append(outer.where, "transition != 'resolve'")
	}
	if !q.From.IsZero() {
		outer.add("last_seen >= fromUnixTimestamp64Nano({from:Int64}, 'UTC')", "from", nanos(q.From))
	}
	if !q.To.IsZero() {
		outer.add("last_seen < fromUnixTimestamp64Nano({to:Int64}, 'UTC')", "to", nanos(q.To))
	}
	if q.Actor != "" {
		outer.add("(actor = {actor:String} OR actor_email = {actor:String})", "actor", q.Actor)
	}
	outer.equal("agent", q.Agent)
	outer.equal("run", q.Run)
	sql := "SELECT document FROM (SELECT * FROM alerts WHERE " + f.String() + " ORDER BY id, seq DESC, received LIMIT 1 BY id)" +
		" WHERE " + outer.String() + " ORDER BY last_seen DESC, id" + q.limit()
	return each(ctx, s, sql, append(f.args, outer.args...), scanAlert)
}

// AlertHistory yields every transition of one alert, oldest first.
func (s *Store) AlertHistory(ctx context.Context, tenant, id string) iter.Seq2[schemas.Alert, error] {
	return each(ctx, s, "SELECT document FROM alerts WHERE tenant = {tenant:String} AND id = {id:String} ORDER BY seq, received LIMIT 1 BY seq",
		[]any{clickhouse.Named("tenant", tenant), clickhouse.Named("id", id)}, scanAlert)
}

// AlertIDs returns the first ids of alerts that begin with prefix, sorted.
func (s *Store) AlertIDs(ctx context.Context, tenant, prefix string, limit int) (ids []string, err error) {
	rows := each(ctx, s, "SELECT DISTINCT id FROM alerts WHERE tenant = {tenant:String} AND startsWith(id, {prefix:String}) ORDER BY id LIMIT "+strconv.Itoa(limit),
		[]any{clickhouse.Named("tenant", tenant), clickhouse.Named("prefix", prefix)},
		func(r driver.Rows) (id string, err error) { return id, r.Scan(&id) })
	for id, err := range rows {
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func scanAlert(rows driver.Rows) (a schemas.Alert, err error) {
	var doc string
	if err := rows.Scan(&doc); err != nil {
		return a, err
	}
	return a, json.Unmarshal([]byte(doc), &a)
}
