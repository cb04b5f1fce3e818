// Package api is the server's own HTTP API under /agentrail/v1/: queries,
// controls, the live stream, dead letters and cursors, and beside it the health
// and metrics paths. What a caller sees is decided by its credential alone:
// the tenant never comes from a path, a query or a body.
package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/internal/rest"
	"github.com/agentrail/agentrail/schemas"
)

// Prefix of all paths of the server's own API.
const Prefix = "/agentrail/v1"

// Options of the API. All functions are called concurrently.
type Options struct {
	// Require is the authentication middleware: it lets callers with one of
	// the roles through, as auth.Tokens.Require does. Mandatory.
	Require func(next http.Handler, roles ...auth.Role) http.Handler
	// Operator is the tenant that runs this server. Only its principals may
	// see and change what belongs to the whole pipeline: status, cursors,
	// metrics, retention. Empty: every tenant's may.
	Operator string
	// Store answers queries. Zero functions answer 501, unless Recent can.
	Store Store
	// Recent answers queries from memory where the store cannot: there is none,
	// it returns ErrNotOpen, or it does not have the newest yet. Functions may
	// be nil.
	Recent Store
	// Lives returns where alerts are in their lives, by id, as far as that is
	// kept in memory; History what happened to one, in order, or ErrNotFound.
	// Nil: only what detectors said is known.
	Lives   func(tenant string, ids []string) map[string]*schemas.Life
	History func(ctx context.Context, tenant, id string) ([]schemas.LifeEvent, error)
	// Record returns a record from the journal by its place, with Raw, or
	// ErrNotFound. Nil: evidence comes from the store only.
	Record func(ctx context.Context, tenant string, at schemas.Evidence) (Event, error)
	// NoteRead puts on record that the caller of the request is shown the content
	// of these; on an error nothing is shown. Nil: reads are not recorded.
	NoteRead func(r *http.Request, ids ...string) error
	// Append stores a batch, as Journal.Append. Mandatory.
	Append func(ctx context.Context, b *schemas.Batch) (uint64, error)
	// Own makes a batch of our own documents, as decode.Own. Mandatory.
	Own func(tenant string, class schemas.Class, kind string, received int64, docs ...any) (*schemas.Batch, error)
	// Prove signs a control whose author and roles are from a credential, for
	// whoever carries it out. Nil: controls are not signed.
	Prove func(schemas.Control) (string, error)
	// Open returns a reader of a shard that leaves no trace in the journal and
	// does not hold retention. Mandatory.
	Open func(ctx context.Context, shard int, from journal.From) (Reader, error)
	// Rules says which rules are in force; nil: none can be told.
	Rules RulesFunc
	// DeadLetters is the fold of the dead letters and their controls.
	DeadLetters DeadLetters
	// Cursors is the journal's list of cursors.
	Cursors Cursors
	// Ledger returns the tenant's rows of the delivery ledger, newest hour first.
	Ledger func(ctx context.Context, q LedgerQuery) ([]LedgerRow, error)
	// CheckReplay says what is wrong with a control of the verb sink.replay or
	// sink.replay_stop: ErrNotFound if there is no such sink, ErrQuery if it is
	// asked for wrongly, ErrConsent if the receiver would misdate what is sent.
	// Nil: nothing can be replayed.
	CheckReplay func(ctx context.Context, c schemas.Control) error
	// Survey is what is known about what arrives.
	Survey Survey
	// Head returns the offset that the next batch will have. Nil: streams cannot
	// say how far behind they are.
	Head func() uint64
	// OffsetAt returns the offset of the first batch that was received at that
	// time or later. Nil: streams cannot start at a time.
	OffsetAt func(ctx context.Context, t time.Time) (uint64, error)
	// Status says where the pipeline stands. Mandatory.
	Status func(ctx context.Context) (Status, error)
	// Ready returns what is not ready, for people; none means ready. Mandatory.
	Ready func(ctx context.Context) []string
	// Notes returns what people should know though the server is ready, such as
	// receivers of alerts that cannot be told. Nil: nothing.
	Notes func() []string
	// Metrics answers GET /metrics. Nil: 404.
	Metrics http.Handler

	Version   string           // shown by status and the OpenAPI document
	Log       *slog.Logger     // nil: silent
	Now       func() time.Time // nil: time.Now
	Heartbeat time.Duration    // of streams; 0 means 15 s
	Patience  time.Duration    // a stream whose client takes nothing for so long is cut off; 0 means 10 s
	Streams   int              // open at once; 0 means 64
}

