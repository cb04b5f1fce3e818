package api

import (
	"cmp"
	"context"
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

// AlertDetail answers GET alerts/{id}, where the beginning of an id is enough.
type AlertDetail struct {
	Alert       schemas.Alert   `json:"alert"`       // as of its newest transition
	Transitions []schemas.Alert `json:"transitions"` // all of them, in order
	Evidence    []Event         `json:"evidence"`    // the records that it lists, as far as the journal or the store has them, by time
	Missing     []string        `json:"missing"`     // ids of evidence that neither has any more

	History []schemas.LifeStep `json:"history"` // what detectors said and what people did, in order
}

func (a *api) alerts(w http.ResponseWriter, r *http.Request) {
	q, err := query(r, principal(r).Tenant, a.now(), MaxLimit, alertParams...)
	if err != nil {
		refuse(w, err)
		return
	}
	if a.o.Store.Alerts == nil && a.o.Recent.Alerts == nil {
		off(w, "a store")
		return
	}
	limit := q.Limit
	q.Limit++
	rows, err := a.alertRows(w, r, q)
	if err != nil {
		a.fail(w, r, "alerts", err)
		return
	}
	list := AlertList{Alerts: append([]schemas.Alert{}, rows...)}
	list.Alerts, list.More = cut(list.Alerts, limit)
	writeJSON(w, http.StatusOK, list)
}

// alertRows joins what the store and memory have. Memory alone knows what people
// decided, so of an alert that is in both, memory says where it stands.
func (a *api) alertRows(w http.ResponseWriter, r *http.Request, q Query) ([]schemas.Alert, error) {
	var stored, rows []schemas.Alert
	err := ErrNotOpen
	if a.o.Store.Alerts != nil {
		sq := q
		switch q.State {
		case "", string(schemas.StateResolved):
		default:
			sq.State = string(schemas.StateOpen)
		}
		stored, err = a.o.Store.Alerts(r.Context(), sq)
	}
	if a.o.Recent.Alerts == nil {
		return stored, err
	}
	switch {
	case errors.Is(err, ErrNotOpen):
		fromMemory(w)
	case err != nil:
		return nil, err
	}
	if rows, err = a.o.Recent.Alerts(r.Context(), q); err != nil {
		return nil, err
	}
	known := map[string]*schemas.Life{}
	if a.o.Lives != nil {
		ids := make([]string, len(stored))
		for i := range stored {
			ids[i] = stored[i].ID
		}
		known = a.o.Lives(q.Tenant, ids)
	}
	seen := map[string]bool{}
	for i := range rows {
		seen[rows[i].ID] = true
	}
	now := a.now()
	for _, s := range stored {
		if s.Life = known[s.ID]; !seen[s.ID] && q.InState(s.StateAt(now)) {
			rows = append(rows, s)
		}
	}
	slices.SortStableFunc(rows, func(x, y schemas.Alert) int {
		return cmp.Or(y.LastSeen.Compare(x.LastSeen), cmp.Compare(x.ID, y.ID))
	})
	for i := range rows {
		if rows[i].Life != nil {
			l := rows[i].Life.At(now)
			rows[i].Life = &l
		}
	}
	return rows[:min(len(rows), q.Limit)], nil
}

func (a *api) alert(w http.ResponseWriter, r *http.Request) {
	if _, err := params(r); err != nil {
		refuse(w, err)
		return
	}
	if a.o.Store.Alert == nil && a.o.Recent.Alert == nil {
		off(w, "a store")
		return
	}
	p := principal(r)
	all, err := a.transitions(w, r)
	if err != nil {
		a.fail(w, r, "alert", err)
		return
	}
	doc := AlertDetail{Alert: all[len(all)-1], Transitions: all, Evidence: []Event{}, Missing: []string{}}
	if doc.Alert.Life, doc.History, err = a.life(r.Context(), p.Tenant, all); err != nil {
		a.fail(w, r, "history", err)
		return
	}
	var shown []string
	for _, at := range evidence(all) {
		e, err := a.record(r.Context(), p.Tenant, at)
		if errors.Is(err, ErrNotFound) {
			doc.Missing = append(doc.Missing, at.ID)
			continue
		}
		if err != nil {
			a.fail(w, r, "evidence", err)
			return
		}
		if !p.Has(contents...) {
			e.Raw = nil
		}
		if e.Raw != nil {
			shown = append(shown, e.ID)
		}
		doc.Evidence = append(doc.Evidence, e)
	}
	if !a.showing(w, r, shown...) {
		return
	}
	slices.SortFunc(doc.Evidence, func(x, y Event) int { return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.ID, y.ID)) })
	writeJSON(w, http.StatusOK, doc)
}

// life returns where the alert stands and how it came there: from memory, or
// from what detectors said if memory has let go of it.
func (a *api) life(ctx context.Context, tenant string, all []schemas.Alert) (*schemas.Life, []schemas.LifeStep, error) {
	var events []schemas.LifeEvent
	for i := range all {
		events = append(events, schemas.LifeEvent{Alert: &all[i]})
	}
	if a.o.History != nil {
		kept, err := a.o.History(ctx, tenant, all[len(all)-1].ID)
		switch {
		case err == nil && len(kept) > 0:
			events = kept
		case err != nil && !errors.Is(err, ErrNotFound):
			return nil, nil, err
		}
	}
	l, steps := schemas.History(events, a.now())
	if a.o.Lives != nil { // folded at each step, even if not every one is kept
		if known := a.o.Lives(tenant, []string{all[0].ID})[all[0].ID]; known != nil {
			l = known.At(a.now())
		}
	}
	return &l, append([]schemas.LifeStep{}, steps...), nil
}

// transitions asks the store and, where it is not there or lags behind, what is
// in memory.
func (a *api) transitions(w http.ResponseWriter, r *http.Request) ([]schemas.Alert, error) {
	tenant, id := principal(r).Tenant, r.PathValue("id")
	err := ErrNotOpen
	var all []schemas.Alert
	if a.o.Store.Alert != nil {
		all, err = a.o.Store.Alert(r.Context(), tenant, id)
	}
	if a.o.Recent.Alert != nil && (errors.Is(err, ErrNotOpen) || errors.Is(err, ErrNotFound)) {
		fromMemory(w)
		all, err = a.o.Recent.Alert(r.Context(), tenant, id)
	}
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	return all, err
}

// record reads one record of the evidence from the journal or, when retention
// has passed over it, from the store.
func (a *api) record(ctx context.Context, tenant string, at schemas.Evidence) (Event, error) {
	if !isEventID(at.ID) {
		return Event{}, ErrNotFound
	}
	err := ErrNotFound
	var e Event
	if a.o.Record != nil {
		e, err = a.o.Record(ctx, tenant, at)
	}
	if errors.Is(err, ErrNotFound) && a.o.Store.Event != nil {
		if e, err = a.o.Store.Event(ctx, tenant, at.ID); errors.Is(err, ErrNotOpen) {
			err = ErrNotFound
		}
	}
	return e, err
}

// maxEvidence caps the records in one answer.
const maxEvidence = 5 * schemas.MaxEvidence

// evidence returns what the transitions list, each record once, in order.
func evidence(all []schemas.Alert) []schemas.Evidence {
	var out []schemas.Evidence
	seen := map[string]bool{}
	for _, t := range all {
		for _, e := range t.Evidence {
			if !seen[e.ID] && len(out) < maxEvidence {
				seen[e.ID] = true
				out = append(out, e)
			}
		}
	}
	return out
}
