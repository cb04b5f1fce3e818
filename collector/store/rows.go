package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/agentrail/agentrail/schemas"
)

// EventRow is an event as the store gives it back.
type EventRow struct {
	ID         schemas.ID
	Digest     schemas.Digest // SHA-256 of the record as received
	Time       time.Time
	Received   time.Time
	Kind       string
	Class      string
	Source     string
	Shard      uint16
	Offset     uint64
	Index      uint32
	Flags      schemas.Flags
	Backfill   bool
	Initiator  string
	Access     string
	Outcome    string
	Autonomous string
	Status     int32
	Duration   time.Duration

	Action       string
	Endpoint     string
	Method       string
	Tool         string
	Target       string
	Actor        string
	ActorEmail   string
	ActorType    string
	Department   string
	Agent        string
	Name         string
	Owner        string
	Subscription string
	Run          string
	Session      string
	Trace        string
	Span         string
	OutcomeText  string
	Reason       string
	IP           string
	UserAgent    string
	SourceID     string
	SourceAction string

	Raw []byte // by EventByID only, where the store keeps raw records
}

// Key is the row's place, for Query.After.
func (e *EventRow) Key() string { return key(e.Time, e.ID) }

const eventSelect = "SELECT id, digest, time, received, kind, toString(class), source, shard, `offset`, `index`, flags, backfill, " +
	"toString(initiator), toString(access), toString(outcome), toString(autonomous), status, duration, action, endpoint, method, tool, target, actor, " +
	"actor_email, actor_type, department, agent, name, owner, subscription, run, session, trace, span, outcome_text, " +
	"reason, ip, user_agent, source_id, source_action FROM events WHERE "

// Events yields the events that the query asks for, newest first.
func (s *Store) Events(ctx context.Context, q Query) iter.Seq2[EventRow, error] {
	hour := func(before time.Time) (time.Time, error) { return s.hourWithEvents(ctx, q.Tenant, before) }
	return newestFirst(q, time.Now(), hour, func(q Query) iter.Seq2[EventRow, error] {
		var f filter
		if err := errors.Join(q.who(&f), q.what(&f), q.page(&f)); err != nil {
			return fault[EventRow](err)
		}
		return each(ctx, s, eventSelect+f.String()+" ORDER BY time DESC, id DESC"+q.limit()+q.blocks(), f.args, scanEvent)
	})
}

// hourWithEvents returns the end of the newest hour in which the tenant has
// events before a time, and the time itself if that hour reaches up to it or
// there is none.
func (s *Store) hourWithEvents(ctx context.Context, tenant string, before time.Time) (time.Time, error) {
	var hour time.Time
	err := s.conn.QueryRow(ctx, "SELECT max(hour) FROM events_per_hour WHERE tenant = {tenant:String} AND hour < fromUnixTimestamp64Nano({before:Int64}, 'UTC')",
		clickhouse.Named("tenant", tenant), clickhouse.Named("before", nanos(before))).Scan(&hour)
	if err != nil {
		return before, fmt.Errorf("query ClickHouse: %w", err)
	}
	if end := hour.Add(time.Hour); hour.Unix() > 0 && end.Before(before) {
		return end, nil
	}
	return before, nil
}

func scanEvent(rows driver.Rows) (e EventRow, err error) {
	var id, digest string
	var flags uint32
	var duration int64
	err = rows.Scan(&id, &digest, &e.Time, &e.Received, &e.Kind, &e.Class, &e.Source, &e.Shard, &e.Offset, &e.Index, &flags, &e.Backfill,
		&e.Initiator, &e.Access, &e.Outcome, &e.Autonomous, &e.Status, &duration, &e.Action, &e.Endpoint, &e.Method, &e.Tool, &e.Target, &e.Actor,
		&e.ActorEmail, &e.ActorType, &e.Department, &e.Agent, &e.Name, &e.Owner, &e.Subscription, &e.Run, &e.Session, &e.Trace, &e.Span, &e.OutcomeText,
		&e.Reason, &e.IP, &e.UserAgent, &e.SourceID, &e.SourceAction)
	copy(e.ID[:], id)
	copy(e.Digest[:], digest)
	e.Flags, e.Duration = schemas.Flags(flags), time.Duration(duration)
	return e, err
}

// EventByID returns one event, with the record as received where the store
// keeps it. id is 32 hexadecimal digits. Where two records of one id with
// different bytes were kept, it returns the one received last.
func (s *Store) EventByID(ctx context.Context, tenant, id string) (EventRow, error) {
	if b, err := hex.DecodeString(id); err != nil || len(b) != len(schemas.ID{}) {
		return EventRow{}, fmt.Errorf("event id %q is not 32 hexadecimal digits", id)
	}
	args := []any{clickhouse.Named("tenant", tenant), clickhouse.Named("id", strings.ToLower(id))}
	const cond = "tenant = {tenant:String} AND id = unhex({id:String})"
	for e, err := range each(ctx, s, eventSelect+cond+" ORDER BY received DESC LIMIT 1", args, scanEvent) {
		if err != nil {
			return e, err
		}
		args = append(args, clickhouse.Named("kind", e.Kind), clickhouse.Named("at", nanos(e.Time)), clickhouse.Named("digest", e.Digest.String()))
		var content string
		err := s.conn.QueryRow(ctx, "SELECT content FROM raw WHERE "+cond+" AND kind = {kind:String} AND time = fromUnixTimestamp64Nano({at:Int64}, 'UTC')"+
			" AND digest = unhex({digest:String}) LIMIT 1", args...).Scan(&content)
		switch {
		case err == nil:
			e.Raw = []byte(content)
		case !errors.Is(err, sql.ErrNoRows):
			return e, fmt.Errorf("query ClickHouse: %w", err)
		}
		return e, nil
	}
	return EventRow{}, fmt.Errorf("event %s: %w", id, ErrNotFound)
}

