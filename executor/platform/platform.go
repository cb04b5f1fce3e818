// Package platform is the executor's HTTP API: the platform's own paths for
// subscriptions, runs and single actions, and under /agentrail/v1/executor what
// moderators, responders and people who confirm writes need. Who asks, and on
// whose behalf something is done, comes from the credential alone. Each change
// is on record in the same transaction as the change, and so is each refusal of
// one.
package platform

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/executor/brake"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/internal/rest"
)

// Prefixes of the paths.
const (
	Prefix         = "/agentrail/v1/executor"
	PlatformPrefix = "/api/v1"
)

// Options of the API. Those without a word on nil are mandatory.
type Options struct {
	Tenant  string // whose executor it is
	Require func(next http.Handler, roles ...auth.Role) http.Handler
	Store   *state.Store
	Engine  Engine
	Brake   Brake
	Record  trail.Recorder // of reads and refusals
	Rules   func() *gate.Rules
	// Tools returns the names of the tools that there are.
	Tools func(ctx context.Context) ([]string, error)
	// Token says what the user's credential for a tool may do, and whose it is.
	Token func(user, tool string) (gate.Token, string, error)
	// Faults says what is wrong with spec files that are not used, by agent or file. Nil: nothing is.
	Faults func() map[string]string
	// MayPublish lists the roles that may share and publish agents. Empty: moderators and admins.
	MayPublish []auth.Role
	// Ready returns what is not ready, for people; none means ready.
	Ready func(ctx context.Context) []string
	// Changed is called when subscriptions or what is published have changed. May be nil.
	Changed func()
	// Webhooks starts content-triggered runs. Nil: 404.
	Webhooks http.Handler
	// Mounted are operations of other parts below Prefix, behind the same door.
	Mounted []Mounted
	// MCP is the gateway for MCP clients. Nil: 404.
	MCP http.Handler
	// Metrics answers GET /metrics. Nil: 404.
	Metrics http.Handler

	Version string
	Log     *slog.Logger          // nil: silent
	Now     func() time.Time      // nil: time.Now
	Reg     prometheus.Registerer // nil: no metrics
}

// Mounted is an operation of another part. What it refuses it records itself.
type Mounted struct {
	Method, Path string // below Prefix
	Roles        []auth.Role
	Handle       http.HandlerFunc
}

// Engine runs what is asked for. All methods may be called concurrently.
type Engine interface {
	// Start starts a run, which goes on by itself.
	Start(ctx context.Context, s Start) (state.Run, error)
	// Call makes one single call.
	Call(ctx context.Context, c Single) (Done, error)
	// Answer approves or declines a call that waits.
	Answer(ctx context.Context, confirmation, by string, approve bool) (state.Confirmation, error)
	// Stop cancels the runs that match and says how many that were.
	Stop(match func(state.Run) bool, reason string) int
}

// Start is a run to be started.
type Start struct {
	Agent        string
	Subscription string // of a background run
	User         string // on whose behalf
	Mode         gate.Mode
	DryRun       bool
	Initiator    string
	Content      []byte // that it starts from
	Key          string // the same twice is one run
}

// Single is one call outside of a run of an agent.
type Single struct {
	Tool      string
	User      string
	DryRun    bool
	Arguments json.RawMessage
}

// Done is what became of it.
type Done struct {
	ID           string
	Run          string
	Text         string
	Failed       bool // the tool says that it did
	Truncated    bool
	Verdict      gate.Verdict
	Confirmation *state.Confirmation // that it waits for
}

// Brake pauses and resumes at once, with a record. brake.Brake is one.
type Brake interface {
	Pause(ctx context.Context, kind, target string, until time.Time, by brake.By) (stopped int, err error)
	Resume(ctx context.Context, kind, target string, by brake.By) error
}

type platform struct {
	o       Options
	log     *slog.Logger
	now     func() time.Time
	metrics *metrics
}

