package console

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// eventList is the page of events.
type eventList struct {
	*frame
	Events   []api.Event
	Query    api.Query
	Since    string
	Outcomes []string
	Classes  []string
	Memory   bool   // answered from memory: the newest only
	Older    string // address of the page behind
	Filtered bool
	Address  string
	Export   string // address of the same rows as a file, without the format
	Saved    []savedFilter
	Search   string // the filters, to be kept under a name
}

// perPage is how many events one page shows.
const perPage = 100

var (
	outcomes = []string{"ok", "denied", "error", "cancelled", "unknown"}
	classes  = []string{"activity", "alert", "control", "evidence", "health"}
)

func (c *Console) events(r *http.Request, f *frame) (view, error) {
	f.Title, f.Nav = "Events", "events"
	l := eventList{frame: f, Outcomes: outcomes, Classes: classes, Address: addressOf(r)}
	if err := l.filters(r, f.User.Tenant, c.o.Now()); err != nil {
		return view{}, err
	}
	l.Query.Limit = perPage + 1
	add := func(e api.Event) error { l.Events = append(l.Events, e); return nil }
	err := api.ErrNotOpen
	if c.o.Store.Events != nil {
		err = c.o.Store.Events(r.Context(), l.Query, add)
	}
	every := 3 * time.Second // the store is not asked at each event
	if errors.Is(err, api.ErrNotOpen) {
		l.Memory, every = true, time.Second
		err = c.o.Recent.Events(r.Context(), l.Query, add)
	}
	if err != nil {
		return view{}, err
	}
	if len(l.Events) > perPage {
		l.Events = l.Events[:perPage]
		q := r.URL.Query()
		q.Set("after", l.Events[perPage-1].Place())
		l.Older = "/events?" + q.Encode()
	}
	l.Search, l.Export = l.search(r, c.o.Now())
	if l.Saved, err = c.savedFilters(r.Context(), f); err != nil {
		return view{}, err
	}
	v := view{template: "events.html", every: every, data: l}
	if l.Query.After == "" {
		v.fragments = []string{"event-list"}
	}
	return v, nil
}

// search returns the filters as they are kept, and the address of everything
// that they select up to now as a file.
func (l *eventList) search(r *http.Request, now time.Time) (kept, export string) {
	q := r.URL.Query()
	for _, name := range []string{"after", "asked", "format"} {
		q.Del(name)
	}
	for name, values := range q {
		if values[0] == "" {
			q.Del(name)
		}
	}
	kept = q.Encode()
	if l.Query.Class == "" {
		q.Del("class")
	} else {
		q.Set("class", l.Query.Class)
	}
	q.Set("until", now.UTC().Format(time.RFC3339Nano))
	q.Set("limit", strconv.Itoa(api.MaxExport))
	return kept, api.Prefix + "/events?" + q.Encode()
}

// placeText is the event's place as the address of its page has it.
func placeText(e api.Event) string { return fmt.Sprintf("%d.%d.%d", e.Shard, e.Offset, e.Index) }

func (l *eventList) filters(r *http.Request, tenant string, now time.Time) error {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &badFilter{"The address cannot be read."}
	}
	text := func(name string) string { return strings.TrimSpace(v.Get(name)) }
	l.Query = api.Query{
		Tenant: tenant, Actor: text("actor"), Agent: text("agent"), Action: text("action"), Tool: text("tool"),
		Subscription: text("subscription"), Run: text("run"), Trace: text("trace"), After: v.Get("after"),
	}
	l.Filtered = l.Query != api.Query{Tenant: tenant}
	if l.Query.Outcome, err = oneOf(v, "outcome", outcomes...); err != nil {
		return err
	}
	class, err := oneOf(v, "class", append(slices.Clone(classes), "all")...)
	if err != nil {
		return err
	}
	l.Filtered = l.Filtered || l.Query.Outcome != "" || class != ""
	switch class {
	case "":
		l.Query.Class = "activity"
	case "all":
	default:
		l.Query.Class = class
	}
	if l.Since = text("since"); l.Since != "" {
		l.Filtered = true
		if l.Query.Since, err = api.ParseTime(l.Since, now); err != nil {
			return &badFilter{fmt.Sprintf("since is %q; write how long ago (15m, 2h, 7d) or a time such as 2026-11-23T08:00:00Z", l.Since)}
		}
	}
	if l.Query.After != "" && !api.IsPlace(l.Query.After) {
		return &badFilter{"after is no place in the list; begin from the first page"}
	}
	return nil
}

