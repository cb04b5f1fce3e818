package response

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/problem"
)

// Route is one operation of the API, to be mounted below a prefix behind the
// middleware that knows who calls.
type Route struct {
	Method, Path string // of net/http's patterns; Path is empty or begins with /
	Roles        []auth.Role
	Handle       http.HandlerFunc
}

// View is a response as the API shows it.
type View struct {
	state.Response
	Digest   string                `json:"digest,omitempty"` // what an approval is for
	Timeline []state.ResponseEvent `json:"timeline,omitempty"`
}

// List is the answer to GET.
type List struct {
	Responses []View    `json:"responses"`
	More      bool      `json:"more"`
	LastProof time.Time `json:"last_proof,omitzero"` // of the self-test
}

// answer is the body of approve, decline and undo.
type answer struct {
	Reason string `json:"reason"`
	Digest string `json:"digest,omitempty"` // of what was looked at
}

const (
	maxBody      = 64 << 10
	defaultLimit = 100
	maxLimit     = 1000
)

// Routes returns the operations: list, one with its timeline, ask, approve,
// decline and undo.
func (r *Responder) Routes() []Route {
	readers := []auth.Role{auth.RoleViewer, auth.RoleAnalyst, auth.RoleModerator, auth.RoleAdmin, auth.RoleAuditor}
	doers := []auth.Role{auth.RoleAnalyst, auth.RoleModerator, auth.RoleAdmin} // what each may is decided by the action, and on record
	return []Route{
		{http.MethodGet, "", readers, r.list},
		{http.MethodGet, "/{id}", readers, r.show},
		{http.MethodPost, "", doers, r.ask},
		{http.MethodPost, "/{id}/approve", doers, r.answered(func(q *http.Request, p *auth.Principal, a answer) (state.Response, error) {
			return r.Approve(q.Context(), p, q.PathValue("id"), a.Digest, a.Reason)
		})},
		{http.MethodPost, "/{id}/decline", doers, r.answered(func(q *http.Request, p *auth.Principal, a answer) (state.Response, error) {
			return r.Decline(q.Context(), p, q.PathValue("id"), a.Reason)
		})},
		{http.MethodPost, "/{id}/undo", doers, r.answered(func(q *http.Request, p *auth.Principal, a answer) (state.Response, error) {
			return r.Undo(q.Context(), p, q.PathValue("id"), a.Reason)
		})},
	}
}

func (r *Responder) list(w http.ResponseWriter, q *http.Request) {
	f := state.ResponseFilter{Open: q.FormValue("open") == "true", Alert: q.FormValue("alert"), Limit: defaultLimit}
	if s := q.FormValue("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxLimit {
			fail(w, refusal(400, "bad_parameter", "limit is %q; write 1 to %d", s, maxLimit))
			return
		}
		f.Limit = n
	}
	if s := q.FormValue("since"); s != "" {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			fail(w, refusal(400, "bad_parameter", "since is no time of RFC 3339"))
			return
		}
		f.Since = t
	}
	f.Limit++
	all, err := r.o.Store.Responses(q.Context(), f)
	if err != nil {
		fail(w, err)
		return
	}
	f.Limit--
	r.mu.Lock()
	out := List{Responses: []View{}, More: len(all) > f.Limit, LastProof: r.proof.at}
	r.mu.Unlock()
	for i := range all[:min(len(all), f.Limit)] {
		out.Responses = append(out.Responses, View{Response: all[i], Digest: Digest(&all[i])})
	}
	write(w, http.StatusOK, out)
}

func (r *Responder) show(w http.ResponseWriter, q *http.Request) {
	one, events, err := r.o.Store.Response(q.Context(), q.PathValue("id"))
	if err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, View{Response: one, Digest: Digest(&one), Timeline: events})
}

func (r *Responder) ask(w http.ResponseWriter, q *http.Request) {
	var body Request
	p, ok := read(w, q, &body)
	if !ok {
		return
	}
	one, err := r.Ask(q.Context(), p, body)
	if err != nil {
		fail(w, err)
		return
	}
	status := http.StatusAccepted
	if body.DryRun {
		status = http.StatusOK
	}
	write(w, status, View{Response: one, Digest: Digest(&one)})
}

func (r *Responder) answered(do func(*http.Request, *auth.Principal, answer) (state.Response, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		var body answer
		p, ok := read(w, q, &body)
		if !ok {
			return
		}
		one, err := do(q, p, body)
		if err != nil {
			fail(w, err)
			return
		}
		write(w, http.StatusOK, View{Response: one, Digest: Digest(&one)})
	}
}

// read decodes the body strictly and says who calls.
func read(w http.ResponseWriter, q *http.Request, into any) (*auth.Principal, bool) {
	p, ok := auth.FromContext(q.Context())
	if !ok {
		problem.Write(w, problem.Details{Status: http.StatusUnauthorized, Code: "unauthenticated", Detail: "nobody is known to call"})
		return nil, false
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, q.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil && dec.More() {
		err = errors.New("more than one document")
	}
	if err != nil && !errors.Is(err, io.EOF) { // no body is an empty one
		fail(w, refusal(400, "bad_body", "body: %v", err))
		return nil, false
	}
	return p, true
}

func fail(w http.ResponseWriter, err error) {
	no, ok := errors.AsType[*Refusal](err)
	switch {
	case ok:
		problem.Write(w, problem.Details{Status: no.Status, Code: no.Code, Detail: no.Text})
	case errors.Is(err, state.ErrNotFound):
		problem.Write(w, problem.Details{Status: http.StatusNotFound, Code: "not_found", Detail: err.Error()})
	default:
		problem.Write(w, problem.Details{Status: http.StatusInternalServerError, Code: "internal", Detail: fmt.Sprintf("it did not work: %v", err)})
	}
}

func write(w http.ResponseWriter, status int, doc any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(doc) // whoever asked has gone
}
