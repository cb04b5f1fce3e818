package store

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// HourTotal is how many events of one outcome and access there were in an hour.
type HourTotal struct {
	Hour    time.Time
	Outcome string
	Access  string
	Count   uint64
}

// notActivity are the kinds of our own records, which are nothing that agents or
// people did. The roll-up has no column of the class.
const notActivity = "kind NOT IN ('alert', 'control', 'dead_letter', 'head', 'health', 'statement')"

// Hours yields the activity of each hour, oldest hour first; hours without any
// are left out. It comes from the roll-up, but for one subscription or actor,
// which the roll-up does not know, from the events: ask for a bounded time then.
// Spans are left out, since they tell of the same calls as the records do. Of
// the query, Tenant, From, To, Agent, Actor, Subscription, Action and Outcome
// count.
func (s *Store) Hours(ctx context.Context, q Query) iter.Seq2[HourTotal, error] {
	q.Kind, q.Class, q.Run, q.Trace, q.Tool = "", "", "", "", ""
	var f filter
	from, hour, count := "events_per_hour", "hour", "sum(count)"
	if q.Subscription != "" || q.Actor != "" {
		from, hour, count = "events", "toStartOfHour(time)", "count()"
		if err := errors.Join(q.who(&f), q.what(&f)); err != nil {
			return fault[HourTotal](err)
		}
	} else {
		rolled := q
		rolled.From, rolled.To = time.Time{}, time.Time{}
		if err := errors.Join(rolled.who(&f), rolled.what(&f)); err != nil {
			return fault[HourTotal](err)
		}
		if !q.From.IsZero() {
			f.add("hour >= toStartOfHour(fromUnixTimestamp64Nano({from:Int64}, 'UTC'))", "from", nanos(q.From))
		}
		if !q.To.IsZero() {
			f.add("hour < fromUnixTimestamp64Nano({to:Int64}, 'UTC')", "to", nanos(q.To))
		}
	}
	f.where = append(f.where, notActivity, "kind != 'span'")
	sql := "SELECT " + hour + " AS h, toString(outcome), toString(access), " + count + " FROM " + from + " WHERE " + f.String() + " GROUP BY h, outcome, access ORDER BY h, outcome, access"
	return each(ctx, s, sql, f.args, func(rows driver.Rows) (t HourTotal, err error) {
		return t, rows.Scan(&t.Hour, &t.Outcome, &t.Access, &t.Count)
	})
}
