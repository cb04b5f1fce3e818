package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/internal/auth"
)

// maxAct caps the form of an act, bytes; many alerts may be ticked in it.
const maxAct = 256 << 10

// act puts what a form asks for on record, once for each target, and goes back
// to the page that the form was on. Nothing else happens here: whoever carries
// controls out reads them in the journal, and the pages show what came of it.
func (c *Console) act(w http.ResponseWriter, r *http.Request) {
	user, _ := auth.FromContext(r.Context())
	f := &frame{User: user, Version: c.o.Version, Nav: "", Path: "/"}
	r.Body = http.MaxBytesReader(w, r.Body, maxAct)
	if err := r.ParseForm(); err != nil {
		c.say(w, f, http.StatusBadRequest, "Not understood", "The form could not be read.", "Go back and send it again.")
		return
	}
	back := next(r.PostForm.Get("next"))
	req := api.ControlRequest{
		Verb: r.PostForm.Get("verb"), Reason: strings.TrimSpace(r.PostForm.Get("reason")), TTL: strings.TrimSpace(r.PostForm.Get("ttl")), Args: map[string]string{},
	}
	for name, values := range r.PostForm {
		if arg, ok := strings.CutPrefix(name, "arg."); ok && values[0] != "" {
			req.Args[arg] = values[0]
		}
	}
	targets := r.PostForm["target"]
	if len(targets) == 0 {
		c.say(w, f, http.StatusBadRequest, "Nothing chosen", "No row was ticked, so there is nothing to do.", "Go back and tick what it is about.")
		return
	}
	done := ""
	for _, target := range targets {
		req.Target = target
		receipt, err := c.o.Ask(r.Context(), user, req)
		if err != nil {
			c.refuseAct(w, r, f, req, err)
			return
		}
		done = receipt.Control.ID
	}
	http.Redirect(w, r, withAsked(back, done), http.StatusSeeOther)
}

// withAsked adds the id of the control to the address of a page, which then
// says what became of it.
func withAsked(back, id string) string {
	u, err := url.Parse(back)
	if err != nil {
		return back
	}
	q := u.Query()
	q.Set("asked", id)
	u.RawQuery = q.Encode()
	return u.RequestURI()
}

func (c *Console) refuseAct(w http.ResponseWriter, r *http.Request, f *frame, req api.ControlRequest, err error) {
	var no *api.Forbidden
	switch {
	case errors.As(err, &no):
		c.say(w, f, http.StatusForbidden, "Not allowed", no.Error()+".", "Ask somebody who has it; your request was not put on record.")
	case api.IsBadRequest(err):
		c.say(w, f, http.StatusBadRequest, "Not understood", err.Error()+".", "Go back, change it, and send it again.")
	case errors.Is(err, api.ErrState):
		c.say(w, f, http.StatusConflict, "Not possible now", err.Error()+".", "Somebody may have been faster; look at the page again.")
	default:
		c.fail(w, r, f, err)
	}
}

// deed is a form by which a visitor asks for something.
type deed struct {
	Verb, Target string
	Label        string // of the button
	Hint         string // what it does
	Next         string // page to go back to
	TTL          string // suggestion for how long; empty: not asked
	TTLFree      bool   // may be left empty
	Args         map[string]string
	Strong       bool // stops or removes something
}

// ID tells the fields of one form from those of another on the page.
func (d deed) ID() string {
	return "d-" + strings.NewReplacer(".", "-", "_", "-").Replace(d.Verb) + "-" + digestOf(d.Target)
}

// deeds are the forms that the visitor's roles allow.
func deeds(user *auth.Principal, next string, all ...deed) []deed {
	var out []deed
	for _, d := range all {
		if d.Target != "" && api.May(user, d.Verb) {
			d.Next = next
			out = append(out, d)
		}
	}
	return out
}
