package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// job is one insert: some rows of one partition of one table, under a token.
type job struct {
	table string
	token string
	send  func(ctx context.Context, s *Store, j job, mem *scratch) error
}

// makeJobs returns every insert that the plan needs, and the records that
// cannot be written.
func makeJobs(p *plan, raw bool) (out []job, bad []journal.RejectedItem) {
	for _, part := range p.parts {
		rows := p.byPart[part]
		out = append(out, inserts(p, "events", part, rows, rowOverhead, eventColumns())...)
		if raw {
			out = append(out, inserts(p, "raw", part, withContent(rows), contentSize, rawColumns())...)
		}
		out = append(out, inserts(p, "runs", part, runs(rows), rowOverhead, runColumns())...)
		hours := func() []hourRow { return rollUp(rows, part) }
		out = append(out, insertOf("events_per_hour", p.token("events_per_hour", part, 0), hours, hourColumns()))
	}
	out = append(out, spanJobs(p)...)
	if steps := responseRows(p); len(steps) > 0 {
		out = append(out, insertOf("responses", p.token("responses", 0, 0), func() []responseRow { return steps }, responseColumns()))
	}
	alerts, bad := alertRows(p)
	bad = append(bad, p.bad...)
	if len(alerts) > 0 {
		out = append(out, insertOf("alerts", p.token("alerts", 0, 0), func() []alertRow { return alerts }, alertColumns()))
	}
	return out, bad
}

func rowOverhead(row) int   { return 0 }
func contentSize(r row) int { return len(r.Raw) }

// inserts cuts rows into inserts, as they came, and sorts each of them: what
// an insert holds depends on the plan alone.
func inserts(p *plan, table string, part uint32, rows []row, size func(row) int, columns []column[row]) []job {
	var out []job
	for i, c := range chunks(rows, size) {
		out = append(out, insertOf(table, p.token(table, part, i), func() []row { return inKeyOrder(c) }, columns))
	}
	return out
}

// withContent leaves out sealed records: what is encrypted to be forgotten
// later has no copy outside the journal.
func withContent(rows []row) []row {
	sealed := false
	for _, r := range rows {
		sealed = sealed || r.Flags&schemas.FlagSealed != 0
	}
	if !sealed {
		return rows
	}
	var out []row
	for _, r := range rows {
		if r.Flags&schemas.FlagSealed == 0 {
			out = append(out, r)
		}
	}
	return out
}

// runs are the records that end a run.
func runs(rows []row) []row {
	var out []row
	for _, r := range rows {
		if r.Kind == "workflow_run" && r.Class == schemas.ClassActivity && r.Run != "" {
			out = append(out, r)
		}
	}
	return out
}

// insertOf makes the job of one insert. rows are made when its turn comes.
func insertOf[R any](table, token string, of func() []R, columns []column[R]) job {
	return job{table: table, token: token, send: func(ctx context.Context, s *Store, j job, mem *scratch) (err error) {
		rows := of()
		if s.direct != nil {
			sql, _ := statement(j.table, columns)
			err = s.direct.insert(ctx, sql, withToken(s.insert, j.token), mem, func(e *encoder) { block(e, rows, columns) })
		} else {
			err = viaDriver(ctx, s, j, rows, columns, mem)
		}
		if err != nil {
			return fmt.Errorf("insert into %s: %w", j.table, err)
		}
		return nil
	}}
}

// viaDriver inserts into a server.
func viaDriver[R any](ctx context.Context, s *Store, j job, rows []R, columns []column[R], mem *scratch) error {
	sql, types := statement(j.table, columns)
	b, err := s.conn.PrepareBatch(withInsert(ctx, s.insert, j.token, types), sql)
	if err != nil {
		return err
	}
	for i, c := range columns {
		if err := c.fill(b.Column(i), rows, mem); err != nil {
			return errors.Join(fmt.Errorf("column %s: %w", c.name, err), b.Close())
		}
	}
	return b.Send()
}

// run carries out the jobs, two at a time: while one is merged into columns
// here, the engine sorts and writes the other. It returns after all that were
// begun have ended. One failure stops the rest: the plan is offered again.
func (s *Store) run(ctx context.Context, jobs []job) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := make(chan job)
	errs := make([]error, len(s.scratch))
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for j := range next {
				if errs[i] == nil && ctx.Err() == nil {
					if errs[i] = j.send(ctx, s, j, &s.scratch[i]); errs[i] != nil {
						cancel()
					}
				}
			}
		})
	}
	for _, j := range jobs {
		next <- j
	}
	close(next)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return ctx.Err()
}

// alertRows reads the alerts of a plan.
func alertRows(p *plan) (out []alertRow, bad []journal.RejectedItem) {
	for _, part := range p.parts {
		for _, r := range p.byPart[part] {
			if r.Class != schemas.ClassAlert || r.Kind != "alert" {
				continue
			}
			a := alertRow{row: r}
			if err := json.Unmarshal(r.Raw, &a.doc); err != nil {
				bad = append(bad, journal.RejectedItem{Offset: r.Offset, Index: r.Index, Code: "bad_alert", Reason: "read alert: " + err.Error()})
				continue
			}
			out = append(out, a)
		}
	}
	return out, bad
}
