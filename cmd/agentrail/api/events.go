package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/schemas"
)

// EventList answers GET events in JSON.
type EventList struct {
	Events []Event `json:"events"`
	More   bool    `json:"more"`           // the limit cut the list
	Next   string  `json:"next,omitempty"` // for after=, if there is more
}

// RunList answers GET runs.
type RunList struct {
	Runs []Run  `json:"runs"`
	More bool   `json:"more"`
	Next string `json:"next,omitempty"`
}

func (a *api) events(w http.ResponseWriter, r *http.Request) {
	format, ok := eventFormat(r)
	if !ok {
		problem.Write(w, problem.Details{
			Status: http.StatusNotAcceptable, Title: "Not acceptable", Code: "not_acceptable",
			Detail: "events come as application/json, application/x-ndjson or text/csv; set Accept or format=json|ndjson|csv",
		})
		return
	}
	most := MaxLimit
	if format != "json" {
		most = MaxExport
	}
	q, err := query(r, principal(r).Tenant, a.now(), most, eventParams...)
	if err != nil {
		refuse(w, err)
		return
	}
	if a.o.Store.Events == nil && a.o.Recent.Events == nil {
		off(w, "a store")
		return
	}
	if format == "json" {
		a.eventList(w, r, q)
		return
	}
	a.export(w, r, q, format)
}

// eventFormat returns json, ndjson or csv.
func eventFormat(r *http.Request) (string, bool) {
	if f := r.URL.Query().Get("format"); f != "" {
		return f, f == "json" || f == "ndjson" || f == "csv"
	}
	accept := r.Header.Get("Accept")
	if accept == "" {
		return "json", true
	}
	for part := range strings.SplitSeq(accept, ",") {
		kind, _, _ := strings.Cut(part, ";")
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case "application/json", "application/*", "*/*":
			return "json", true
		case "application/x-ndjson", "application/jsonl":
			return "ndjson", true
		case "text/csv", "text/*":
			return "csv", true
		}
	}
	return "", false
}

func (a *api) eventList(w http.ResponseWriter, r *http.Request, q Query) {
	list := EventList{Events: []Event{}}
	limit := q.Limit
	q.Limit++ // one more says whether there is more
	err := a.eachEvent(w, r, q, func(e Event) error {
		list.Events = append(list.Events, e)
		return nil
	})
	if err != nil {
		a.fail(w, r, "events", err)
		return
	}
	if list.Events, list.More = cut(list.Events, limit); list.More {
		list.Next = list.Events[limit-1].Place()
	}
	writeJSON(w, http.StatusOK, list)
}

// eachEvent yields events of the store or, where it is not there, of memory.
func (a *api) eachEvent(w http.ResponseWriter, r *http.Request, q Query, yield func(Event) error) error {
	err := ErrNotOpen
	if a.o.Store.Events != nil {
		err = a.o.Store.Events(r.Context(), q, yield)
	}
	if errors.Is(err, ErrNotOpen) && a.o.Recent.Events != nil { // nothing was yielded yet
		fromMemory(w)
		err = a.o.Recent.Events(r.Context(), q, yield)
	}
	return err
}

// cut shortens the list to the limit and reports whether it was longer.
func cut[T any](list []T, limit int) ([]T, bool) {
	if len(list) <= limit {
		return list, false
	}
	return list[:limit], true
}