// Roles of groups of paths.
var (
	everybody  = []auth.Role{auth.RoleMember, auth.RoleCreator, auth.RoleModerator, auth.RoleAdmin, auth.RoleAnalyst, auth.RoleViewer, auth.RoleAuditor, auth.RoleExecutor}
	readers    = []auth.Role{auth.RoleMember, auth.RoleCreator, auth.RoleModerator, auth.RoleAdmin, auth.RoleAnalyst, auth.RoleViewer, auth.RoleAuditor}
	users      = []auth.Role{auth.RoleMember, auth.RoleCreator, auth.RoleModerator, auth.RoleAdmin}
	reviewers  = []auth.Role{auth.RoleCreator, auth.RoleModerator, auth.RoleAdmin, auth.RoleAnalyst, auth.RoleAuditor}
	admins     = []auth.Role{auth.RoleAdmin}
	moderators = []auth.Role{auth.RoleModerator, auth.RoleAdmin}
	overseers  = []auth.Role{auth.RoleModerator, auth.RoleAdmin, auth.RoleAnalyst, auth.RoleAuditor, auth.RoleViewer} // see what belongs to others
	contents   = []auth.Role{auth.RoleAdmin, auth.RoleAnalyst, auth.RoleAuditor}                                      // see what runs of others put out
	pausers    = []auth.Role{auth.RoleMember, auth.RoleCreator, auth.RoleModerator, auth.RoleAdmin, auth.RoleAnalyst}
	stoppers   = []auth.Role{auth.RoleModerator, auth.RoleAdmin, auth.RoleAnalyst} // pause what belongs to others
)

// route is one path and who may use it. Acts leave a record also when they are
// refused. No roles means everybody, credential or not.
type route struct {
	pattern string
	roles   []auth.Role
	act     trail.Verb // in the record of a refusal; empty: reads, whose refusal is none
	handle  http.HandlerFunc
}

