package platform

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/internal/rest"
)

// confirmations lists what waits for a person: the caller's own, or everybody's
// for those who oversee. ?status= picks others than those that wait.
func (p *platform) confirmations(w http.ResponseWriter, r *http.Request) {
	f := state.ConfirmationFilter{Status: or(r.URL.Query().Get("status"), state.Asked), Limit: maxRuns}
	if who := caller(r); !who.Has(overseers...) {
		f.User = who.Name
	}
	rows, err := p.o.Store.Confirmations(r.Context(), f)
	if err != nil {
		p.fail(w, r, "confirmations", err)
		return
	}
	list := ConfirmationList{Confirmations: []Confirmation{}}
	for _, c := range rows {
		list.Confirmations = append(list.Confirmations, confirmationOf(c))
	}
	rest.Write(w, http.StatusOK, list)
}

func (p *platform) approve(w http.ResponseWriter, r *http.Request) { p.answer(w, r, true) }
func (p *platform) decline(w http.ResponseWriter, r *http.Request) { p.answer(w, r, false) }

// answer answers a question. Only the user on whose behalf the call would be
// made may: an approval by anybody else would lend them that user's permissions.
func (p *platform) answer(w http.ResponseWriter, r *http.Request, yes bool) {
	var req struct{}
	if r.ContentLength != 0 && !rest.Read(w, r, rest.MaxBody, &req) {
		return
	}
	id, who := r.PathValue("id"), caller(r)
	c, err := p.o.Store.Confirmation(r.Context(), id)
	if err == nil && !mine(who, c.User) {
		err = state.ErrNotFound
	}
	if err != nil {
		p.fail(w, r, "confirmation "+strconv.Quote(id), err)
		return
	}
	if c.User != who.Name {
		p.deny(w, r, trail.AnswerConfirmation, denial{code: "not_yours", run: c.Run, detail: "only " + c.User + ", on whose behalf the call would be made, may answer; pause the agent to stop it"})
		return
	}
	c, err = p.o.Engine.Answer(r.Context(), id, who.Name, yes)
	if errors.Is(err, state.ErrExpired) {
		problem.Write(w, problem.Details{Status: http.StatusGone, Code: "confirmation_expired", Detail: "the time to answer is over; run it again to be asked again"})
		return
	}
	if err != nil {
		p.fail(w, r, "confirmation "+strconv.Quote(id), err)
		return
	}
	rest.Write(w, http.StatusOK, confirmationOf(c))
}

func confirmationOf(c state.Confirmation) Confirmation {
	return Confirmation{
		ID: c.ID, Run: c.Run, Call: c.Call, User: c.User, Tool: c.Tool, Arguments: c.ArgumentsSHA256, Summary: c.Summary,
		Status: c.Status, AnsweredBy: c.AnsweredBy, Asked: c.Asked, Expires: c.Expires, Answered: c.Answered,
	}
}
