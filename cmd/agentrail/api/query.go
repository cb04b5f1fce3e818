package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/schemas"
)

// Query selects rows. Empty fields select everything. Tenant is always set,
// from the caller's credential.
type Query struct {
	Tenant string
	Since  time.Time // event time, inclusive
	Until  time.Time // event time, exclusive

	Actor        string // id or email
	Agent        string
	Action       string // exact, or a prefix that ends with *
	Tool         string
	Subscription string
	Outcome      string
	Class        string
	Kind         string
	Run          string
	Trace        string

	Rule     string // of alerts
	Severity string // of alerts
	State    string // of alerts: one of schemas.AlertStates, or unresolved; open takes in reopened

	Limit int    // rows; newest first
	After string // Next of the list before: goes on behind its last row
}

// Limits of the number of rows in one answer.
const (
	DefaultLimit = 100
	MaxLimit     = 10_000    // of a JSON document
	MaxExport    = 1_000_000 // of a stream of CSV or NDJSON
)

// paramNames of each list, in the order in which messages name them.
var (
	eventParams  = []string{"since", "until", "actor", "agent", "action", "tool", "subscription", "outcome", "class", "kind", "run", "trace", "after", "limit", "format"}
	runParams    = []string{"since", "until", "actor", "agent", "subscription", "outcome", "run", "trace", "after", "limit"}
	alertParams  = []string{"since", "until", "actor", "agent", "rule", "severity", "state", "limit"}
	streamParams = []string{"from", "since", "class", "actor", "agent", "action", "tool", "subscription", "outcome", "kind", "run", "content", "position"}
	dlqParams    = []string{"consumer", "limit"}
	ledgerParams = []string{"sink", "since", "limit"}
)

// badParam is an error in the query string.
type badParam struct{ detail string }

func (e *badParam) Error() string { return e.detail }

func badParamf(format string, args ...any) error { return &badParam{fmt.Sprintf(format, args...)} }

// params returns the query's parameters, each at most once and none unknown.
func params(r *http.Request, known ...string) (url.Values, error) {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badParamf("query string cannot be read: %v", err)
	}
	for name, values := range v {
		if !slices.Contains(known, name) {
			if len(known) == 0 {
				return nil, badParamf("unknown query parameter %q; this path takes none", name)
			}
			return nil, badParamf("unknown query parameter %q; known: %s", name, strings.Join(known, ", "))
		}
		if len(values) > 1 {
			return nil, badParamf("query parameter %q is given %d times; give it once", name, len(values))
		}
	}
	return v, nil
}

// query reads the parameters of a list.
func query(r *http.Request, tenant string, now time.Time, maxLimit int, known ...string) (Query, error) {
	v, err := params(r, known...)
	if err != nil {
		return Query{}, err
	}
	q := Query{
		Tenant: tenant,
		Actor:  v.Get("actor"), Agent: v.Get("agent"), Action: v.Get("action"), Tool: v.Get("tool"),
		Subscription: v.Get("subscription"), Outcome: v.Get("outcome"),
		Class: v.Get("class"), Kind: v.Get("kind"), Run: v.Get("run"), Trace: v.Get("trace"), After: v.Get("after"),
		Rule: v.Get("rule"), Severity: v.Get("severity"), State: v.Get("state"),
	}
	if q.Since, err = parseTime(v, "since", now); err != nil {
		return Query{}, err
	}
	if q.Until, err = parseTime(v, "until", now); err != nil {
		return Query{}, err
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return Query{}, badParamf("since (%s) is not before until (%s)", Time(q.Since), Time(q.Until))
	}
	if q.Limit, err = parseLimit(v, maxLimit); err != nil {
		return Query{}, err
	}
	if q.After != "" && !IsPlace(q.After) {
		return Query{}, badParamf("after is %q; write the value of next from the list before", q.After)
	}
	return q, checkNames(q)
}

// checkNames refuses values outside of the closed sets: a typo must not look
// like an empty answer.
func checkNames(q Query) error {
	sets := ClosedSets()
	for _, p := range []struct{ param, value string }{
		{"outcome", q.Outcome}, {"class", q.Class}, {"severity", q.Severity}, {"state", q.State},
	} {
		if known := sets[p.param]; p.value != "" && !slices.Contains(known, p.value) {
			return badParamf("%s is %q; known: %s", p.param, p.value, strings.Join(known, ", "))
		}
	}
	return nil
}

// ClosedSets returns the parameters that take one of a few values only.
func ClosedSets() map[string][]string {
	return map[string][]string{
		"outcome":  {"ok", "denied", "error", "cancelled", "unknown"},
		"class":    classNames(),
		"severity": {"informational", "low", "medium", "high", "critical"},
		"state":    alertStates(),
	}
}

// Unresolved selects alerts in every state but resolved.
const Unresolved = "unresolved"

func alertStates() []string {
	var out []string
	for _, s := range schemas.AlertStates() {
		out = append(out, string(s))
	}
	return append(out, Unresolved)
}

// InState reports whether an alert in that state is selected.
func (q Query) InState(s schemas.AlertState) bool {
	switch q.State {
	case "":
		return true
	case string(schemas.StateOpen):
		return s.Waits()
	case Unresolved:
		return s != schemas.StateResolved
	}
	return q.State == string(s)
}

func classNames() []string {
	var out []string
	for c := schemas.ClassActivity; c <= schemas.ClassHealth; c++ {
		out = append(out, c.String())
	}
	return out
}

func parseTime(v url.Values, name string, now time.Time) (time.Time, error) {
	s := v.Get(name)
	if s == "" {
		return time.Time{}, nil
	}
	t, err := ParseTime(s, now)
	if err != nil {
		return time.Time{}, badParamf("%s is %q; write a time (RFC 3339, 2026-11-23T08:00:00Z) or how long ago (90s, 15m, 2h, 7d)", name, s)
	}
	return t, nil
}

// ParseTime reads a time in RFC 3339 or a duration before now, such as 15m or
// 7d.
func ParseTime(s string, now time.Time) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err == nil {
		return t.UTC(), nil
	}
	unit := time.Duration(1)
	text, days := strings.CutSuffix(s, "d")
	if days {
		text, unit = text+"h", 24
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxAgo/unit {
		return time.Time{}, fmt.Errorf("%q is neither a time nor a duration", s)
	}
	return now.Add(-d * unit).UTC(), nil
}

// maxAgo bounds durations, so that none overflows: a century.
const maxAgo = 100 * 366 * 24 * time.Hour

func parseLimit(v url.Values, most int) (int, error) {
	s := v.Get("limit")
	if s == "" {
		return min(DefaultLimit, most), nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		return 0, badParamf("limit is %q; write a number from 1 to %d", s, most)
	}
	return n, nil
}

// place names a row's place in a list that is sorted by time and id, newest
// first.
func place(at time.Time, id string) string { return strconv.FormatInt(at.UnixNano(), 10) + "." + id }

// IsPlace reports whether the text may be a place in a list.
func IsPlace(s string) bool {
	at, id, ok := strings.Cut(s, ".")
	_, err := strconv.ParseInt(at, 10, 64)
	return ok && err == nil && isEventID(id)
}

// refuse answers a request whose query string is wrong.
func refuse(w http.ResponseWriter, err error) {
	problem.Write(w, problem.Details{Status: http.StatusBadRequest, Title: "Bad parameter", Code: "bad_parameter", Detail: err.Error()})
}
