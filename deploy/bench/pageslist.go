package main

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// asked is a page with the addresses that it is asked for by, in turn.
type asked struct {
	name  string
	paths []string
}

// pageList is every page and list of the console with its filters. What they
// are asked for is drawn from all times that the store holds.
func (s *console) pageList(token string) ([]asked, error) {
	f, err := s.findings(token)
	if err != nil {
		return nil, err
	}
	var out []asked
	page := func(name, pattern string, of ...string) {
		p := asked{name: name}
		for _, v := range of {
			p.paths = append(p.paths, fmt.Sprintf(pattern, v))
		}
		if len(of) == 0 {
			p.paths = []string{pattern}
		}
		out = append(out, p)
	}
	page("/", "/")
	page("/alerts", "/alerts")
	page("/alerts?state=all", "/alerts?state=all")
	page("/alerts?q=, text", "/alerts?state=all&q=%s", "slack", "off-hours", "nosuchthing")
	page("/alerts/{id}", "/alerts/%s", f.alerts...)
	page("/events", "/events")
	page("/events?class=all", "/events?class=all")
	page("/events?after=, any time", "/events?after=%s", f.places...)
	page("/events?since=1h", "/events?since=1h")
	page("/events?agent=", "/events?agent=%s", f.agents...)
	page("/events?agent=, unknown", "/events?agent=%s", "no-such-agent", "nor-this-one", "nor-that")
	page("/events?actor=", "/events?actor=%s", f.actors...)
	page("/events?actor=, unknown", "/events?actor=%s", "nobody@example.com", "noone@example.com")
	page("/events?action=, frequent", "/events?action=%s", f.actions[:min(3, len(f.actions))]...)
	page("/events?action=, rare", "/events?action=%s", f.actions[max(0, len(f.actions)-3):]...)
	page("/events?action=, unknown", "/events?action=%s", "no.such", "nor.such")
	page("/events?action=prefix*", "/events?action=%s", "subscription.*", "tool.*", "agent.p*", "nosuch.*")
	page("/events?tool=, frequent", "/events?tool=%s", f.tools[:min(3, len(f.tools))]...)
	page("/events?tool=, rare", "/events?tool=%s", append(slices.Clone(f.tools[max(0, len(f.tools)-2):]), "no.such_tool")...)
	page("/events?subscription=", "/events?subscription=%s", f.subscriptions...)
	page("/events?run=", "/events?run=%s", f.runs...)
	page("/events?run=, unknown", "/events?run=%s", "run_NOSUCHRUN1", "run_NOSUCHRUN2")
	page("/events?trace=", "/events?trace=%s", f.traces...)
	page("/events?outcome=", "/events?outcome=%s", "ok", "denied", "error", "cancelled", "unknown")
	page("/events?agent=&outcome=denied", "/events?outcome=denied&agent=%s", f.agents...)
	page("/events?class=, others", "/events?class=%s", "alert", "control", "evidence", "health")
	page("/events/{id}", "/events/%s", f.events...)
	page("/subscriptions", "/subscriptions")
	page("/subscriptions?state=&q=, text", "/subscriptions?state=active&q=%s", "sub_a", "example.com", "nosuchthing")
	page("/subscriptions/{id}", "/subscriptions/%s", f.subscriptions...)
	page("/agents", "/agents")
	page("/agents?state=review", "/agents?state=review")
	page("/agents/{name}", "/agents/%s", f.agents...)
	page("/runs", "/runs")
	page("/runs?after=, any time", "/runs?after=%s", f.runPlaces...)
	page("/runs?agent=", "/runs?agent=%s", f.agents...)
	page("/runs?actor=", "/runs?actor=%s", f.actors...)
	page("/runs?subscription=", "/runs?subscription=%s", f.subscriptions...)
	page("/runs?outcome=", "/runs?outcome=%s", "ok", "denied", "error", "cancelled", "unknown")
	page("/runs?since=1h", "/runs?since=1h")
	page("/runs/{id}", "/runs/%s", f.runs...)
	for _, path := range []string{"/responses", "/detectors", "/pipeline", "/evidence", "/settings", "/login"} {
		page(path, path)
	}
	return out, nil
}

// findings are the names that pages are asked for.
type findings struct {
	agents, actors, subscriptions, runs, traces, events, alerts []string
	places, runPlaces                                           []string // in the lists
	actions, tools                                              []string // the most frequent first
}

// moments is from how many times names are taken.
const moments = 12

func (s *console) findings(token string) (f findings, err error) {
	actions, tools, seen := map[string]int{}, map[string]int{}, map[string]bool{}
	take := func(list *[]string, v string) {
		if v != "" && !seen[v] && len(*list) < 3*moments {
			seen[v] = true
			*list = append(*list, url.QueryEscape(v))
		}
	}
	now := time.Now()
	oldest := time.Duration(*stored) * 24 * time.Hour / 370_000
	for i := range moments {
		until := "until=" + url.QueryEscape(now.Add(-oldest*time.Duration(i)/moments).Format(time.RFC3339)) + "&limit=1000"
		var events struct {
			Events []struct {
				ID, Agent, Actor, Subscription, Run, Trace, Action, Tool string
				ActorEmail                                               string `json:"actor_email"`
			}
			Next string
		}
		if err := getJSON(s.url+"/agentrail/v1/events?class=activity&"+until, token, &events); err != nil {
			return f, err
		}
		n := 0
		for _, e := range events.Events {
			actions[e.Action]++
			tools[e.Tool]++
			if n++; n > 30 {
				continue
			}
			take(&f.agents, e.Agent)
			take(&f.actors, cmp.Or(e.ActorEmail, e.Actor))
			take(&f.subscriptions, e.Subscription)
			take(&f.runs, e.Run)
			take(&f.traces, e.Trace)
			take(&f.events, e.ID)
		}
		take(&f.places, events.Next)
		var runs struct {
			Runs []struct{ ID string }
			Next string
		}
		if err := getJSON(s.url+"/agentrail/v1/runs?"+until, token, &runs); err != nil {
			return f, err
		}
		take(&f.runPlaces, runs.Next)
	}
	var alerts struct{ Alerts []struct{ ID string } }
	if err := getJSON(s.url+"/agentrail/v1/alerts?limit=100", token, &alerts); err != nil {
		return f, err
	}
	for _, a := range alerts.Alerts {
		take(&f.alerts, a.ID)
	}
	f.actions, f.tools = byCount(actions), byCount(tools)
	for name, list := range map[string][]string{
		"agents": f.agents, "actors": f.actors, "subscriptions": f.subscriptions, "runs": f.runs, "traces": f.traces, "events": f.events,
		"alerts": f.alerts, "places": f.places, "places of runs": f.runPlaces, "actions": f.actions, "tools": f.tools,
	} {
		if len(list) == 0 {
			return f, fmt.Errorf("the store names no %s of %s events", name, strconv.Itoa(*stored))
		}
	}
	return f, nil
}

// byCount returns the names, the most frequent first.
func byCount(n map[string]int) []string {
	var out []string
	for name := range n {
		if name != "" {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(n[b], n[a]), cmp.Compare(a, b)) })
	for i := range out {
		out[i] = url.QueryEscape(out[i])
	}
	return out
}
