package console

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// alertList is the page of all alerts.
type alertList struct {
	*frame
	Alerts     []schemas.Alert
	Total      int
	Evicted    int
	State      string
	States     []string
	Severity   string
	Rule       string
	Severities []string
	Rules      []string // that there are alerts of
	Text       string
	Filtered   bool
	Bulk       bool // the visitor may acknowledge
}

// maxAlerts is how many one page shows.
const maxAlerts = 500

var severities = []string{"critical", "high", "medium", "low", "informational"}

func rank(s schemas.Severity) int {
	if i := slices.Index(severities, string(s)); i >= 0 {
		return i
	}
	return len(severities)
}

// badFilter is a filter that cannot be understood.
type badFilter struct{ text string }

func (e *badFilter) Error() string { return e.text }

// oneOf returns the parameter if it is one of the known values or empty.
func oneOf(v url.Values, name string, known ...string) (string, error) {
	s := v.Get(name)
	if s != "" && !slices.Contains(known, s) {
		return "", &badFilter{fmt.Sprintf("%s is %q; known: %v", name, s, known)}
	}
	return s, nil
}

func (c *Console) alerts(r *http.Request, f *frame) (view, error) {
	f.Title, f.Nav = "Alerts", "alerts"
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return view{}, &badFilter{"The address cannot be read."}
	}
	l := alertList{frame: f, Severities: severities, States: []string{"open", "acknowledged", "silenced", "reopened", api.Unresolved, "resolved", "all"}, Rule: v.Get("rule"), Text: strings.TrimSpace(v.Get("q")), Bulk: api.May(f.User, schemas.AlertAck), Evicted: c.o.Evicted(f.User.Tenant)}
	if l.State, err = oneOf(v, "state", l.States...); err != nil {
		return view{}, err
	}
	if l.Severity, err = oneOf(v, "severity", severities...); err != nil {
		return view{}, err
	}
	l.State = cmp.Or(l.State, "open")
	l.Filtered = l.State != "open" || l.Severity != "" || l.Rule != "" || l.Text != ""
	rules := map[string]bool{}
	l.Alerts, l.Total = c.o.Alerts(f.User.Tenant, func(a *schemas.Alert) bool {
		rules[a.Rule] = true
		return (l.State == "all" || api.Query{State: l.State}.InState(schemas.AlertState(stateOf(a)))) && (l.Severity == "" || l.Severity == string(a.Severity)) && (l.Rule == "" || l.Rule == a.Rule) && mentions(a, l.Text)
	}, math.MaxInt)
	for rule := range rules {
		l.Rules = append(l.Rules, rule)
	}
	slices.Sort(l.Rules)
	openFirst(l.Alerts)
	l.Alerts = l.Alerts[:min(len(l.Alerts), maxAlerts)]
	return view{template: "alerts.html", fragments: []string{"alert-list"}, data: l}, nil
}

// mentions reports whether the text is part of something that the alert names.
func mentions(a *schemas.Alert, text string) bool {
	text = strings.ToLower(text)
	return text == "" || slices.ContainsFunc([]string{a.ID, a.Title, a.Reason, a.Actor, a.ActorEmail, a.Agent, a.AgentName, a.Subscription, a.Run, a.Entity.ID, a.Entity.Name}, func(field string) bool {
		return strings.Contains(strings.ToLower(field), text)
	})
}

// openAlerts returns the gravest open alerts of the tenant that people are told
// of.
func (c *Console) openAlerts(tenant string, limit int) ([]schemas.Alert, int) {
	all, n := c.o.Alerts(tenant, func(a *schemas.Alert) bool { return schemas.AlertState(stateOf(a)).Waits() && a.Quiet() == "" }, math.MaxInt)
	openFirst(all)
	return all[:min(len(all), limit)], n
}

// openFirst sorts what waits for a person before the rest, what people are told of before the rest, and grave before
// harmless; what is equal stays as it is: newest first.
func openFirst(all []schemas.Alert) {
	before := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b schemas.Alert) int {
		return cmp.Or(
			cmp.Compare(before(!schemas.AlertState(stateOf(&a)).Waits()), before(!schemas.AlertState(stateOf(&b)).Waits())),
			cmp.Compare(before(a.Quiet() != ""), before(b.Quiet() != "")),
			cmp.Compare(rank(a.Severity), rank(b.Severity)),
		)
	})
}
