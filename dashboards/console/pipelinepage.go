package console

import (
	"net/http"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// pipelinePage is the way of the records: what comes in, where it stands, what
// goes out, and what could not.
type pipelinePage struct {
	*frame
	Pipeline *pipeline // nil: not for this tenant
	Status   api.Status
	Sources  []api.SourceReport
	Letters  []deadLetter
	More     bool
	Fill     string // of the journal, percent
	Lag      *chart // nil: nothing is known, or
	InStep   bool   // nobody was behind
	Ledger   []ledgerRow
	LedgerOf string // why there is none
}

type deadLetter struct {
	schemas.DeadLetter
	Deeds []deed
}

// maxLetters caps the dead letters on the page.
const maxLetters = 100

func (c *Console) pipelinePage(r *http.Request, f *frame) (view, error) {
	f.Title, f.Nav = "Pipeline", "pipeline"
	p := pipelinePage{frame: f}
	if c.operates(f) {
		p.Pipeline = c.pipeline(r.Context())
		if st, err := c.rates.now(r.Context()); err == nil { // else the picture says that it is not known
			p.Status = st
			p.Fill = percent(float64(st.Journal.Bytes) / float64(max(st.Journal.MaxBytes, 1)))
		}
	}
	if p.Pipeline != nil {
		p.Lag, p.InStep = c.rates.lagChart()
	}
	p.Ledger, p.LedgerOf = c.ledger(r.Context(), f.User.Tenant)
	if c.o.Sources != nil {
		p.Sources = c.o.Sources(f.User.Tenant)
	}
	if c.o.DeadLetters.List != nil {
		rows, err := c.o.DeadLetters.List(r.Context(), f.User.Tenant, "", maxLetters+1)
		if err != nil {
			return view{}, err
		}
		p.More = len(rows) > maxLetters
		for _, l := range rows[:min(len(rows), maxLetters)] {
			p.Letters = append(p.Letters, deadLetter{l, deeds(f.User, r.URL.Path,
				deed{Verb: "dlq.retry", Target: l.ID, Label: "Retry", Hint: "Gives it to " + l.Consumer + " once more."},
				deed{Verb: "dlq.drop", Target: l.ID, Label: "Drop", Strong: true, Hint: "Takes it out of the list. The journal keeps the record."})})
		}
	}
	return view{template: "pipeline.html", fragments: []string{"pipeline", "pipeline-lag", "pipeline-parts", "ledger", "dead-letters"}, data: p}, nil
}