// export streams rows as they come. The status is sent with the first row, so
// that an error before it gets a proper answer; after it, the connection is
// cut, since a part must not look like the whole.
func (a *api) export(w http.ResponseWriter, r *http.Request, q Query, format string) {
	var write func(Event) error
	finish := func() error { return nil }
	begin := func() (err error) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		if format == "ndjson" {
			h.Set("Content-Type", "application/x-ndjson")
			h.Set("Content-Disposition", `attachment; filename="events.ndjson"`)
			write = writeNDJSON(w)
			return nil
		}
		h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
		h.Set("Content-Disposition", `attachment; filename="events.csv"`)
		rows, err := NewCSV(w, EventColumns())
		if err != nil {
			return err
		}
		write, finish = rows.Write, rows.Flush
		return nil
	}
	rows := 0
	err := a.eachEvent(w, r, q, func(e Event) error {
		if write == nil {
			if err := begin(); err != nil {
				return err
			}
		}
		rows++
		return write(e)
	})
	a.exported(r, format, rows)
	if err != nil && write == nil {
		a.fail(w, r, "events", err)
		return
	}
	if err == nil && write == nil {
		err = begin()
	}
	if err == nil {
		err = finish()
	}
	if err != nil {
		if r.Context().Err() == nil {
			a.log.Error("export cut off", "path", r.URL.Path, "err", err)
		}
		panic(http.ErrAbortHandler)
	}
}

// exported puts on record that its caller took rows out, whole or cut off,
// however few and however they were asked for. What makes an export is its form:
// CSV and NDJSON are files, of up to MaxExport rows, that live on where nobody
// here sees them. A JSON document is a list that is read: at most MaxLimit rows,
// as the pages and the tables of the command line show them.
func (a *api) exported(r *http.Request, format string, rows int) {
	c := schemas.Control{
		Verb: schemas.EventsExported, Target: r.URL.RawQuery[:min(len(r.URL.RawQuery), maxTarget)], Reason: "events were exported",
		Args: map[string]string{"format": format, "rows": strconv.Itoa(rows)},
	}
	if _, err := a.appendControl(context.WithoutCancel(r.Context()), principal(r), "", c); err != nil {
		a.log.Error("export is not on record", "rows", rows, "err", err)
	}
}

func writeNDJSON(w io.Writer) func(Event) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return func(e Event) error { return enc.Encode(e) }
}

func (a *api) event(w http.ResponseWriter, r *http.Request) {
	if _, err := params(r); err != nil {
		refuse(w, err)
		return
	}
	if a.o.Store.Event == nil && a.o.Recent.Event == nil {
		off(w, "a store")
		return
	}
	if !isEventID(r.PathValue("id")) {
		refuse(w, badParamf("event id is %q; it has 32 hexadecimal digits", r.PathValue("id")))
		return
	}
	e, err := Event{}, ErrNotOpen
	if a.o.Store.Event != nil {
		e, err = a.o.Store.Event(r.Context(), principal(r).Tenant, r.PathValue("id"))
	}
	if a.o.Recent.Event != nil && (errors.Is(err, ErrNotOpen) || errors.Is(err, ErrNotFound)) {
		fromMemory(w)
		e, err = a.o.Recent.Event(r.Context(), principal(r).Tenant, r.PathValue("id"))
	}
	if err != nil {
		a.fail(w, r, "event", err)
		return
	}
	if !principal(r).Has(contents...) {
		e.Raw = nil
	} else if e.Raw != nil && !a.showing(w, r, e.ID) {
		return
	}
	writeJSON(w, http.StatusOK, e)
}

func (a *api) runs(w http.ResponseWriter, r *http.Request) {
	q, err := query(r, principal(r).Tenant, a.now(), MaxLimit, runParams...)
	if err != nil {
		refuse(w, err)
		return
	}
	if a.o.Store.Runs == nil {
		off(w, "a store")
		return
	}
	limit := q.Limit
	q.Limit++
	rows, err := a.o.Store.Runs(r.Context(), q)
	if err != nil {
		a.fail(w, r, "runs", err)
		return
	}
	list := RunList{Runs: append([]Run{}, rows...)}
	if list.Runs, list.More = cut(list.Runs, limit); list.More {
		list.Next = list.Runs[limit-1].Place()
	}
	writeJSON(w, http.StatusOK, list)
}

// isEventID reports whether the text may be the id of an event.
func isEventID(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 2*len(schemas.ID{})
}
