package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/dashboards/grafana"
	"github.com/agentrail/agentrail/schemas"
)

// tallied is what a panel should show, worked out in Go from what the API gives
// out, which for alerts is the fold of the journal and not the store.
type tallied struct {
	b      *boards
	events []api.Event // activity within the range
	alerts []schemas.Alert
	agent  string // that is picked
	run    string
	trace  string
	spans  []string // rows of the panel of spans
}

func (b *boards) tallied(agent, run, trace string) *tallied {
	b.t.Helper()
	c := &tallied{b: b, agent: agent, run: run, trace: trace}
	body, err := io.ReadAll(b.do(http.MethodGet, api.Prefix+"/events?format=ndjson&class=activity&limit=1000000", b.token, "").Body)
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		var e api.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			b.t.Fatal(err)
		}
		if e.Time.After(time.Now().Add(-8 * 24 * time.Hour)) {
			c.events = append(c.events, e)
		}
	}
	c.readAlerts()
	return c
}

func (c *tallied) readAlerts() {
	c.b.t.Helper()
	var list api.AlertList
	if err := json.Unmarshal(c.b.answer(c.b.do(http.MethodGet, api.Prefix+"/alerts?limit=10000", c.b.token, "")), &list); err != nil || list.More {
		c.b.t.Fatal(err, list.More)
	}
	c.alerts = list.Alerts
}

func where[T any](all []T, ok ...func(T) bool) (out []T) {
	for _, v := range all {
		if !slices.ContainsFunc(ok, func(f func(T) bool) bool { return !f(v) }) {
			out = append(out, v)
		}
	}
	return out
}

// perGroup returns a row for each key: the key and what is figured out of its group.
func perGroup[T any](all []T, key func(T) string, of func([]T) string) (rows []string) {
	groups := map[string][]T{}
	for _, v := range all {
		groups[key(v)] = append(groups[key(v)], v)
	}
	for _, k := range slices.Sorted(maps.Keys(groups)) {
		rows = append(rows, k+"|"+of(groups[k]))
	}
	return rows
}

func number[T any](all []T) string { return strconv.Itoa(len(all)) }

// different counts values, the empty one among them.
func different[T any](all []T, of func(T) string) string {
	seen := map[string]bool{}
	for _, v := range all {
		seen[of(v)] = true
	}
	return strconv.Itoa(len(seen))
}

func row(fields ...any) string {
	var out []string
	for _, f := range fields {
		switch v := f.(type) {
		case time.Time:
			f = v.UTC().Format("2006-01-02 15:04:05.000000000")
		case float64:
			f = strconv.FormatFloat(v, 'f', -1, 64)
		}
		out = append(out, fmt.Sprint(f))
	}
	return strings.Join(out, "|")
}

func rowsOf[T any](all []T, of func(T) string) (out []string) {
	for _, v := range all {
		out = append(out, of(v))
	}
	return out
}

func minute(t time.Time) string { return t.UTC().Truncate(time.Minute).Format(time.DateTime) }

// want is a panel's content: which columns are compared, and their rows.
type want struct {
	columns string // empty: all that it shows
	rows    []string
}

