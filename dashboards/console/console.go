// Package console is the web page of the server: what an operator sees of the
// pipeline and what an analyst sees of alerts and events. Pages are rendered
// here, work without scripts, and are kept up to date by server-sent events
// that carry the same fragments. Everything that comes from records is foreign
// text: it is made visible and escaped, and nothing of it is ever markup.
package console

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// Options of the console. All functions are called concurrently.
type Options struct {
	// Sessions log browsers in and say who calls. Mandatory.
	Sessions *auth.Sessions
	// Operator is the tenant whose principals see the pipeline; empty: all.
	Operator string
	// Recent answers from memory, and is asked first where it has all that a
	// page shows. Mandatory.
	Recent api.Store
	// Alerts returns the newest transition of at most limit alerts that match,
	// and how many match. Mandatory.
	Alerts func(tenant string, match func(*schemas.Alert) bool, limit int) ([]schemas.Alert, int)
	// History returns what happened to an alert, in order, as far as it is in
	// memory, or api.ErrNotFound. Mandatory.
	History func(ctx context.Context, tenant, id string) ([]schemas.LifeEvent, error)
	// Evicted says how many open alerts are no longer in memory. Mandatory.
	Evicted func(tenant string) int
	// Changed is closed when Recent and Alerts have something new. Mandatory.
	Changed func() <-chan struct{}
	// Store answers what is no longer in memory; functions may be nil.
	Store api.Store
	// Record reads a record from the journal by its place, or returns
	// api.ErrNotFound. Mandatory.
	Record func(ctx context.Context, tenant string, at schemas.Evidence) (api.Event, error)
	// Neighbours returns the records around one, which is among them, at most n
	// on each side. Mandatory.
	Neighbours func(ctx context.Context, tenant string, at schemas.Evidence, n int) ([]api.Event, error)
	// Status says where the pipeline stands, Ready what is not. Mandatory.
	Status func(ctx context.Context) (api.Status, error)
	Ready  func(ctx context.Context) []string

	// Ask puts what a visitor asks for on record, as api.Server.Ask. Mandatory.
	Ask func(ctx context.Context, p *auth.Principal, req api.ControlRequest) (api.ControlReceipt, error)
	// Exported puts on record that the principal takes something away. Mandatory.
	Exported func(ctx context.Context, p *auth.Principal, verb, target string) error
	// Seal signs the files of a case and returns those that prove it. Nil: cases
	// cannot be exported.
	Seal func(ctx context.Context, about []string, files []CaseFile) ([]CaseFile, error)
	// Executor says what is subscribed to, paused and answered. Nil: pages are
	// made from records and say so.
	Executor *Executor
	// Rules says which rules are in force, Ledger what became of events at each
	// sink, by hour. Nil: pages do not say.
	Rules  api.RulesFunc
	Ledger func(ctx context.Context, q api.LedgerQuery) ([]api.LedgerRow, error)
	// TraceLink is the address of a trace elsewhere, such as in a Grafana; {trace}
	// stands for its id. Empty: none.
	TraceLink string
	// Backtests runs rules over what the journal keeps. Nil: the page has none.
	Backtests Backtests
	// DeadLetters and Sources are what could not be taken and what comes in.
	// Functions may be nil.
	DeadLetters api.DeadLetters
	Sources     func(tenant string) []api.SourceReport
	// Detectors, Evidence and Settings are what is configured.
	Detectors []Part
	Evidence  Evidence
	Settings  []Setting
	// NoteRead puts on record that the visitor is shown the content of these
	// records; on an error nothing is shown. Nil: reads are not recorded.
	NoteRead func(r *http.Request, ids ...string) error

	Version string
	Log     *slog.Logger     // nil: silent
	Now     func() time.Time // nil: time.Now
	Streams int              // live pages at once; 0 means 256
}

// Console serves the pages. Run keeps its figures of rates.
type Console struct {
	o       Options
	log     *slog.Logger
	pages   *template.Template
	rates   *rates
	hours   hours
	streams chan struct{} // one token for each live page
}

//go:embed templates assets/*.css assets/*.js assets/*.svg
var files embed.FS