// Store holds the queries that the API asks. Every function must select by the
// tenant it is given and nothing else of other tenants.
type Store struct {
	// Events yields the newest events first, by time and then id, until yield
	// returns an error, which it returns. Raw is left out.
	Events func(ctx context.Context, q Query, yield func(Event) error) error
	// Event returns one event with Raw, or ErrNotFound.
	Event func(ctx context.Context, tenant, id string) (Event, error)
	// Runs returns runs, newest first.
	Runs func(ctx context.Context, q Query) ([]Run, error)
	// Hours returns the activity of each hour, oldest first, by outcome and
	// access. Of the query Since, Until, Agent, Actor, Subscription, Action and
	// Outcome count.
	Hours func(ctx context.Context, q Query) ([]HourTotal, error)
	// Trace returns one trace, or ErrNotFound.
	Trace func(ctx context.Context, tenant, id string) (Trace, error)
	// Traces searches traces by TraceQL. ErrQuery if it is not understood.
	Traces func(ctx context.Context, q TraceQuery) ([]TraceSummary, error)
	// Alerts returns the newest transition of each alert, newest first.
	Alerts func(ctx context.Context, q Query) ([]schemas.Alert, error)
	// Alert returns all transitions of one alert in order, or ErrNotFound. The
	// beginning of an id is enough; ErrAmbiguous says that several have it.
	Alert func(ctx context.Context, tenant, id string) ([]schemas.Alert, error)
}

// HourTotal is how many events of one outcome and access there were in the hour
// that begins then.
type HourTotal struct {
	Hour            time.Time
	Outcome, Access string
	Count           uint64
}

// Errors of the functions of Options.
var (
	// ErrNotFound says that there is no such thing in that tenant.
	ErrNotFound = errors.New("not found")
	// ErrStarting says that it is not known yet: the server has just started.
	ErrStarting = errors.New("not known yet")
	// ErrAmbiguous says that several things have ids that begin so.
	ErrAmbiguous = errors.New("several ids begin so")
	// ErrNotOpen says that the store cannot be asked yet.
	ErrNotOpen = errors.New("store is not open")
	// ErrState says that what was asked for makes no sense in the state.
	ErrState = errors.New("not in this state")
	// ErrQuery says that a query is not TraceQL, or arguments are not as they
	// should be.
	ErrQuery = errors.New("query is not understood")
	// ErrConsent says that what is asked for has a consequence that the caller
	// must have agreed to.
	ErrConsent = errors.New("needs consent")
)

// AnsweredFrom is the header that says "memory" where a list was answered from
// memory: it holds the newest only.
const AnsweredFrom = "Agentrail-Answered-From"

// fromMemory says so.
func fromMemory(w http.ResponseWriter) { w.Header().Set(AnsweredFrom, "memory") }

// Reader reads one shard of the journal in order. A journal.Cursor is one.
type Reader interface {
	Next(ctx context.Context) (*schemas.Batch, error)
	io.Closer
}

// Roles that may read, read content, and change the pipeline.
var (
	readers    = []auth.Role{auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin, auth.RoleAuditor}
	contents   = []auth.Role{auth.RoleAnalyst, auth.RoleAdmin, auth.RoleAuditor}
	changers   = []auth.Role{auth.RoleAnalyst, auth.RoleAdmin}
	moderators = []auth.Role{auth.RoleModerator, auth.RoleAdmin}
	lookers    = []auth.Role{auth.RoleViewer, auth.RoleAnalyst, auth.RoleModerator, auth.RoleAdmin, auth.RoleAuditor}
	askers     = []auth.Role{auth.RoleAnalyst, auth.RoleModerator, auth.RoleAdmin} // of controls; each verb says more
)

type api struct {
	o       Options
	log     *slog.Logger
	now     func() time.Time
	streams chan struct{} // one token for each open stream
}

// Route is one path of the API and who may use it; no roles means everybody,
// credential or not.
type route struct {
	pattern  string // "GET /path"
	roles    []auth.Role
	operator bool // only the operator's tenant
	handle   http.HandlerFunc
}

// Server is the handler of everything under Prefix and of /metrics, /livez and
// /readyz.
type Server struct {
	http.Handler
	a *api
}

// New returns the server's API.
func New(o Options) (*Server, error) {
	if o.Require == nil || o.Append == nil || o.Own == nil || o.Open == nil || o.Status == nil || o.Ready == nil {
		return nil, errors.New("open api: require, append, own, open, status and ready are mandatory")
	}
	a := &api{o: o, log: o.Log, now: o.Now}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.o.Heartbeat <= 0 {
		a.o.Heartbeat = 15 * time.Second
	}
	if a.o.Patience <= 0 {
		a.o.Patience = 10 * time.Second
	}
	if a.o.Streams <= 0 {
		a.o.Streams = 64
	}
	a.streams = make(chan struct{}, a.o.Streams)

	mux := http.NewServeMux()
	for _, r := range a.routes() {
		mux.Handle(r.pattern, a.guard(r))
	}
	mux.HandleFunc("/", a.unknown)
	return &Server{rest.Recover(rest.Methods(mux), a.log), a}, nil
}

