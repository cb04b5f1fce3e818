package console

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/internal/auth"
)

// Backtests runs one backtest at a time, in the server, over what its journal
// keeps of a tenant. All functions are called concurrently.
type Backtests struct {
	// Start begins one and returns its id. ErrBusy: one is running.
	Start func(tenant, by string, ask BacktestRequest) (id string, err error)
	// Stop ends one that runs. api.ErrNotFound: there is none of that id.
	Stop func(tenant, id string) error
	// List returns those of the tenant, newest first; they are kept until the
	// server ends, some dozens of them.
	List func(tenant string) []BacktestJob
}

// ErrBusy says that a backtest is running already.
var ErrBusy = errors.New("a backtest is running")

// BacktestRequest is what is to be run, over which time of events.
type BacktestRequest struct {
	Rule     string // of those in force; empty: all of them
	Draft    string // a Sigma rule that is not in force; goes before Rule
	From, To time.Time
}

// BacktestJob is a backtest that runs or has run.
type BacktestJob struct {
	ID      string
	By      string
	Ask     BacktestRequest
	Title   string // of what is run
	State   string // running, done, stopped or failed
	Problem string // why it failed, or what could not be read
	Started time.Time
	Took    time.Duration
	Done    float64 // share of the journal, 0 to 1
	Events  int64   // of the time, read so far
	Result  *BacktestResult
}

// BacktestResult is what would have been raised.
type BacktestResult struct {
	Alerts, Suppressed int
	Opened             []time.Time // when each alert opened
	Entities           []BacktestEntity
	Rules              []BacktestRule
	Examples           []BacktestExample
}

// BacktestEntity is one of those with the most alerts.
type BacktestEntity struct {
	Entity, Name string // kind:id
	Alerts       int
	Events       int64
}

// BacktestRule is what one rule would have raised.
type BacktestRule struct {
	Rule, Severity string
	Alerts         int
	Entities       int
}

// BacktestExample is one alert.
type BacktestExample struct {
	Rule, Entity, Reason string
	At                   time.Time
}

// Running reports whether it goes on.
func (j BacktestJob) Running() bool { return j.State == "running" }

// Days is how long the time is that was looked at.
func (j BacktestJob) Days() float64 { return j.Ask.To.Sub(j.Ask.From).Hours() / 24 }

// Noise says how many alerts a day that makes.
func (j BacktestJob) Noise() string {
	if j.Result == nil || j.Days() <= 0 {
		return ""
	}
	return quantity(float64(j.Result.Alerts)/j.Days()) + " a day"
}

// Progress is how far it is, percent.
func (j BacktestJob) Progress() string { return percent(j.Done) }

// chart is the picture of the alerts that would have opened.
func (j BacktestJob) chart() *chart {
	if j.Result == nil || len(j.Result.Opened) == 0 {
		return nil
	}
	step, title := time.Hour, "Alerts per hour"
	if j.Days() > 14 {
		step, title = 24*time.Hour, "Alerts per day"
	}
	ch := newChart("chart-backtest", title, "alerts", j.Ask.From, j.Ask.To, step)
	s := ch.bars("would have opened", "warn")
	for _, at := range j.Result.Opened {
		ch.at(s, at, 1)
	}
	ch.Words = fmt.Sprintf("%s would have opened; most at once %s", number(j.Result.Alerts), peakWords(ch, s))
	return ch
}

// backtestPart is what the page of the detectors shows of them.
type backtestPart struct {
	May   bool // start one
	Jobs  []BacktestJob
	Rules []string
	Spans []string
}

// testers may run backtests: it costs the server time and shows what rules find.
var testers = []auth.Role{auth.RoleAnalyst, auth.RoleAdmin}

func (c *Console) backtestPart(f *frame, rules ...[]ruleRow) *backtestPart {
	if c.o.Backtests.Start == nil {
		return nil
	}
	p := &backtestPart{May: f.User.Has(testers...), Jobs: c.o.Backtests.List(f.User.Tenant), Spans: backtestSpans}
	for _, r := range slices.Concat(rules...) {
		if r.InForce != nil {
			p.Rules = append(p.Rules, r.Rule)
		}
	}
	slices.Sort(p.Rules)
	return p
}

// backtestSpans are the times that the form offers; the longest is the most
// that is allowed.
var backtestSpans = []string{"24h", "2d", "7d", "14d", "31d"}

const (
	maxBacktest = 31 * 24 * time.Hour
	maxDraft    = 64 << 10
)

