package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

func TestDoctorTellsEachTenantOfItsOwn(t *testing.T) {
	r := newRig(t, nil)
	r.ready = []string{"store: starting"}
	f := func(who, tenant string, operator bool) {
		t.Helper()
		got := r.do(who, "GET", api.Prefix+"/doctor", "")
		var d api.Doctor
		got.into(t, &d)
		want := api.Caller{Name: strings.Replace(who, "/", "-", 1), Tenant: tenant, Roles: []string{"admin"}, Operator: operator}
		if diff := cmp.Diff(want, d.Caller); diff != "" {
			t.Errorf("caller (-want +got):\n%s", diff)
		}
		if d.Ready || d.NotReady[0] != "store: starting" || d.Version != "test" || !d.Now.Equal(now) || len(d.Sources) != 2 || d.Sources[0].Delivered != nil {
			t.Errorf("%s: %+v", who, d)
		}
		other := map[string]string{acme: rival, rival: acme}[tenant]
		if strings.Contains(got.body, other) || !strings.Contains(got.body, tenant+".kind") {
			t.Errorf("%s sees %s", who, got.body)
		}
		var busy api.BusiestList
		r.do(who, "GET", api.Prefix+"/busiest?limit=1", "").into(t, &busy)
		if len(busy.Agents) != 1 || busy.Agents[0].Key != tenant+"-agent" || busy.Tools == nil {
			t.Errorf("%s: busiest %+v", who, busy)
		}
	}
	f("acme/admin", acme, true)
	f("rival/admin", rival, false)
}

func TestServerWithoutSurveySaysSo(t *testing.T) {
	r := newRig(t, func(o *api.Options) { o.Survey, o.OffsetAt = api.Survey{}, nil })
	for _, path := range []string{"/doctor", "/busiest"} {
		if got := r.do("acme/viewer", "GET", api.Prefix+path, ""); got.status != 501 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := r.do("acme/viewer", "GET", api.Prefix+"/stream?since=1h", ""); got.status != 400 || !strings.Contains(got.body, "use from") {
		t.Errorf("since: %d %s", got.status, got.body)
	}
}

func TestStreamFilters(t *testing.T) {
	r := newRig(t, nil)
	events := func(with ...func(*schemas.Event)) {
		b, err := own(acme, schemas.ClassActivity, "api_call", now.UnixNano(), make([]any, len(with))...)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range with {
			f(&b.Events[i])
		}
		_, _ = r.log.append(t.Context(), b)
	}
	set := func(target string, change func(*schemas.Event)) func(*schemas.Event) {
		return func(ev *schemas.Event) { ev.Target = target; change(ev) }
	}
	events(
		set("one", func(ev *schemas.Event) { ev.Actor, ev.Tool, ev.Outcome = "u1", "gmail.send", schemas.OutcomeDenied }),
		set("two", func(ev *schemas.Event) { ev.ActorEmail, ev.Agent, ev.Action = "u1", "wf", "subscription.create" }),
		set("three", func(ev *schemas.Event) { ev.Run, ev.Subscription, ev.Kind = "r1", "s1", "workflow_run" }),
		set("last", func(ev *schemas.Event) {
			ev.Actor, ev.Tool, ev.Outcome, ev.Agent, ev.Action = "u1", "gmail.send", schemas.OutcomeDenied, "wf", "subscription.edit"
			ev.Run, ev.Subscription, ev.Kind = "r1", "s1", "workflow_run"
		}),
	)
	f := func(query string, want ...string) {
		t.Helper()
		next := r.listen("acme/analyst", "?from=start&"+query)
		for _, target := range want {
			if got := next(); !strings.Contains(got.data, `"target":"`+target+`"`) {
				t.Errorf("%s: got %s, want %s", query, got.data, target)
			}
		}
	}
	f("", "one", "two", "three", "last")
	f("actor=u1", "one", "two", "last")
	f("actor=u1&tool=gmail.send", "one", "last")
	f("outcome=denied", "one", "last")
	f("agent=wf", "two", "last")
	f("action=subscription.*", "two", "last")
	f("action=subscription.edit", "last")
	f("action=*&run=r1", "three", "last")
	f("subscription=s1&kind=workflow_run", "three", "last")

	if got := r.listen("acme/analyst", "?from=start&agent=wf")(); !strings.Contains(got.data, `"agent_name":"acme's wf"`) {
		t.Errorf("the agent has no name in %s", got.data)
	}
	if got := r.listen("acme/analyst", "?from=start&content=no")(); strings.Contains(got.data, `"raw"`) {
		t.Errorf("content in %s", got.data)
	}
	if got := r.listen("acme/analyst", "?from=start&content=yes")(); !strings.Contains(got.data, `"raw"`) {
		t.Errorf("no content in %s", got.data)
	}
}

func TestStreamStartsAtATime(t *testing.T) {
	r := newRig(t, nil)
	for i, doc := range []string{"old", "new"} {
		b, err := own(acme, schemas.ClassActivity, "api_call", now.Add(time.Duration(i-1)*time.Hour).UnixNano(), doc)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = r.log.append(t.Context(), b)
	}
	if got := r.listen("acme/analyst", "?since=10m")(); got.lastID != "1" || !strings.Contains(got.data, "new") {
		t.Errorf("since 10m: %+v", got)
	}
	if got := r.listen("acme/analyst", "?since=2h")(); got.lastID != "0" {
		t.Errorf("since 2h: %+v", got)
	}
}

// TestStreamTellsOfHoles asks for a batch that is gone, and passes one that was
// quarantined.
func TestStreamTellsOfHoles(t *testing.T) {
	r := newRig(t, nil)
	r.log.add(acme, schemas.ClassActivity, "zero")
	r.log.add(acme, schemas.ClassActivity, "one")
	r.log.batches[1].Offset = 7 // what was between is no longer kept
	r.log.batches = append(r.log.batches, &schemas.Batch{Header: schemas.Header{Offset: 8}, Gap: &schemas.Gap{From: 8, To: 11, Reason: "bad checksum"}})
	next := r.listen("acme/analyst", "", "Last-Event-ID", "0")
	if got := next(); got.event != "gap" || got.data != `{"from":1,"to":7,"reason":"these batches are no longer kept"}` {
		t.Errorf("batches that are gone: %+v", got)
	}
	if got := next(); got.event != "activity" || got.lastID != "7" {
		t.Errorf("the batch behind them: %+v", got)
	}
	if got := next(); got.event != "gap" || !strings.Contains(got.data, "bad checksum") {
		t.Errorf("quarantined batches: %+v", got)
	}
}
