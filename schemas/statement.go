package schemas

import "time"

// Statement is the delivery ledger of one sink for the events of one tenant
// that the journal received in one hour, closed: the sink's cursor has passed
// the hour. Seen = Filtered + Accepted + Dead. Difference is how many events
// the journal holds of that hour and the cursor did not pass, or passed and
// the journal does not hold; 0 where every event is accounted for.
type Statement struct {
	Sink       string    `json:"sink"`
	Tenant     string    `json:"tenant"`
	Hour       time.Time `json:"hour"` // its beginning, UTC
	From       uint64    `json:"from"` // offset of the first batch with such events
	To         uint64    `json:"to"`   // offset behind the last
	Seen       int64     `json:"seen"`
	Filtered   int64     `json:"filtered"`
	Accepted   int64     `json:"accepted"`
	Indexed    int64     `json:"indexed"` // of the accepted ones, those that the receiver confirmed
	Dead       int64     `json:"dead"`
	Difference int64     `json:"difference"`
	Partial    bool      `json:"partial,omitempty"` // the sink was new in that hour: what came before it is not compared
	At         time.Time `json:"at"`                // end of the hour
}
