package api

import (
	"context"
	"net/http"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// DeadLetters is the fold of the dead letters and of the controls on them.
type DeadLetters struct {
	// List returns at most limit open dead letters of the tenant, newest
	// first, of one consumer or, if it is empty, of all.
	List func(ctx context.Context, tenant, consumer string, limit int) ([]schemas.DeadLetter, error)
	// Get returns one, with its bytes, or ErrNotFound.
	Get func(ctx context.Context, tenant, id string) (schemas.DeadLetter, error)
}

// DeadLetter is a dead letter in a list: without its bytes.
type DeadLetter struct {
	ID       string    `json:"id"`
	Consumer string    `json:"consumer"`
	Shard    uint16    `json:"shard"`
	Offset   uint64    `json:"offset"`
	Index    uint32    `json:"index"`
	Line     int       `json:"line,omitempty"`
	EventID  string    `json:"event_id,omitempty"`
	Code     string    `json:"code"`
	Reason   string    `json:"reason"`
	Size     int       `json:"size"`
	Attempts int       `json:"attempts"`
	At       time.Time `json:"at"`
}

// DeadLetterList answers GET dlq.
type DeadLetterList struct {
	DeadLetters []DeadLetter `json:"dead_letters"`
	More        bool         `json:"more"`
}

func (a *api) dlq(w http.ResponseWriter, r *http.Request) {
	v, err := params(r, dlqParams...)
	if err != nil {
		refuse(w, err)
		return
	}
	limit, err := parseLimit(v, MaxLimit)
	if err != nil {
		refuse(w, err)
		return
	}
	if a.o.DeadLetters.List == nil {
		off(w, "a list of dead letters")
		return
	}
	rows, err := a.o.DeadLetters.List(r.Context(), principal(r).Tenant, v.Get("consumer"), limit+1)
	if err != nil {
		a.fail(w, r, "dead letters", err)
		return
	}
	list := DeadLetterList{DeadLetters: []DeadLetter{}}
	for _, d := range rows {
		list.DeadLetters = append(list.DeadLetters, DeadLetter{
			ID: d.ID, Consumer: d.Consumer, Shard: d.Shard, Offset: d.Offset, Index: d.Index, Line: d.Line,
			EventID: d.EventID, Code: d.Code, Reason: d.Reason, Size: d.Size, Attempts: d.Attempts, At: d.At,
		})
	}
	list.DeadLetters, list.More = cut(list.DeadLetters, limit)
	writeJSON(w, http.StatusOK, list)
}

func (a *api) deadLetter(w http.ResponseWriter, r *http.Request) {
	if _, err := params(r); err != nil {
		refuse(w, err)
		return
	}
	if a.o.DeadLetters.Get == nil {
		off(w, "a list of dead letters")
		return
	}
	d, err := a.o.DeadLetters.Get(r.Context(), principal(r).Tenant, r.PathValue("id"))
	if err != nil {
		a.fail(w, r, "dead letter", err)
		return
	}
	if !a.showing(w, r, d.ID) {
		return
	}
	writeJSON(w, http.StatusOK, d)
}