// RunRow is one run of an agent.
type RunRow struct {
	Run          string
	Time         time.Time // of the record that ended it
	ID           schemas.ID
	Received     time.Time
	Agent        string
	Name         string
	Actor        string
	ActorEmail   string
	Owner        string
	Subscription string
	Session      string
	Trace        string
	Initiator    string
	Outcome      string
	OutcomeText  string
	Reason       string
	Status       int32
	Duration     time.Duration
	Backfill     bool
}

// Key is the row's place, for Query.After.
func (r *RunRow) Key() string { return key(r.Time, r.ID) }

// Runs yields one row a run, newest first. Action, Kind, Class and Tool of the
// query do not count. Where several records of a run are selected, the newest
// one is its row.
func (s *Store) Runs(ctx context.Context, q Query) iter.Seq2[RunRow, error] {
	return func(yield func(RunRow, error) bool) {
		for left := q.Limit; ; {
			rows, more, err := s.pageOfRuns(ctx, q, left)
			if err != nil {
				yield(RunRow{}, err)
				return
			}
			for _, r := range rows {
				if !yield(r, nil) {
					return
				}
				if left--; left == 0 {
					return
				}
			}
			if more == "" {
				return
			}
			q.After = more
		}
	}
}

// Records of runs are asked for some more than are wanted, since a run may have
// several, and at most so many at once.
const (
	spareRecords = 20
	mostRecords  = 10_000
)

// pageOfRuns returns the next runs, and where to go on; empty: these were the last. want is 0 for all.
func (s *Store) pageOfRuns(ctx context.Context, q Query, want int) (out []RunRow, more string, err error) {
	q.Limit = mostRecords
	if want > 0 {
		q.Limit = min(want+spareRecords, mostRecords)
	}
	rows, err := collect(s.runRecords(ctx, q))
	if err != nil || len(rows) == 0 {
		return nil, "", err
	}
	newest, err := s.newestVersions(ctx, q, rows)
	if err != nil {
		return nil, "", err
	}
	for _, r := range rows {
		if newest[r.Run] == r.version() {
			delete(newest, r.Run) // of two that are alike, one
			out = append(out, r)
		}
	}
	if len(rows) == q.Limit {
		more = rows[len(rows)-1].Key()
	}
	return out, more, nil
}

// version orders the records of one run.
type version struct{ at, received int64 }

func (r *RunRow) version() version { return version{nanos(r.Time), nanos(r.Received)} }

// newestVersions returns the newest of the selected records of these runs.
func (s *Store) newestVersions(ctx context.Context, q Query, rows []RunRow) (map[string]version, error) {
	newest := map[string]version{}
	if len(rows) == 0 {
		return newest, nil
	}
	names := make([]string, 0, len(rows))
	for _, r := range rows {
		names = append(names, r.Run)
	}
	var f filter
	if err := q.who(&f); err != nil {
		return nil, err
	}
	f.add("time >= fromUnixTimestamp64Nano({oldest:Int64}, 'UTC')", "oldest", nanos(rows[len(rows)-1].Time))
	f.add("run IN {names:Array(String)}", "names", names)
	type entry struct {
		run string
		version
	}
	for e, err := range each(ctx, s, "SELECT run, tupleElement(v, 1), tupleElement(v, 2) FROM (SELECT run, max(tuple(toUnixTimestamp64Nano(time), toUnixTimestamp64Nano(received))) AS v FROM runs WHERE "+f.String()+" GROUP BY run)", f.args,
		func(rows driver.Rows) (e entry, err error) { return e, rows.Scan(&e.run, &e.at, &e.received) }) {
		if err != nil {
			return nil, err
		}
		newest[e.run] = e.version
	}
	return newest, nil
}

// runRecords yields the selected records of runs, newest first.
func (s *Store) runRecords(ctx context.Context, q Query) iter.Seq2[RunRow, error] {
	var f filter
	if err := errors.Join(q.who(&f), q.page(&f)); err != nil {
		return fault[RunRow](err)
	}
	stmt := "SELECT run, time, id, received, agent, name, actor, actor_email, owner, subscription, session, trace, toString(initiator), toString(outcome), outcome_text, " +
		"reason, status, duration, backfill FROM runs WHERE " + f.String() + " ORDER BY time DESC, id DESC" + q.limit()
	return each(ctx, s, stmt, f.args, func(rows driver.Rows) (r RunRow, err error) {
		var id string
		var duration int64
		err = rows.Scan(&r.Run, &r.Time, &id, &r.Received, &r.Agent, &r.Name, &r.Actor, &r.ActorEmail, &r.Owner, &r.Subscription, &r.Session, &r.Trace,
			&r.Initiator, &r.Outcome, &r.OutcomeText, &r.Reason, &r.Status, &duration, &r.Backfill)
		copy(r.ID[:], id)
		r.Duration = time.Duration(duration)
		return r, err
	})
}