func (a *api) routes() []route {
	streamers := append([]auth.Role{auth.RoleExecutor}, readers...)
	return []route{
		{"GET " + Prefix + "/events", readers, false, a.events},
		{"GET " + Prefix + "/events/{id}", readers, false, a.event},
		{"GET " + Prefix + "/runs", readers, false, a.runs},
		{"GET " + Prefix + "/traces", contents, false, a.traces},
		{"GET " + Prefix + "/traces/{id}", readers, false, a.trace},
		{"GET " + Prefix + "/alerts", readers, false, a.alerts},
		{"GET " + Prefix + "/alerts/{id}", readers, false, a.alert},
		{"POST " + Prefix + "/control", askers, false, a.control},
		{"GET " + Prefix + "/stream", streamers, false, a.stream},
		{"GET " + Prefix + "/dlq", readers, false, a.dlq},
		{"GET " + Prefix + "/dlq/{id}", contents, false, a.deadLetter},
		{"GET " + Prefix + "/ledger", readers, false, a.ledger},
		{"GET " + Prefix + "/cursors", readers, true, a.cursors},
		{"GET " + Prefix + "/rules", readers, false, a.rules},
		{"POST " + Prefix + "/cursors/rm", []auth.Role{auth.RoleAdmin}, true, a.removeCursor},
		{"GET " + Prefix + "/status", readers, true, a.status},
		{"GET " + Prefix + "/doctor", readers, false, a.doctor},
		{"GET " + Prefix + "/busiest", readers, false, a.busiest},
		{"GET " + Prefix + "/openapi.json", nil, false, a.openapi},
		{"GET /metrics", readers, true, a.metrics},
		{"GET /livez", nil, false, a.livez},
		{"GET /readyz", nil, false, a.readyz},
	}
}

// guard puts the route behind its roles and, for what belongs to the whole
// pipeline, behind the operator's tenant.
func (a *api) guard(r route) http.Handler {
	var h http.Handler = r.handle
	if r.operator {
		h = a.operatorOnly(h)
	}
	if len(r.roles) > 0 {
		h = a.o.Require(h, r.roles...)
	}
	return h
}

func (a *api) operatorOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.operator(r) {
			notOperator(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// notOperator answers a caller of another tenant.
func notOperator(w http.ResponseWriter) {
	problem.Write(w, problem.Details{
		Status: http.StatusForbidden, Title: "Forbidden", Code: "not_operator",
		Detail: "this concerns the pipeline of all tenants; use a token of the tenant that runs the server",
	})
}

func (a *api) operator(r *http.Request) bool {
	return a.o.Operator == "" || principal(r).Tenant == a.o.Operator
}

// principal returns the caller. Routes with roles always have one.
func principal(r *http.Request) *auth.Principal {
	p, ok := auth.FromContext(r.Context())
	if !ok {
		panic("BUG: route without middleware asks for its caller")
	}
	return p
}

func (a *api) unknown(w http.ResponseWriter, r *http.Request) {
	problem.Write(w, problem.Details{
		Status: http.StatusNotFound, Title: "Not found", Code: "no_such_path",
		Detail: "there is no " + r.URL.Path + "; GET " + Prefix + "/openapi.json lists the paths",
	})
}

// fail answers for an error of a function of Options.
func (a *api) fail(w http.ResponseWriter, r *http.Request, what string, err error) {
	switch {
	case errors.Is(err, ErrNotFound):
		problem.Write(w, problem.Details{
			Status: http.StatusNotFound, Title: "Not found", Code: "not_found",
			Detail: "there is no such " + what + " in this tenant",
		})
	case errors.Is(err, ErrAmbiguous):
		refuse(w, badParamf("%v; write more of it", err))
	case errors.Is(err, ErrState):
		problem.Write(w, problem.Details{Status: http.StatusConflict, Title: "Not in this state", Code: "state", Detail: err.Error()})
	case errors.Is(err, ErrConsent):
		problem.Write(w, problem.Details{Status: http.StatusConflict, Title: "Needs consent", Code: "needs_consent", Detail: err.Error()})
	case errors.Is(err, ErrQuery):
		refuse(w, err)
	case errors.Is(err, ErrStarting):
		problem.Write(w, problem.Details{
			Status: http.StatusServiceUnavailable, Title: "Still starting", Code: "starting", Detail: err.Error(), RetryAfter: time.Second,
		})
	case errors.Is(err, journal.ErrPushback), errors.Is(err, journal.ErrClosed):
		problem.Write(w, problem.Details{
			Status: http.StatusServiceUnavailable, Title: "Journal takes nothing now", Code: "journal_unavailable",
			Detail: err.Error(), RetryAfter: 5 * time.Second,
		})
	case r.Context().Err() != nil: // the client is gone; nobody reads the answer
	default:
		a.log.Error("answer request", "path", r.URL.Path, "err", err)
		problem.Write(w, problem.Details{
			Status: http.StatusServiceUnavailable, Title: "Temporarily unavailable", Code: "unavailable",
			Detail: "the " + what + " cannot be read now; see the server's log and GET /readyz", RetryAfter: 5 * time.Second,
		})
	}
}

// off answers for a part that this server runs without.
func off(w http.ResponseWriter, part string) {
	problem.Write(w, problem.Details{
		Status: http.StatusNotImplemented, Title: "Switched off", Code: "switched_off",
		Detail: "this server runs without " + part + "; see store.kind in its config",
	})
}
