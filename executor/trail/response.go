package trail

import "time"

// Response is one transition of an answer to an alert: an action on one target
// that was decided, confirmed, held back, taken back.
type Response struct {
	ID       string // of the record; default a new one
	Response string // id of the response; it stands in the record as its run
	Status   string // that it has now; the last part of the endpoint
	At       time.Time
	Code     int    // default StatusOK
	Problem  string // code; empty if it worked
	Text     string // what happened, a sentence

	Action   string
	Target   string
	Policy   string // empty: a person asked
	Author   string
	Reason   string
	Mode     string
	Via      string
	Alert    string
	Rule     string
	Entity   string
	Resolved string // how the target came out of the alert
	Asked    time.Time
	Until    time.Time // when it ends by itself
	Link     string    // of a task: where the person does it
	Assignee string    // of a task: who is to do it
}

// Response is the record of it.
func (w Who) Response(r Response) Record {
	if r.ID == "" {
		r.ID = NewID("act")
	}
	if r.Code == 0 {
		r.Code = StatusOK
	}
	w.Run = r.Response
	action := map[string]any{}
	for key, value := range map[string]string{
		"id": r.Response, "status": r.Status, "text": r.Text, "action": r.Action, "target": r.Target, "policy": r.Policy, "author": r.Author,
		"reason": r.Reason, "mode": r.Mode, "via": r.Via, "alert": r.Alert, "rule": r.Rule, "entity": r.Entity, "resolved": r.Resolved,
		"link": r.Link, "assignee": r.Assignee,
	} {
		set(action, key, value)
	}
	if !r.Until.IsZero() {
		action["until"] = stamp(r.Until)
	}
	p := map[string]any{"responseAction": action, "actionType": "read"}
	if r.Target != "" {
		p["target"] = map[string]any{"id": Cut(r.Target, maxName)}
	}
	e := entry{endpoint: "responseaction/" + r.Status, id: r.ID, request: r.ID, at: r.At, status: r.Code, problem: r.Problem, payload: p}
	if !r.Asked.IsZero() {
		e.took = max(0, r.At.Sub(r.Asked))
	}
	return w.audit(e)
}
