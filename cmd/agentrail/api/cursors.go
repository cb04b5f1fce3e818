package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/schemas"
)

// Cursors is the journal's list of cursors.
type Cursors struct {
	List func(ctx context.Context) ([]Cursor, error)
	// Remove forgets a cursor that no consumer holds, so that it holds
	// retention no longer; ErrNotFound if there is none.
	Remove func(ctx context.Context, name string) error
}

// Cursor says how far one consumer has read one shard.
type Cursor struct {
	Name      string    `json:"name"`
	Shard     int       `json:"shard"`
	Offset    uint64    `json:"offset"` // of the next batch it reads
	Lag       uint64    `json:"lag"`    // batches it has still to read
	Updated   time.Time `json:"updated"`
	Abandoned bool      `json:"abandoned"` // no consumer of that name is in the config
}

// CursorList answers GET cursors.
type CursorList struct {
	Cursors []Cursor `json:"cursors"`
}

// CursorRemoval is the body of POST cursors/rm.
type CursorRemoval struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

func (a *api) cursors(w http.ResponseWriter, r *http.Request) {
	if _, err := params(r); err != nil {
		refuse(w, err)
		return
	}
	if a.o.Cursors.List == nil {
		off(w, "a list of cursors")
		return
	}
	rows, err := a.o.Cursors.List(r.Context())
	if err != nil {
		a.fail(w, r, "cursors", err)
		return
	}
	writeJSON(w, http.StatusOK, CursorList{Cursors: append([]Cursor{}, rows...)})
}

// removeCursor appends the control first, so that no cursor goes without its
// reason on record.
func (a *api) removeCursor(w http.ResponseWriter, r *http.Request) {
	if _, err := params(r); err != nil {
		refuse(w, err)
		return
	}
	var req CursorRemoval
	if !readJSON(w, r, &req) {
		return
	}
	if req.Name == "" || strings.TrimSpace(req.Reason) == "" || len(req.Name) > maxTarget || len(req.Reason) > maxReason {
		refuse(w, badParamf("name and reason are mandatory; the reason is kept with the control"))
		return
	}
	if a.o.Cursors.List == nil || a.o.Cursors.Remove == nil {
		off(w, "a list of cursors")
		return
	}
	c, err := a.findCursor(r.Context(), req.Name)
	if err != nil {
		a.fail(w, r, "cursor", err)
		return
	}
	if !c.Abandoned {
		problem.Write(w, problem.Details{
			Status: http.StatusConflict, Title: "Cursor in use", Code: "cursor_in_use",
			Detail: "cursor " + req.Name + " belongs to a consumer in the config; take the consumer out of the config and restart first",
		})
		return
	}
	receipt, err := a.appendControl(r.Context(), principal(r), r.Header.Get("Idempotency-Key"), schemas.Control{Verb: "cursor.rm", Target: req.Name, Reason: req.Reason})
	if err == nil {
		err = a.o.Cursors.Remove(r.Context(), req.Name)
	}
	if err != nil {
		a.fail(w, r, "cursor", err)
		return
	}
	writeJSON(w, http.StatusOK, receipt)
}

func (a *api) findCursor(ctx context.Context, name string) (Cursor, error) {
	rows, err := a.o.Cursors.List(ctx)
	if err != nil {
		return Cursor{}, err
	}
	for _, c := range rows {
		if c.Name == name {
			return c, nil
		}
	}
	return Cursor{}, ErrNotFound
}
