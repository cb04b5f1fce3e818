package trail

import (
	"time"

	"github.com/agentrail/agentrail/executor/gate"
)

// Verb is what was done to an agent, a subscription, a run or a confirmation.
// Its text is the last part of the endpoint in the record.
type Verb string

// Verbs. Those of the platform have its names.
const (
	CreateSubscription Verb = "createagentsubscription"
	EditSubscription   Verb = "editagentsubscription"
	DeleteSubscription Verb = "deleteagentsubscription"
	ListSubscriptions  Verb = "listagentsubscriptions"
	RunSubscription    Verb = "runagentsubscription"
	RunAgent           Verb = "runworkflow"
	ReadTrace          Verb = "getworkflowtrace"

	CreateAgent      Verb = "createworkflow" // its spec was seen for the first time
	EditAgent        Verb = "editworkflow"   // its spec has changed
	PublishAgent     Verb = "publishagent"
	UnpublishAgent   Verb = "unpublishagent"
	RequestChanges   Verb = "requestagentchanges"
	LimitSubscribers Verb = "limitagentsubscribers"

	PauseSubscription  Verb = "pauseagentsubscription"
	ResumeSubscription Verb = "resumeagentsubscription"
	PauseAgent         Verb = "pauseagent"
	ResumeAgent        Verb = "resumeagent"
	PauseActor         Verb = "pauseactor"
	ResumeActor        Verb = "resumeactor"
	PauseTenant        Verb = "pausetenant"
	ResumeTenant       Verb = "resumetenant"

	ResendRecords Verb = "resendrecords" // that were parked

	AskConfirmation    Verb = "askconfirmation"
	AnswerConfirmation Verb = "answerconfirmation"
	ExpireConfirmation Verb = "expireconfirmation"
)

// Act is one thing that was done, or refused, other than a call of a tool.
type Act struct {
	Verb    Verb
	ID      string // of the record; default a new one
	At      time.Time
	Ended   time.Time     // zero: at once
	Status  int           // default StatusOK
	Problem string        // code; empty if it worked
	Reason  string        // why, as whoever did it says
	Verdict *gate.Verdict // where gates were asked
	Changes map[string]Change

	Target string    // actor or tenant that is paused
	Until  time.Time // of a pause that ends by itself, of a question that expires

	Control  string // id of the control that asked for it
	Response string // id of the response that asked for it

	Confirmation string // id
	Call         string // that is to be confirmed
	Tool         string
	Arguments    string // SHA-256 of the arguments to be confirmed
	Answer       string // approved or declined
}

// Change is what a field was and is.
type Change struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Act is the record of it.
func (w Who) Act(a Act) Record {
	if a.ID == "" {
		a.ID = NewID("act")
	}
	if a.Status == 0 {
		a.Status = StatusOK
	}
	request := map[string]any{}
	set(request, "reason", a.Reason)
	set(request, "controlId", a.Control)
	set(request, "responseId", a.Response)
	set(request, "confirmationId", a.Confirmation)
	set(request, "actionRunId", a.Call)
	set(request, "name", Cut(a.Tool, maxName))
	set(request, "argumentsSha256", a.Arguments)
	set(request, "answer", a.Answer)
	if !a.Until.IsZero() {
		request["until"] = stamp(a.Until)
	}
	p := map[string]any{"request": request}
	if a.Target != "" {
		p["target"] = map[string]any{"id": Cut(a.Target, maxName)}
	}
	if a.Verdict != nil {
		p["verdict"] = a.Verdict
	}
	if len(a.Changes) > 0 {
		p["changes"] = a.Changes
	}
	e := entry{endpoint: string(a.Verb), id: a.ID, request: a.ID, at: a.At, status: a.Status, problem: a.Problem, payload: p}
	if !a.Ended.IsZero() {
		e.took = max(0, a.Ended.Sub(a.At))
	}
	return w.audit(e)
}
