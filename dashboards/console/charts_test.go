package console_test

import (
	"context"
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/dashboards/console"
	"github.com/agentrail/agentrail/schemas"
)

// drawn is what the script draws a chart from.
type drawn struct {
	Unit   string
	From   int64
	Step   int64
	Series []struct {
		Name   string
		Kind   string
		Line   bool
		Values []float64
	}
	Band *struct{ Low, High float64 }
}

// charts returns the charts of a page.
func charts(t *testing.T, body string) (out []drawn) {
	t.Helper()
	for _, m := range regexp.MustCompile(`data-chart="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		var d drawn
		if err := json.Unmarshal([]byte(html.UnescapeString(m[1])), &d); err != nil {
			t.Fatalf("%s: %v", m[1], err)
		}
		out = append(out, d)
	}
	return out
}

func total(values []float64) (n float64) {
	for _, v := range values {
		n += v
	}
	return n
}

// TestCharts: the day's events and alerts on the overview, and an agent's writes
// beside what is usual, each of the visitor's tenant only, with words and a
// picture that need no script.
func TestCharts(t *testing.T) {
	asked := map[string]int{}
	r := newRig(t, func(o *console.Options) {
		o.Store.Hours = func(_ context.Context, q api.Query) (out []api.HourTotal, _ error) {
			if q.Tenant != acme {
				return nil, nil
			}
			asked[q.Agent]++
			for h := q.Since; h.Before(now); h = h.Add(time.Hour) {
				out = append(out, api.HourTotal{Hour: h, Outcome: "ok", Access: "read", Count: 100}, api.HourTotal{Hour: h, Outcome: "denied", Access: "write", Count: 2}, api.HourTotal{Hour: h, Outcome: "ok", Access: "write", Count: 8})
			}
			return out, nil
		}
	})
	r.fill()
	_, body, _ := r.visit("acme/viewer").get("/")
	all := charts(t, body)
	if len(all) != 2 || len(all[0].Series) != 2 || total(all[0].Series[0].Values) != 24*110 || total(all[0].Series[1].Values) != 24*2 || total(all[1].Series[0].Values) != 1 {
		t.Fatalf("overview: %+v", all)
	}
	if all[0].Step != 3600 || len(all[0].Series[0].Values) < 24 || len(all[0].Series[0].Values) > 25 {
		t.Errorf("%d steps of %d s", len(all[0].Series[0].Values), all[0].Step)
	}
	for _, want := range []string{"2\u202f640 in 24 h, 48 of them denied or failed; most in one hour 110 from ", `<rect class="fill-bad"`, "top of the axis: 110 events"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	_, body, _ = r.visit("rival/viewer").get("/")
	if all := charts(t, body); len(all) != 1 {
		t.Errorf("another tenant sees %d charts, wants its own alerts only", len(all))
	}

	_, body, _ = r.visit("acme/viewer").get("/agents/acme-agent")
	all = charts(t, body)
	if len(all) != 1 || total(all[0].Series[0].Values) != 48*10 || total(all[0].Series[1].Values) != 48*2 || all[0].Band == nil || all[0].Band.Low != 10 || all[0].Band.High != 10 {
		t.Fatalf("agent: %+v", all)
	}
	if !strings.Contains(body, "usual in a busy hour: 10 to 10") || !strings.Contains(body, `<rect class="band"`) {
		t.Error("the usual band is not told")
	}
	r.visit("acme/admin").get("/agents/acme-agent")
	if asked["acme-agent"] != 1 {
		t.Errorf("two pages asked the store %d times", asked["acme-agent"])
	}
}

// TestChartsWithoutStore: a page stands without what its charts are drawn from.
func TestChartsWithoutStore(t *testing.T) {
	for _, ask := range []func(context.Context, api.Query) ([]api.HourTotal, error){
		nil,
		func(context.Context, api.Query) ([]api.HourTotal, error) { return nil, api.ErrNotOpen },
		func(context.Context, api.Query) ([]api.HourTotal, error) { return nil, errors.New("away") },
		func(context.Context, api.Query) ([]api.HourTotal, error) { return nil, nil },
	} {
		r := newRig(t, func(o *console.Options) { o.Store.Hours = ask })
		status, body, _ := r.visit("acme/viewer").get("/")
		if status != http.StatusOK || len(charts(t, body)) != 0 {
			t.Errorf("%d, %d charts", status, len(charts(t, body)))
		}
	}
}

// TestLedgerAndModes: what became of events by hour, and what may follow from
// each rule, who does not want to be told and until when.
func TestLedgerAndModes(t *testing.T) {
	until := now.Add(time.Hour)
	r := newRig(t, func(o *console.Options) {
		o.Ledger = func(_ context.Context, q api.LedgerQuery) ([]api.LedgerRow, error) {
			if q.Tenant != acme {
				return nil, nil
			}
			return []api.LedgerRow{
				{Sink: "soc", Hour: now.Truncate(time.Hour), Seen: 1234, Filtered: 200, Accepted: 1034},
				{Sink: "soc", Hour: now.Add(-time.Hour), Seen: 10, Accepted: 10, Indexed: 9, Closed: true, Difference: 3},
			}, nil
		}
		o.Rules = func(_ context.Context, tenant string) (api.RuleList, error) {
			if tenant != acme {
				return api.RuleList{}, nil
			}
			return api.RuleList{
				Rules: []api.Rule{
					{Name: "burst", Detector: "burst", Mode: schemas.ModeWarn, From: "config", Runbook: []string{"Look at https://wiki.example.com/burst first", "then ask its owner"}},
					{Name: "shell_escape", Title: "A tool call tries to leave its sandbox", Detector: "sigma", Severity: "high", Mode: schemas.ModeEnforce, From: "default", Place: "shell_escape.yml:1"},
				},
				Suppressions: []api.Suppression{
					{ID: "s1", Rule: "burst", Entity: "agent:acme-agent", By: "mo", Reason: "migration", Since: now, Until: until, Matches: 7},
					{ID: "s2", Rule: "denial", By: "mo", Reason: "known", Since: now.Add(-time.Hour), Until: now, Over: true},
				},
				Exceptions: []api.Exception{{Rule: "burst", Entity: "agent:nightly", Reason: "a job"}},
			}, nil
		}
	})
	r.fill()
	f := func(who, path string, says bool, texts ...string) {
		t.Helper()
		status, body, _ := r.visit(who).get(path)
		for _, text := range texts {
			if status != http.StatusOK || strings.Contains(body, text) != says {
				t.Errorf("%s at %s: %d; %q is there: %v, want %v", who, path, status, text, !says, says)
			}
		}
	}
	f("acme/viewer", "/pipeline", true, "1\u202f234", "1\u202f034", "the journal holds events that the sink did not pass", "open; closes when the sink has passed it")
	f("rival/viewer", "/pipeline", false, "1\u202f234", "soc")
	f("acme/viewer", "/detectors", true, `tag-mode-warn">warn`, "by the config", "migration", "agent:acme-agent", "1 rules in force", "shell_escape.yml:1", "agent:nightly", "without end", `<svg class="spark"`)
	f("acme/viewer", "/detectors", false, "rule.unsuppress")
	f("acme/analyst", "/detectors", true, `value="rule.unsuppress"`, `name="arg.entity" value="agent:acme-agent"`)
	f("rival/analyst", "/detectors", false, "migration", "shell_escape")
	f("acme/analyst", "/alerts/a0234", true, `<a href="https://wiki.example.com/burst" rel="noopener noreferrer">`, "then ask its owner", `value="rule.suppress"`)
	f("acme/viewer", "/alerts/a0234", false, `value="rule.suppress"`)
}

// TestTraceLink: where a trace can be seen elsewhere, its id is quoted.
func TestTraceLink(t *testing.T) {
	r := newRig(t, func(o *console.Options) { o.TraceLink = "https://grafana.example.com/explore?id={trace}&x=1" })
	r.fill()
	for tenant := range r.events {
		r.events[tenant][0].Trace = `ab"cd&x=2`
	}
	_, body, _ := r.visit("acme/analyst").get("/events/" + r.events[acme][0].ID)
	if !strings.Contains(body, `href="https://grafana.example.com/explore?id=ab%22cd%26x%3D2&amp;x=1"`) {
		t.Errorf("no link to the trace:\n%s", body)
	}
}

// TestBacktests: who may start one, what the form refuses, and that a job is its
// tenant's.
func TestBacktests(t *testing.T) {
	var started []console.BacktestRequest
	busy := false
	jobs := map[string][]console.BacktestJob{}
	r := newRig(t, func(o *console.Options) {
		o.Backtests = console.Backtests{
			Start: func(tenant, by string, ask console.BacktestRequest) (string, error) {
				switch {
				case busy:
					return "", console.ErrBusy
				case ask.Rule == "gone":
					return "", api.ErrQuery
				}
				started = append(started, ask)
				j := console.BacktestJob{
					ID: "b1", By: by, Ask: ask, Title: "<b>burst</b>", State: "done", Started: now, Events: 1234567,
					Result: &console.BacktestResult{
						Alerts: 14, Opened: []time.Time{ask.From.Add(time.Hour), ask.From.Add(time.Hour), ask.To.Add(-time.Minute)},
						Entities: []console.BacktestEntity{{Entity: "agent:a1", Name: "Bot", Alerts: 14, Events: 99}}, Rules: []console.BacktestRule{{Rule: "burst", Severity: "high", Alerts: 14, Entities: 1}},
						Examples: []console.BacktestExample{{Rule: "burst", Entity: "Bot", Reason: "45 writes", At: ask.From}},
					},
				}
				jobs[tenant] = append(jobs[tenant], j)
				return j.ID, nil
			},
			Stop: func(tenant, id string) error {
				if len(jobs[tenant]) == 0 || id != "b1" {
					return api.ErrNotFound
				}
				return nil
			},
			List: func(tenant string) []console.BacktestJob { return jobs[tenant] },
		}
	})
	f := func(who string, want int, pairs ...string) {
		t.Helper()
		form := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			form.Set(pairs[i], pairs[i+1])
		}
		n := len(started)
		status, _, _ := r.visit(who).post("/detectors/backtests", form)
		if status != want || (len(started) > n) != (want == http.StatusSeeOther) {
			t.Errorf("%s posts %v: %d, %d started; want %d", who, pairs, status, len(started)-n, want)
		}
	}
	f("acme/viewer", http.StatusForbidden, "from", "7d")
	f("acme/auditor", http.StatusForbidden, "from", "7d")
	f("acme/analyst", http.StatusBadRequest)
	f("acme/analyst", http.StatusBadRequest, "from", "soon")
	f("acme/analyst", http.StatusBadRequest, "from", "1d", "to", "2d")
	f("acme/analyst", http.StatusBadRequest, "from", "32d")
	f("acme/analyst", http.StatusBadRequest, "from", "1d", "draft", strings.Repeat("x", 65<<10))
	f("acme/analyst", http.StatusBadRequest, "from", "1d", "rule", "gone")
	busy = true
	f("acme/analyst", http.StatusConflict, "from", "1d")
	busy = false
	f("acme/analyst", http.StatusSeeOther, "from", "7d", "rule", "burst")
	if a := started[0]; a.Rule != "burst" || !a.From.Equal(now.Add(-7*24*time.Hour)) || !a.To.Equal(now) {
		t.Errorf("started %+v", a)
	}

	_, body, _ := r.visit("acme/viewer").get("/detectors/backtests/b1")
	if all := charts(t, body); len(all) != 1 || total(all[0].Series[0].Values) != 3 || all[0].Step != 3600 || len(all[0].Series[0].Values) != 7*24+1 {
		t.Errorf("picture: %+v", all)
	}
	for _, want := range []string{"&lt;b&gt;burst&lt;/b&gt;", "2 a day", "Bot", "45 writes", "1\u202f234\u202f567 events"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if _, body, _ := r.visit("acme/viewer").get("/detectors"); !strings.Contains(body, "/detectors/backtests/b1") || strings.Contains(body, `action="/detectors/backtests"`) {
		t.Error("a viewer sees the list and no form")
	}
	for who, want := range map[string]int{"acme/viewer": http.StatusForbidden, "rival/analyst": http.StatusNotFound, "acme/admin": http.StatusSeeOther} {
		if status, _, _ := r.visit(who).post("/detectors/backtests/b1/stop", url.Values{}); status != want {
			t.Errorf("%s stops it: %d, want %d", who, status, want)
		}
	}
	if status, _, _ := r.visit("rival/analyst").get("/detectors/backtests/b1"); status != http.StatusNotFound {
		t.Errorf("another tenant sees it: %d", status)
	}
}
