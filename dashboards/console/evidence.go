package console

import (
	"net/http"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// Evidence says where what proves the journal lies.
type Evidence struct {
	Data      string // folder of the server
	Key       string // file of the public key
	PublicKey string
	Origin    string
}

// evidencePage shows the signed heads, the gaps, and how to verify.
type evidencePage struct {
	*frame
	Evidence Evidence
	LastHead time.Time
	Stale    bool
	Heads    []api.Event
	Gaps     []api.Event
	Exports  []api.Event
	Operator bool
}

// headsShown and the like are how many rows the page shows.
const headsShown = 30

// headEvery is how long a journal may go without a new head before it is worth
// a word: heads come each minute of journal time.
const headEvery = 5 * time.Minute

func (c *Console) evidence(r *http.Request, f *frame) (view, error) {
	f.Title, f.Nav = "Evidence", "evidence"
	ctx, tenant := r.Context(), f.User.Tenant
	p := evidencePage{frame: f, Evidence: c.o.Evidence, Operator: c.operates(f)}
	var err error
	if p.Heads, err = c.newest(ctx, api.Query{Tenant: tenant, Class: "evidence", Kind: "head", Limit: headsShown}); err != nil {
		return view{}, err
	}
	if p.Gaps, err = c.newest(ctx, api.Query{Tenant: tenant, Class: "health", Kind: "health", Action: "journal.*", Limit: headsShown}); err != nil {
		return view{}, err
	}
	for _, verb := range []string{schemas.EventsExported, schemas.CaseExport} {
		rows, err := c.newest(ctx, api.Query{Tenant: tenant, Class: "control", Kind: "control", Action: verb, Limit: headsShown})
		if err != nil {
			return view{}, err
		}
		p.Exports = append(p.Exports, rows...)
	}
	if st, err := c.rates.now(ctx); err == nil && p.Operator {
		p.LastHead = st.LastHead
	}
	if p.LastHead.IsZero() && len(p.Heads) > 0 {
		p.LastHead = p.Heads[0].Time
	}
	p.Stale = !p.LastHead.IsZero() && c.o.Now().Sub(p.LastHead) > headEvery
	return view{template: "evidence.html", fragments: []string{"evidence-state", "evidence-lists"}, every: pageEvery, data: p}, nil
}