// Roles that may see the pages, and the content of records.
var (
	readers  = []auth.Role{auth.RoleViewer, auth.RoleAnalyst, auth.RoleModerator, auth.RoleAdmin, auth.RoleAuditor}
	contents = []auth.Role{auth.RoleAnalyst, auth.RoleAdmin, auth.RoleAuditor}
)

// New returns the console.
func New(o Options) (*Console, error) {
	if o.Sessions == nil || o.Recent.Events == nil || o.Recent.Alert == nil || o.Alerts == nil || o.History == nil || o.Evicted == nil || o.Changed == nil ||
		o.Record == nil || o.Ask == nil || o.Exported == nil || o.Neighbours == nil || o.Status == nil || o.Ready == nil {
		return nil, errors.New("open console: sessions, recent, alerts, history, evicted, changed, record, ask, exported, neighbours, status and ready are mandatory")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	urls, err := assetURLs()
	if err != nil {
		return nil, err
	}
	pages, err := template.New("").Funcs(functions(urls)).Funcs(template.FuncMap{"traceLink": o.traceLink}).ParseFS(files, "templates/*.html")
	if err != nil {
		return nil, err
	}
	return &Console{
		o: o, log: o.Log, pages: pages, rates: newRates(o.Status, o.Now), hours: hours{ask: o.Store.Hours},
		streams: make(chan struct{}, cmp.Or(o.Streams, 256)),
	}, nil
}

// traceLink is where a trace can be seen elsewhere, or "".
func (o *Options) traceLink(id string) string {
	if o.TraceLink == "" || id == "" {
		return ""
	}
	return strings.ReplaceAll(o.TraceLink, "{trace}", url.QueryEscape(id))
}

// Run measures the rates that the overview shows, until ctx ends.
func (c *Console) Run(ctx context.Context) error { return c.rates.run(ctx) }

// Routes returns the handlers by the patterns of net/http.
func (c *Console) Routes() map[string]http.Handler {
	page := func(p func(*http.Request, *frame) (view, error)) http.Handler {
		return c.headers(c.o.Sessions.RequirePage(c.page(p), c.refuse, readers...))
	}
	routes := map[string]http.Handler{
		"GET /{$}":                            page(c.overview),
		"GET /alerts":                         page(c.alerts),
		"GET /alerts/{id}":                    page(c.alert),
		"GET /events":                         page(c.events),
		"GET /events/{id}":                    page(c.event),
		"GET /subscriptions":                  page(c.subscriptions),
		"GET /subscriptions/{id}":             page(c.subscription),
		"GET /agents":                         page(c.agents),
		"GET /agents/{name}":                  page(c.agent),
		"GET /runs":                           page(c.runs),
		"GET /runs/{id}":                      page(c.run),
		"GET /responses":                      page(c.responses),
		"GET /responses/{id}":                 page(c.response),
		"GET /detectors":                      page(c.detectors),
		"GET /pipeline":                       page(c.pipelinePage),
		"GET /evidence":                       page(c.evidence),
		"GET /settings":                       page(c.settings),
		"POST /alerts/{id}/case":              c.headers(c.o.Sessions.RequirePage(http.HandlerFunc(c.exportCase), c.refuse, contents...)),
		"POST /agentrail/v1/alerts/{id}/case": c.headers(c.o.Sessions.Require(http.HandlerFunc(c.exportCase), contents...)),
		"POST /act":                           c.headers(c.o.Sessions.RequirePage(http.HandlerFunc(c.act), c.refuse, readers...)),
		"GET /login":                          c.headers(http.HandlerFunc(c.loginPage)),
		"GET /login/oidc":                     c.headers(http.HandlerFunc(c.loginAway)),
		"GET /login/callback":                 c.headers(http.HandlerFunc(c.loginBack)),
		"POST /login":                         c.headers(c.o.Sessions.SameOrigin(http.HandlerFunc(c.login))),
		"POST /logout":                        c.headers(c.o.Sessions.SameOrigin(http.HandlerFunc(c.logout))),
		"GET /assets/{name}":                  c.headers(http.HandlerFunc(c.asset)),
	}
	maps.Copy(routes, c.backtestRoutes(page))
	return routes
}

// headers sets what every answer has: nothing is loaded from elsewhere, no
// script or style stands in a page, and nobody may frame it.
func (c *Console) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// frame is what every page shows around its own content.
type frame struct {
	Title   string
	Nav     string // which entry of the navigation it belongs to
	User    *auth.Principal
	Live    bool
	Version string
	Path    string // of this page, to come back to
	Asked   bool   // the visitor comes from a form

	shown []string // records whose content the page shows
}

// May reports whether the visitor may read the content of records.
func (f *frame) May() bool { return f.User != nil && f.User.Has(contents...) }

// Reads reports whether the visitor may take events away by the API.
func (f *frame) Reads() bool {
	return f.User != nil && f.User.Has(auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin, auth.RoleAuditor)
}

// view is the content of one page: the template that shows it and the
// fragments of it that are sent again when they have changed. A fragment is a
// template whose name is the id of the element that it fills.
type view struct {
	template  string
	fragments []string
	every     time.Duration // least time between two looks; 0: a second
	data      any
}

// page renders a view, or keeps sending its fragments to those who ask for
// text/event-stream.
func (c *Console) page(build func(*http.Request, *frame) (view, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := auth.FromContext(r.Context())
		f := &frame{User: user, Version: c.o.Version, Path: r.URL.RequestURI(), Asked: r.URL.Query().Has("asked")}
		w.Header().Set("Vary", "Accept")
		build := c.recorded(build)
		v, err := build(r, f)
		var to *redirect
		switch {
		case errors.As(err, &to):
			http.Redirect(w, r, to.url, http.StatusSeeOther)
		case err != nil:
			c.fail(w, r, f, err)
		case r.Header.Get("Accept") == "text/event-stream":
			c.live(w, r, func() (view, error) { return build(r, f) })
		default:
			f.Live = len(v.fragments) > 0
			c.render(w, http.StatusOK, v)
		}
	})
}