// startBacktest reads the form and goes to the page of the job.
func (c *Console) startBacktest(w http.ResponseWriter, r *http.Request) {
	user, _ := auth.FromContext(r.Context())
	f := &frame{User: user, Version: c.o.Version, Nav: "detectors", Path: "/detectors"}
	r.Body = http.MaxBytesReader(w, r.Body, maxAct)
	if err := r.ParseForm(); err != nil {
		c.say(w, f, http.StatusBadRequest, "Not understood", "The form could not be read.", "Go back and send it again.")
		return
	}
	ask, err := c.backtestOf(r.PostForm.Get)
	if err != nil {
		c.say(w, f, http.StatusBadRequest, "Not understood", err.Error(), "Go back, change it, and send it again.")
		return
	}
	id, err := c.o.Backtests.Start(user.Tenant, user.Name, ask)
	switch {
	case errors.Is(err, ErrBusy):
		c.say(w, f, http.StatusConflict, "One is running", "Backtests take time from the server, so one runs at a time.", "Wait for it or stop it on the page of the detectors.")
	case errors.Is(err, api.ErrQuery):
		c.say(w, f, http.StatusBadRequest, "Not understood", err.Error(), "Go back, change it, and send it again.")
	case err != nil:
		c.fail(w, r, f, err)
	default:
		http.Redirect(w, r, "/detectors/backtests/"+id, http.StatusSeeOther)
	}
}

// backtestOf reads the fields of the form.
func (c *Console) backtestOf(field func(string) string) (ask BacktestRequest, err error) {
	text := func(name string) string { return strings.TrimSpace(field(name)) }
	now := c.o.Now()
	ask = BacktestRequest{Rule: text("rule"), Draft: text("draft"), To: now}
	if len(ask.Draft) > maxDraft {
		return ask, fmt.Errorf("the rule is %s long; at most %s are read", bytesText(int64(len(ask.Draft))), bytesText(maxDraft))
	}
	if ask.From, err = api.ParseTime(text("from"), now); err != nil {
		return ask, errors.New("from: write how long ago (2h, 7d) or a time such as 2026-11-23T08:00:00Z")
	}
	if to := text("to"); to != "" {
		if ask.To, err = api.ParseTime(to, now); err != nil {
			return ask, errors.New("to: write how long ago (2h, 1d) or a time such as 2026-11-24T08:00:00Z, or leave it empty for now")
		}
	}
	switch {
	case !ask.From.Before(ask.To):
		return ask, errors.New("from is not before to")
	case ask.To.Sub(ask.From) > maxBacktest:
		return ask, fmt.Errorf("the time is longer than %d days; agentrail backtest reads all that is kept, on the command line", int(maxBacktest.Hours()/24))
	}
	return ask, nil
}

// stopBacktest ends one that runs.
func (c *Console) stopBacktest(w http.ResponseWriter, r *http.Request) {
	user, _ := auth.FromContext(r.Context())
	id := r.PathValue("id")
	if err := c.o.Backtests.Stop(user.Tenant, id); err != nil {
		c.fail(w, r, &frame{User: user, Version: c.o.Version, Nav: "detectors", Path: "/detectors"}, err)
		return
	}
	http.Redirect(w, r, "/detectors/backtests/"+id, http.StatusSeeOther)
}

// backtestPage is one backtest.
type backtestPage struct {
	*frame
	Job     BacktestJob
	Picture *chart
	May     bool
}

func (c *Console) backtest(r *http.Request, f *frame) (view, error) {
	id := r.PathValue("id")
	if c.o.Backtests.List == nil {
		return view{}, api.ErrNotFound
	}
	all := c.o.Backtests.List(f.User.Tenant)
	at := slices.IndexFunc(all, func(j BacktestJob) bool { return j.ID == id })
	if at < 0 {
		return view{}, api.ErrNotFound
	}
	f.Title, f.Nav = "Backtest of "+all[at].Title, "detectors"
	p := backtestPage{frame: f, Job: all[at], Picture: all[at].chart(), May: f.User.Has(testers...)}
	return view{template: "backtest.html", fragments: []string{"backtest-stop", "backtest-body"}, data: p}, nil
}

// routes of the backtests, if there are any.
func (c *Console) backtestRoutes(page func(func(*http.Request, *frame) (view, error)) http.Handler) map[string]http.Handler {
	if c.o.Backtests.Start == nil {
		return nil
	}
	return map[string]http.Handler{
		"GET /detectors/backtests/{id}":       page(c.backtest),
		"POST /detectors/backtests":           c.headers(c.o.Sessions.RequirePage(http.HandlerFunc(c.startBacktest), c.refuse, testers...)),
		"POST /detectors/backtests/{id}/stop": c.headers(c.o.Sessions.RequirePage(http.HandlerFunc(c.stopBacktest), c.refuse, testers...)),
	}
}
