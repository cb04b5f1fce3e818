package sinks

import (
	"cmp"
	"slices"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// LedgerRow is one line of the delivery ledger: a sink, a tenant and an hour of
// receipt. Seen = Filtered + Accepted + Dead + Waiting.
type LedgerRow struct {
	schemas.Statement
	Waiting  int64 // not delivered yet, or in the making
	Replayed int64 // of the hour's events, sent again on request
	Closed   bool  // the statement is made
}

// Rows returns the tenant's ledger since that time, newest hour first; of one
// sink or, if it is empty, of all. replayed, which may be nil, says how many
// events of an hour were replayed.
func (r *Reconciler) Rows(tenant, sink string, since time.Time, replayed func(sink, tenant string, hour time.Time) int64) []LedgerRow {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := hourOf(since.UnixNano())
	wanted := func(name string, of account) bool {
		return of.Tenant == tenant && of.Hour >= from && (sink == "" || sink == name)
	}
	var out []LedgerRow
	for of, s := range r.closed {
		if wanted(of.sink, of.account) {
			out = append(out, LedgerRow{Statement: s, Closed: true})
		}
	}
	for _, f := range r.o.Forwarders {
		f.book.mu.Lock()
		for _, of := range r.open(f) {
			if _, made := r.closed[statementOf{f.Name(), of}]; made || !wanted(f.Name(), of) {
				continue
			}
			if row := r.unclosed(f, of); row.Seen > 0 || row.Difference != 0 {
				out = append(out, row)
			}
		}
		f.book.mu.Unlock()
	}
	for i := range out {
		if s := &out[i]; replayed != nil {
			s.Replayed = replayed(s.Sink, s.Tenant, s.Hour)
		}
	}
	slices.SortFunc(out, func(a, b LedgerRow) int { return cmp.Or(b.Hour.Compare(a.Hour), cmp.Compare(a.Sink, b.Sink)) })
	return out
}

// unclosed is the row of an hour without a statement: what the journal has of
// the sink's classes and the sink has not done waits. Both locks are held.
func (r *Reconciler) unclosed(f *Forwarder, of account) LedgerRow {
	row := LedgerRow{Statement: r.statement(f, of)}
	row.Difference = 0
	if row.Partial {
		return row
	}
	row.Waiting = r.left(f, of)
	row.Seen += row.Waiting
	return row
}

// left counts what the journal took for the sink and the sink has not passed.
func (r *Reconciler) left(f *Forwarder, of account) (n int64) {
	var passed perClass
	if e := f.book.entries[of]; e != nil {
		passed = e.Passed
	}
	for c, took := range r.took[of] {
		if f.wants(schemas.Class(c), of.Tenant) {
			n += max(0, took-passed[c]) // the count may be behind the sink
		}
	}
	return n
}

// waiting counts it for all accounts.
func (r *Reconciler) waiting(f *Forwarder) (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.book.mu.Lock()
	defer f.book.mu.Unlock()
	for _, of := range r.open(f) {
		if !r.partial(f, of) {
			n += r.left(f, of)
		}
	}
	return n
}