// eventPage is one event.
type eventPage struct {
	*frame
	record
	Around []api.Event
}

func (c *Console) event(r *http.Request, f *frame) (view, error) {
	f.Title, f.Nav = "Event", "events"
	e, err := c.find(r.Context(), f.User.Tenant, r.PathValue("id"), r.URL.Query().Get("at"))
	if err != nil {
		return view{}, err
	}
	p := eventPage{frame: f, record: newRecord(f, e), Around: c.around(r.Context(), f.User.Tenant, e)}
	return view{template: "event.html", data: p}, nil
}

// find looks for the event where it is said to lie in the journal, in memory
// and in the store.
func (c *Console) find(ctx context.Context, tenant, id, at string) (api.Event, error) {
	if b, err := hex.DecodeString(id); err != nil || len(b) != len(schemas.ID{}) {
		return api.Event{}, api.ErrNotFound
	}
	e, err := api.Event{}, api.ErrNotFound
	if place, ok := parsePlace(id, at); ok {
		e, err = c.o.Record(ctx, tenant, place)
	}
	if errors.Is(err, api.ErrNotFound) && c.o.Recent.Event != nil {
		e, err = c.o.Recent.Event(ctx, tenant, id)
	}
	if errors.Is(err, api.ErrNotFound) && c.o.Store.Event != nil {
		if e, err = c.o.Store.Event(ctx, tenant, id); errors.Is(err, api.ErrNotOpen) {
			err = api.ErrNotFound
		}
	}
	return e, err
}

// parsePlace reads shard.offset.index.
func parsePlace(id, at string) (schemas.Evidence, bool) {
	parts := strings.Split(at, ".")
	if len(parts) != 3 {
		return schemas.Evidence{}, false
	}
	shard, err1 := strconv.ParseUint(parts[0], 10, 16)
	offset, err2 := strconv.ParseUint(parts[1], 10, 63)
	index, err3 := strconv.ParseUint(parts[2], 10, 32)
	return schemas.Evidence{ID: id, Shard: uint16(shard), Offset: offset, Index: uint32(index)}, errors.Join(err1, err2, err3) == nil
}

// record is an event with its bytes as received, for those who may read them.
type record struct {
	Event   api.Event
	Content bool   // the visitor may read content
	Raw     string // as received, at most maxRaw
	Pretty  string // the same as indented JSON, if it is JSON
	Size    int
	Cut     bool
	Sealed  bool
	Digest  string // of the bytes here: matches, differs, or unknown
}

// maxRaw is how much of a record a page shows, bytes.
const maxRaw = 64 << 10

func newRecord(f *frame, e api.Event) record {
	rec := record{Event: e, Content: f.May(), Sealed: slices.Contains(e.Flags, "sealed"), Digest: "unknown"}
	rec.Event.Raw = nil
	if e.Raw == nil || !rec.Content {
		return rec
	}
	sum := sha256.Sum256([]byte(*e.Raw))
	rec.Digest = "differs"
	if hex.EncodeToString(sum[:]) == e.Digest {
		rec.Digest = "matches"
	}
	f.shown = append(f.shown, e.ID)
	rec.Raw, rec.Size = *e.Raw, len(*e.Raw)
	if rec.Cut = rec.Size > maxRaw; rec.Cut {
		rec.Raw = rec.Raw[:maxRaw]
		return rec
	}
	rec.Pretty = indented(rec.Raw)
	return rec
}