// New returns the handler of all the executor's paths.
func New(o Options) (http.Handler, error) {
	if o.Require == nil || o.Store == nil || o.Engine == nil || o.Brake == nil || o.Record == nil || o.Rules == nil || o.Tools == nil || o.Token == nil || o.Ready == nil {
		return nil, errors.New("open platform: require, store, engine, brake, record, rules, tools, token and ready are mandatory")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Faults == nil {
		o.Faults = func() map[string]string { return nil }
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if len(o.MayPublish) == 0 {
		o.MayPublish = moderators
	}
	p := &platform{o: o, log: o.Log, now: o.Now, metrics: newMetrics(o.Reg)}
	mux := http.NewServeMux()
	for _, r := range p.routes() {
		mux.Handle(r.pattern, p.guard(r))
	}
	for _, m := range o.Mounted {
		mux.Handle(m.Method+" "+Prefix+m.Path, p.guard(route{roles: m.Roles, handle: m.Handle}))
	}
	if o.Webhooks != nil {
		mux.Handle("POST "+Prefix+"/webhooks/{name}", o.Webhooks)
	}
	if o.MCP != nil {
		mux.Handle("/mcp", o.Require(o.MCP, users...))
	}
	mux.HandleFunc("/", unknown)
	return rest.Recover(rest.Methods(mux), p.log), nil
}

func (p *platform) routes() []route {
	own := func(method, path string) string { return method + " " + Prefix + path }
	verb := func(name string) string { return "POST " + PlatformPrefix + "/" + name }
	return []route{
		{verb("createagentsubscription"), users, trail.CreateSubscription, p.createSubscription},
		{verb("editagentsubscription"), users, trail.EditSubscription, p.editSubscription},
		{verb("deleteagentsubscription"), users, trail.DeleteSubscription, p.deleteSubscription},
		{verb("listagentsubscriptions"), readers, "", p.listSubscriptions},
		{verb("runagentsubscription"), users, trail.RunSubscription, p.runSubscription},
		{verb("pauseagentsubscription"), pausers, trail.PauseSubscription, p.pauseSubscription},
		{verb("resumeagentsubscription"), pausers, trail.ResumeSubscription, p.resumeSubscription},
		{verb("runworkflow"), users, trail.RunAgent, p.runAgent},
		{verb("executeactiontool"), users, executeTool, p.executeTool},
		{verb("getworkflowtrace"), readers, "", p.trace},

		{own("GET", "/agents"), readers, "", p.agents},
		{own("GET", "/agents/{name}"), readers, "", p.agent},
		{own("GET", "/agents/{name}/review"), reviewers, "", p.review},
		{own("GET", "/agents/{name}/access"), reviewers, "", p.access},
		{own("POST", "/agents/{name}/publish"), p.o.MayPublish, trail.PublishAgent, p.publish},
		{own("POST", "/agents/{name}/request-changes"), moderators, trail.RequestChanges, p.requestChanges},
		{own("POST", "/agents/{name}/unpublish"), moderators, trail.UnpublishAgent, p.unpublish},
		{own("POST", "/agents/{name}/limit-subscribers"), moderators, trail.LimitSubscribers, p.limitSubscribers},
		{own("GET", "/subscriptions"), overseers, "", p.allSubscriptions},
		{own("GET", "/gates"), readers, "", p.gates},
		{own("GET", "/runs"), readers, "", p.runs},
		{own("GET", "/runs/{id}"), readers, "", p.run},
		{own("GET", "/confirmations"), readers, "", p.confirmations},
		{own("POST", "/confirmations/{id}/approve"), users, trail.AnswerConfirmation, p.approve},
		{own("POST", "/confirmations/{id}/decline"), users, trail.AnswerConfirmation, p.decline},
		{own("GET", "/pauses"), readers, "", p.pauses},
		{own("POST", "/pauses"), stoppers, trail.PauseSubscription, p.pause},
		{own("POST", "/pauses/resume"), moderators, trail.ResumeSubscription, p.resume},
		{own("GET", "/records/parked"), []auth.Role{auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin, auth.RoleAuditor}, "", p.parked},
		{own("POST", "/records/resend"), admins, trail.ResendRecords, p.resend},
		{own("GET", "/openapi.json"), nil, "", p.openapi},
		{"GET /metrics", []auth.Role{auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin, auth.RoleAuditor}, "", p.serveMetrics},
		{"GET /livez", nil, "", p.livez},
		{"GET /readyz", nil, "", p.readyz},
	}
}

// guard lets callers of this tenant with one of the roles through. A change that
// is refused for a missing role is an audit record: somebody tried.
func (p *platform) guard(r route) http.Handler {
	if len(r.roles) == 0 {
		return r.handle
	}
	return p.o.Require(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		who := caller(req)
		if who.Tenant != p.o.Tenant {
			problem.Write(w, problem.Details{
				Status: http.StatusForbidden, Title: "Forbidden", Code: "wrong_tenant",
				Detail: "this executor serves another tenant; ask its operator for a token of that tenant",
			})
			return
		}
		if !who.Has(r.roles...) {
			p.refuse(w, req, r, who)
			return
		}
		r.handle(w, req)
	}), everybody...)
}

// caller returns who asks. Routes with roles always have one.
func caller(r *http.Request) *auth.Principal {
	p, ok := auth.FromContext(r.Context())
	if !ok {
		panic("BUG: route without middleware asks for its caller")
	}
	return p
}

func unknown(w http.ResponseWriter, r *http.Request) {
	problem.Write(w, problem.Details{
		Status: http.StatusNotFound, Title: "Not found", Code: "no_such_path",
		Detail: "the executor has no " + r.URL.Path + "; GET " + Prefix + "/openapi.json lists its paths",
	})
}

func (p *platform) livez(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

func (p *platform) readyz(w http.ResponseWriter, r *http.Request) {
	if why := p.o.Ready(r.Context()); len(why) > 0 {
		problem.Write(w, problem.Details{
			Status: http.StatusServiceUnavailable, Title: "Not ready", Code: "not_ready",
			Detail: strings.Join(why, "; "), RetryAfter: time.Second, Extensions: map[string]any{"not_ready": why},
		})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ready\n"))
}

func (p *platform) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if p.o.Metrics == nil {
		unknown(w, r)
		return
	}
	p.o.Metrics.ServeHTTP(w, r)
}
