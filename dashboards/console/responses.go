package console

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/schemas"
)

// responseList is the page of what answered alerts, and what waits for people.
type responseList struct {
	*frame
	Rows      []response.View
	More      bool
	Open      bool
	LastProof time.Time
	None      bool // no executor
	Away      string
}

func (c *Console) responses(r *http.Request, f *frame) (view, error) {
	f.Title, f.Nav = "Responses", "responses"
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return view{}, &badFilter{"The address cannot be read."}
	}
	state, err := oneOf(v, "state", "open", "all")
	if err != nil {
		return view{}, err
	}
	l := responseList{frame: f, Open: state == "open"}
	q := url.Values{"limit": {"200"}}
	if l.Open {
		q.Set("open", "true")
	}
	list, err := c.o.Executor.responses(r.Context(), f.User.Tenant, q)
	l.None, l.Away = errors.Is(err, errNoExecutor), c.unreachable(err)
	l.Rows, l.More, l.LastProof = list.Responses, list.More, list.LastProof
	return view{template: "responses.html", fragments: []string{"response-list"}, data: l}, nil
}

// responsePage is one response with its timeline.
type responsePage struct {
	*frame
	R        response.View
	Deeds    []deed
	Requests []asked // what was asked for on the pages
}

func (c *Console) response(r *http.Request, f *frame) (view, error) {
	id := r.PathValue("id")
	f.Title, f.Nav = "Response "+id, "responses"
	v, err := c.o.Executor.response(r.Context(), f.User.Tenant, id)
	if no, ok := errors.AsType[*refusedAnswer](err); ok && no.status == http.StatusNotFound || errors.Is(err, errNoExecutor) {
		return view{}, api.ErrNotFound
	}
	if err != nil {
		return view{}, err
	}
	p := responsePage{frame: f, R: v, Deeds: responseDeeds(f, r.URL.Path, v)}
	h, err := c.about(r.Context(), f.User.Tenant, id, api.Query{Run: id})
	if err != nil {
		return view{}, err
	}
	p.Requests = h.Asked
	for i := range p.Requests { // the responder answers on its own timeline
		p.Requests[i].Words = "on record; the timeline says what came of it"
		p.Requests[i].State = "done"
	}
	return view{template: "response.html", fragments: []string{"response-body"}, data: p}, nil
}

// responseDeeds are the answers that the response takes.
func responseDeeds(f *frame, next string, v response.View) []deed {
	switch v.Status {
	case response.Waiting:
		return deeds(f.User, next,
			deed{Verb: schemas.ResponseApprove, Target: v.ID, Label: "Approve", Args: map[string]string{"digest": v.Digest}, Strong: true, Hint: "Your yes to exactly this: " + v.Action + " " + v.Target + " through " + v.Via + "."},
			deed{Verb: schemas.ResponseDecline, Target: v.ID, Label: "Decline", Hint: "Your no, which is final."})
	case response.Requested, response.Confirmed, response.Failed:
		return deeds(f.User, next, deed{Verb: schemas.ResponseUndo, Target: v.ID, Label: "Take back", Hint: "Undoes " + v.Action + " " + v.Target + " before its time is over."})
	}
	return nil
}

// answersAbout are the newest responses whose target it is; nothing depends on
// them.
func (c *Console) answersAbout(r *http.Request, tenant, target string) []response.View {
	list, err := c.o.Executor.responses(r.Context(), tenant, url.Values{"limit": {"500"}})
	if err != nil {
		_ = c.unreachable(err)
		return nil
	}
	return slices.DeleteFunc(list.Responses, func(v response.View) bool { return v.Target != target })
}

// answersTo are the responses to an alert; nothing depends on them.
func (c *Console) answersTo(r *http.Request, tenant, alert string) []response.View {
	list, err := c.o.Executor.responses(r.Context(), tenant, url.Values{"alert": {alert}, "limit": {"50"}})
	if err != nil {
		_ = c.unreachable(err)
		return nil
	}
	return list.Responses
}
