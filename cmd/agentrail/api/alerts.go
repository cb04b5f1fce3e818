package api

import (
	"cmp"
	"errors"
	"net/http"
	"slices"

	"github.com/agentrail/agentrail/schemas"
)

// AlertList answers GET alerts: the newest transition of each alert.
type AlertList struct {
	Alerts []schemas.Alert `json:"alerts"`
	More   bool            `json:"more"`
}

// AlertDetail answers GET alerts/{id}.
type AlertDetail struct {
	Alert       schemas.Alert   `json:"alert"`       // as of its newest transition
	Transitions []schemas.Alert `json:"transitions"` // all of them, in order
	Evidence    []Event         `json:"evidence"`    // the records that it lists, as far as the store has them, by time
	Missing     []string        `json:"missing"`     // ids of evidence that the store does not have (yet, or any more)
}

func (a *api) alerts(w http.ResponseWriter, r *http.Request) {
	q, err := query(r, principal(r).Tenant, a.now(), MaxLimit, alertParams...)
	if err != nil {
		refuse(w, err)
		return
	}
	if a.o.Store.Alerts == nil {
		off(w, "a store")
		return
	}
	limit := q.Limit
	q.Limit++
	rows, err := a.o.Store.Alerts(r.Context(), q)
	if err != nil {
		a.fail(w, r, "alerts", err)
		return
	}
	list := AlertList{Alerts: append([]schemas.Alert{}, rows...)}
	list.Alerts, list.More = cut(list.Alerts, limit)
	writeJSON(w, http.StatusOK, list)
}

func (a *api) alert(w http.ResponseWriter, r *http.Request) {
	if _, err := params(r); err != nil {
		refuse(w, err)
		return
	}
	if a.o.Store.Alert == nil || a.o.Store.Event == nil {
		off(w, "a store")
		return
	}
	p := principal(r)
	all, err := a.o.Store.Alert(r.Context(), p.Tenant, r.PathValue("id"))
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		a.fail(w, r, "alert", err)
		return
	}
	doc := AlertDetail{Alert: all[len(all)-1], Transitions: all, Evidence: []Event{}, Missing: []string{}}
	for _, id := range evidenceIDs(all) {
		var e Event
		err := ErrNotFound
		if isEventID(id) {
			e, err = a.o.Store.Event(r.Context(), p.Tenant, id)
		}
		if errors.Is(err, ErrNotFound) {
			doc.Missing = append(doc.Missing, id)
			continue
		}
		if err != nil {
			a.fail(w, r, "evidence", err)
			return
		}
		if !p.Has(contents...) {
			e.Raw = nil
		}
		doc.Evidence = append(doc.Evidence, e)
	}
	slices.SortFunc(doc.Evidence, func(x, y Event) int { return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.ID, y.ID)) })
	writeJSON(w, http.StatusOK, doc)
}

// maxEvidence caps the records in one answer.
const maxEvidence = 5 * schemas.MaxEvidence

// evidenceIDs returns the ids that the transitions list, each once, in order.
func evidenceIDs(all []schemas.Alert) []string {
	var out []string
	seen := map[string]bool{}
	for _, t := range all {
		for _, e := range t.Evidence {
			if !seen[e.ID] && len(out) < maxEvidence {
				seen[e.ID] = true
				out = append(out, e.ID)
			}
		}
	}
	return out
}