// panels returns what each panel of the store should show, by dashboard and
// title.
func (c *tallied) panels() map[string]want {
	type event = api.Event
	type alert = schemas.Alert
	all := func(rows ...string) want { return want{rows: rows} }
	write := func(e event) bool { return e.Access == "write" }
	denied := func(e event) bool { return e.Outcome == "denied" }
	failed := func(e event) bool { return e.Outcome == "error" }
	tool := func(e event) bool { return e.Tool != "" }
	agent := func(e event) string { return e.Agent }
	background := func(e event) bool { return e.Agent != "" && (e.Initiator == "schedule" || e.Initiator == "content") }
	user := func(e event) string { return firstOf(e.ActorEmail, e.Actor) }
	last := func(es []event) time.Time {
		return slices.MaxFunc(es, func(a, b event) int { return a.Time.Compare(b.Time) }).Time
	}
	open := func(a alert) bool { return a.Transition != schemas.TransitionResolve }
	state := func(a alert) string {
		if open(a) {
			return "open"
		}
		return "resolved"
	}

	started := where(c.events, func(e event) bool { return e.Action == "subscription.run" })
	runs := map[string]bool{}
	for _, e := range started {
		runs[e.Run] = e.Run != ""
	}
	changed := where(c.events, func(e event) bool {
		return strings.HasPrefix(e.Action, "subscription.") && e.Action != "subscription.run" && e.Action != "subscription.list"
	})
	calls, no := where(c.events, tool), where(c.events, denied)

	its := where(c.events, func(e event) bool { return e.Agent == c.agent })
	ended := map[string]event{} // runs by their newest record
	for _, e := range c.events {
		if old, ok := ended[e.Run]; e.Kind == "workflow_run" && (!ok || e.Time.After(old.Time)) {
			ended[e.Run] = e
		}
	}
	itsRuns := where(slices.Collect(maps.Values(ended)), func(e event) bool { return e.Agent == c.agent })
	took := rowsOf(itsRuns, func(e event) string { return fmt.Sprintf("%020d", e.DurationNS) })
	slices.Sort(took)
	median := strings.TrimLeft(took[len(took)/2], "0")
	ofRun := where(c.events, func(e event) bool { return e.Run == c.run })

	return map[string]want{
		"agentrail-soc: Open alerts":        all(number(where(c.alerts, open))),
		"agentrail-soc: High and critical":  all(number(where(c.alerts, func(a alert) bool { return a.Severity == "high" || a.Severity == "critical" }))),
		"agentrail-soc: Events":             all(number(c.events)),
		"agentrail-soc: Writes":             all(number(where(c.events, write))),
		"agentrail-soc: Denied":             all(number(no)),
		"agentrail-soc: Active agents":      all(different(where(c.events, func(e event) bool { return e.Agent != "" }), agent)),
		"agentrail-soc: Alerts by severity": all(perGroup(c.alerts, func(a alert) string { return row(minute(a.LastSeen), a.Severity) }, number)...),
		"agentrail-soc: Events by outcome":  all(perGroup(c.events, func(e event) string { return row(minute(e.Time), e.Outcome) }, number)...),
		"agentrail-soc: Alerts, newest first": {"last_seen rule title entity agent count state reason", rowsOf(c.alerts, func(a alert) string {
			return row(a.LastSeen, a.Rule, a.Title, firstOf(a.Entity.Name, a.Entity.ID), a.Agent, a.Count, state(a), a.Reason)
		})},
		"agentrail-soc: What was done about them": {"status action target rule author via actor text", []string{ // as responded sent it
			row("requested", "subscription.pause", "sub_1", "burst", "policy runaway", "executor", "agentrail-response", "read back from executor"),
			row("confirmed", "subscription.pause", "sub_1", "burst", "policy runaway", "executor", "agentrail-response", "read back from executor"),
		}},
		"agentrail-soc: Alerts by rule": all(perGroup(c.alerts, func(a alert) string { return a.Rule }, number)...),
		"agentrail-soc: Who acts in background": all(perGroup(where(c.events, background), agent, func(es []event) string {
			return row(len(es), number(where(es, write)), number(where(es, denied)))
		})...),

		"agentrail-subscriptions: Subscriptions that ran":  all(different(started, func(e event) string { return firstOf(e.Subscription, e.Agent) })),
		"agentrail-subscriptions: Changes":                 all(number(changed)),
		"agentrail-subscriptions: Writes by subscriptions": all(number(where(c.events, write, func(e event) bool { return e.Action != "subscription.run" && runs[e.Run] }))),
		"agentrail-subscriptions: Starts":                  all(number(started)),
		"agentrail-subscriptions: Starts by outcome":       all(perGroup(started, func(e event) string { return row(minute(e.Time), e.Outcome) }, number)...),
		"agentrail-subscriptions: Changes by kind":         all(perGroup(changed, func(e event) string { return row(minute(e.Time), e.Action) }, number)...),
		"agentrail-subscriptions: Subscriptions": all(perGroup(started, func(e event) string { return row(firstOf(e.Subscription, e.Agent), e.Agent, user(e)) }, func(es []event) string {
			return row(len(es), number(where(es, func(e event) bool { return e.Outcome != "ok" && e.Outcome != "unknown" })), last(es))
		})...),
		"agentrail-subscriptions: Who changed what": all(rowsOf(changed, func(e event) string { return row(e.Time, e.Action, user(e), e.Subscription, e.Agent, e.Outcome, e.IP) })...),

		"agentrail-tools: Tool calls":       all(number(calls)),
		"agentrail-tools: Tools in use":     all(different(calls, func(e event) string { return e.Tool })),
		"agentrail-tools: Denied":           all(number(no)),
		"agentrail-tools: Share denied":     all(fmt.Sprint(float64(len(no)) / float64(len(c.events)))),
		"agentrail-tools: Calls by access":  all(perGroup(calls, func(e event) string { return row(minute(e.Time), e.Access) }, number)...),
		"agentrail-tools: Denials by agent": all(perGroup(no, func(e event) string { return row(minute(e.Time), e.Agent) }, number)...),
		"agentrail-tools: Tools": all(perGroup(calls, func(e event) string { return e.Tool }, func(es []event) string {
			return row(len(es), number(where(es, write)), number(where(es, denied)), number(where(es, failed)), different(es, agent))
		})...),
		"agentrail-tools: Why": all(perGroup(no, func(e event) string {
			return row(firstOf(e.Reason, e.OutcomeText, strconv.Itoa(int(e.Status))), e.Action)
		}, func(es []event) string {
			return row(len(es), different(es, func(e event) string { return e.Actor }))
		})...),
		"agentrail-tools: Denials, newest first": all(rowsOf(no, func(e event) string {
			return row(e.Time, e.ActorEmail, e.Agent, e.Run, e.Action, e.Tool, e.Target, e.Status, e.Reason)
		})...),

		"agentrail-agent: Runs":                 all(number(itsRuns)),
		"agentrail-agent: Median time of a run": all(median),
		"agentrail-agent: Users":                all(different(where(its, func(e event) bool { return e.Actor != "" }), func(e event) string { return e.Actor })),
		"agentrail-agent: Alerts":               all(number(where(c.alerts, func(a alert) bool { return a.Agent == c.agent }))),
		"agentrail-agent: Events by access":     all(perGroup(its, func(e event) string { return row(minute(e.Time), e.Access) }, number)...),
		"agentrail-agent: What starts it":       all(perGroup(its, func(e event) string { return row(minute(e.Time), e.Initiator) }, number)...),
		"agentrail-agent: What it does": all(perGroup(its, func(e event) string { return firstOf(e.Tool, e.Action) }, func(es []event) string {
			return row(len(es), number(where(es, denied)), last(es))
		})...),
		"agentrail-agent: For whom": {"actor events last", perGroup(its, func(e event) string { return e.Actor }, func(es []event) string { return row(len(es), last(es)) })},
		"agentrail-agent: Runs, newest first": {"time run initiator actor outcome reason", rowsOf(itsRuns, func(e event) string {
			return row(e.Time, e.Run, e.Initiator, e.ActorEmail, e.Outcome, e.Reason)
		})},

		"agentrail-run: Run": {"ended agent actor subscription initiator outcome call_trace reason", rowsOf(where([]event{ended[c.run]}, func(e event) bool { return e.Run == c.run }), func(e event) string {
			return row(e.Time, e.Agent, e.ActorEmail, e.Subscription, e.Initiator, e.Outcome, c.trace, e.Reason)
		})},
		"agentrail-run: Events by what they do": all(perGroup(ofRun, func(e event) string { return e.Access }, number)...),
		"agentrail-run: Events": all(rowsOf(ofRun, func(e event) string {
			return row(e.Time, e.Kind, e.Action, e.Tool, e.Target, e.Access, e.Outcome, e.Status, e.Reason)
		})...),
		"agentrail-run: Spans": {"service name ms status trace", c.spans},
	}
}

var panelLimit = regexp.MustCompile(` LIMIT (\d+)$`)

// differs says how the panel's rows differ from those that were counted; a panel
// with a limit may show fewer of them.
func (w want) differs(p grafana.Panel, got table) string {
	columns := p.Shows
	if w.columns != "" {
		columns = strings.Fields(w.columns)
	}
	var shown []string
	for _, line := range got.Data {
		var fields []any
		for _, c := range columns {
			fields = append(fields, line[c])
		}
		shown = append(shown, row(fields...))
	}
	most := len(w.rows)
	if m := panelLimit.FindStringSubmatch(p.Query); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			most = min(most, n)
		}
	}
	left := map[string]int{}
	for _, r := range w.rows {
		left[r]++
	}
	for _, r := range shown {
		if left[r]--; left[r] < 0 {
			return fmt.Sprintf("shows %q, which was not counted among\n%s", r, strings.Join(w.rows[:min(len(w.rows), 20)], "\n"))
		}
	}
	if len(shown) != most {
		return fmt.Sprintf("shows %d rows, %d were counted", len(shown), most)
	}
	return ""
}
