package api

import (
	"net/http"
	"time"
)

// LedgerQuery selects rows of the delivery ledger. Tenant is always set, from
// the caller's credential.
type LedgerQuery struct {
	Tenant string
	Sink   string    // empty: all
	Since  time.Time // hours that end after it; zero: all that is known
}

// LedgerRow says what became of the events of the tenant that the journal
// received in one hour at one sink. Seen = Filtered + Accepted + Dead + Waiting.
type LedgerRow struct {
	Sink       string    `json:"sink"`
	Hour       time.Time `json:"hour"` // its beginning
	From       uint64    `json:"from"` // offset of the first batch; 0 with To 0: the sink has done none
	To         uint64    `json:"to"`   // offset behind the last
	Seen       int64     `json:"seen"` // events of the sink's classes in the journal
	Filtered   int64     `json:"filtered"`
	Accepted   int64     `json:"accepted"`
	Indexed    int64     `json:"indexed"` // of the accepted ones, those that the receiver confirmed
	Dead       int64     `json:"dead"`
	Waiting    int64     `json:"waiting"`
	Replayed   int64     `json:"replayed"`
	Difference int64     `json:"difference"` // of a closed hour: events of the journal that the sink's cursor did not pass
	Partial    bool      `json:"partial"`    // the sink was new in that hour: it is not compared with the journal
	Closed     bool      `json:"closed"`     // the hour has its statement in the journal
}

// LedgerList answers GET ledger.
type LedgerList struct {
	Rows []LedgerRow `json:"rows"` // newest hour first
	More bool        `json:"more"`
}

func (a *api) ledger(w http.ResponseWriter, r *http.Request) {
	v, err := params(r, ledgerParams...)
	if err != nil {
		refuse(w, err)
		return
	}
	limit, err := parseLimit(v, MaxLimit)
	if err != nil {
		refuse(w, err)
		return
	}
	q := LedgerQuery{Tenant: principal(r).Tenant, Sink: v.Get("sink")}
	if q.Since, err = parseTime(v, "since", a.now()); err != nil {
		refuse(w, err)
		return
	}
	if a.o.Ledger == nil {
		off(w, "a ledger")
		return
	}
	rows, err := a.o.Ledger(r.Context(), q)
	if err != nil {
		a.fail(w, r, "ledger", err)
		return
	}
	list := LedgerList{}
	list.Rows, list.More = cut(append([]LedgerRow{}, rows...), limit)
	writeJSON(w, http.StatusOK, list)
}
