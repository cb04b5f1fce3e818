package platform

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/internal/rest"
)

// Parked is a record that the server has refused for good.
type Parked struct {
	Place  int64     `json:"place"` // names it in a request to send it again
	Source string    `json:"source"`
	ID     string    `json:"id"`
	Bytes  int       `json:"bytes"`
	Reason string    `json:"reason"` // as the server said it
	At     time.Time `json:"at"`     // when it was parked
}

// ParkedList is the answer to a list of parked records, newest first.
type ParkedList struct {
	Records []Parked `json:"records"`
	More    bool     `json:"more"`
}

// ResendRequest is the body of a request to send parked records again.
type ResendRequest struct {
	Places []int64 `json:"places"`
	Reason string  `json:"reason"`
}

// Resent is the answer to it: they wait to be sent.
type Resent struct {
	Records int `json:"records"`
}

// maxParked is how many parked records are listed, and sent again, at once.
const maxParked = 1000

func (p *platform) parked(w http.ResponseWriter, r *http.Request) {
	all, err := p.o.Store.Parked(r.Context(), maxParked+1)
	if err != nil {
		p.fail(w, r, "parked records", err)
		return
	}
	list := ParkedList{Records: []Parked{}, More: len(all) > maxParked}
	for _, one := range all[:min(len(all), maxParked)] {
		list.Records = append(list.Records, Parked{Place: one.Seq, Source: one.Source, ID: one.ID, Bytes: len(one.Body), Reason: one.Reason, At: one.At})
	}
	rest.Write(w, http.StatusOK, list)
}

// resend puts parked records back behind what waits: the server, or what the
// record was refused for, may have changed. One that it has already is no second
// event there.
func (p *platform) resend(w http.ResponseWriter, r *http.Request) {
	var req ResendRequest
	if !rest.Read(w, r, rest.MaxBody, &req) {
		return
	}
	slices.Sort(req.Places)
	req.Places = slices.Compact(req.Places)
	switch {
	case len(req.Places) == 0 || len(req.Places) > maxParked:
		bad(w, "name 1 to %d records in places", maxParked)
		return
	case !(PauseRequest{Reason: req.Reason}).reasoned(w):
		return
	}
	var places []string
	for _, seq := range req.Places {
		places = append(places, strconv.FormatInt(seq, 10))
	}
	act := p.who(r).Act(trail.Act{Verb: trail.ResendRecords, At: p.now(), Reason: req.Reason, Target: strings.Join(places, " ")})
	err := p.o.Store.Resend(r.Context(), req.Places, act)
	if errors.Is(err, state.ErrNotFound) {
		problem.Write(w, problem.Details{Status: http.StatusNotFound, Code: "not_found", Detail: err.Error() + "; none is sent"})
		return
	}
	if err != nil {
		p.fail(w, r, "parked records", err)
		return
	}
	rest.Write(w, http.StatusOK, Resent{Records: len(req.Places)})
}