// recorded puts on record whose content the view shows before it is shown.
func (c *Console) recorded(build func(*http.Request, *frame) (view, error)) func(*http.Request, *frame) (view, error) {
	return func(r *http.Request, f *frame) (view, error) {
		f.shown = nil
		v, err := build(r, f)
		if err == nil && len(f.shown) > 0 && c.o.NoteRead != nil {
			err = c.o.NoteRead(r, f.shown...)
		}
		return v, err
	}
}

// redirect is returned by pages that have another address.
type redirect struct{ url string }

func (r *redirect) Error() string { return "see " + r.url }

// render answers with the page, or with a plain error if the template fails.
func (c *Console) render(w http.ResponseWriter, status int, v view) {
	var b bytes.Buffer
	if err := c.pages.ExecuteTemplate(&b, v.template, v.data); err != nil {
		c.log.Error("render page", "page", v.template, "err", err)
		http.Error(w, "This page cannot be shown; see the server's log.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the visitor is gone; nothing is left to say
}

// message is a page that says one thing.
type message struct {
	*frame
	Text, Hint string
}

func (c *Console) say(w http.ResponseWriter, f *frame, status int, title, text, hint string) {
	f.Title = title
	c.render(w, status, view{template: "message.html", data: message{f, text, hint}})
}

// fail answers for an error of a page.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, f *frame, err error) {
	var bad *badFilter
	switch {
	case errors.Is(err, api.ErrNotFound):
		c.say(w, f, http.StatusNotFound, "Not found", "There is no such thing in this tenant, or retention has passed over it.", "")
	case errors.Is(err, api.ErrAmbiguous):
		c.say(w, f, http.StatusBadRequest, "Which one?", "Several alerts have ids that begin so.", "Write more of the id.")
	case errors.As(err, &bad):
		c.say(w, f, http.StatusBadRequest, "Filter not understood", bad.Error(), "")
	case r.Context().Err() != nil:
	default:
		c.log.Error("show page", "path", r.URL.Path, "err", err)
		c.say(w, f, http.StatusServiceUnavailable, "Not available now", "This cannot be read now.", "See the server's log and GET /readyz, then try again.")
	}
}
