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
	var f filter
	if err := errors.Join(q.who(&f), q.what(&f), q.page(&f)); err != nil {
		return fault[EventRow](err)
	}
	return each(ctx, s.conn, eventSelect+f.String()+" ORDER BY time DESC, id DESC"+q.limit(), f.args, scanEvent)
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
	for e, err := range each(ctx, s.conn, eventSelect+cond+" ORDER BY received DESC LIMIT 1", args, scanEvent) {
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
// query do not count.
func (s *Store) Runs(ctx context.Context, q Query) iter.Seq2[RunRow, error] {
	var f, page filter
	if err := errors.Join(q.who(&f), q.page(&page)); err != nil {
		return fault[RunRow](err)
	}
	page.where = append(page.where, "1")
	stmt := "SELECT run, time, id, received, agent, name, actor, actor_email, owner, subscription, session, trace, toString(initiator), toString(outcome), outcome_text, " +
		"reason, status, duration, backfill FROM (SELECT * FROM runs WHERE " + f.String() + " ORDER BY run, version DESC, received DESC LIMIT 1 BY run) WHERE " +
		page.String() + " ORDER BY time DESC, id DESC" + q.limit()
	return each(ctx, s.conn, stmt, append(f.args, page.args...), func(rows driver.Rows) (r RunRow, err error) {
		var id string
		var duration int64
		err = rows.Scan(&r.Run, &r.Time, &id, &r.Received, &r.Agent, &r.Name, &r.Actor, &r.ActorEmail, &r.Owner, &r.Subscription, &r.Session, &r.Trace,
			&r.Initiator, &r.Outcome, &r.OutcomeText, &r.Reason, &r.Status, &duration, &r.Backfill)
		copy(r.ID[:], id)
		r.Duration = time.Duration(duration)
		return r, err
	})
}
