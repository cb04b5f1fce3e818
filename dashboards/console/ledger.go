package console

import (
	"context"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// ledgerBack is how far the page's ledger goes back; ledgerRows caps it.
const (
	ledgerBack = 24 * time.Hour
	ledgerRows = 500
)

// ledgerRow is one hour at one sink, with its words.
type ledgerRow struct{ api.LedgerRow }

// State says whether the hour is compared with the journal.
func (r ledgerRow) State() string {
	switch {
	case r.Difference != 0:
		return "differs"
	case r.Closed:
		return "closed"
	}
	return "open"
}

// Words say the same for people.
func (r ledgerRow) Words() string {
	switch {
	case r.Difference != 0:
		return "the journal holds events that the sink did not pass: agentrail replay sends the hour again"
	case r.Closed && r.Partial:
		return "closed; the sink began in that hour"
	case r.Closed:
		return "closed; its statement is on record"
	case r.Partial:
		return "open; the sink began in that hour"
	}
	return "open; closes when the sink has passed it"
}

// ledger returns the rows of a day, newest hour first, or why there are none.
func (c *Console) ledger(ctx context.Context, tenant string) ([]ledgerRow, string) {
	if c.o.Ledger == nil {
		return nil, "This server keeps no ledger."
	}
	rows, err := c.o.Ledger(ctx, api.LedgerQuery{Tenant: tenant, Since: c.o.Now().Add(-ledgerBack)})
	if err != nil {
		c.log.Warn("read ledger", "err", err)
		return nil, "The ledger cannot be read now; see the server's log."
	}
	out := make([]ledgerRow, 0, min(len(rows), ledgerRows))
	for _, r := range rows[:min(len(rows), ledgerRows)] {
		out = append(out, ledgerRow{r})
	}
	return out, ""
}
