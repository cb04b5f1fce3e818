package run_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// denied runs the subscription and expects that the gate denied it, that nothing
// was written, and that this is on record.
func (b *bench) denied(subscription, gateName, code string) state.Run {
	b.t.Helper()
	before := len(b.writes())
	r := b.background(subscription)
	b.isDenied(r, gateName, code, before)
	return r
}

func (b *bench) isDenied(r state.Run, gateName, code string, before int) {
	b.t.Helper()
	if r.Status != state.Denied || !strings.Contains(r.Reason, "gate "+gateName) {
		b.t.Errorf("want a denial by gate %s: %+v", gateName, r)
	}
	if w := b.writes(); len(w) != before {
		b.t.Errorf("written: %v", w[before:])
	}
	records := b.records()
	if !slices.ContainsFunc(records, func(l string) bool { return strings.HasSuffix(l, code+" "+gateName) }) {
		b.t.Errorf("no record of the denial by %s with %s: %q", gateName, code, records)
	}
	if last := records[len(records)-1]; last != "run BLOCKED "+code {
		b.t.Errorf("record of the run: %q", last)
	}
}

func (b *bench) passes(subscription string) {
	b.t.Helper()
	before := len(b.writes())
	if r := b.background(subscription); r.Status != state.Success || len(b.writes()) != before+1 {
		b.t.Errorf("the benign twin: %+v, writes %v", r, b.writes()[before:])
	}
}

// TestS1IdentityOfTheSubscriber: eve owns the agent and may do everything, mo
// published it; what counts is what the subscriber may.
func TestS1IdentityOfTheSubscriber(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	b.credential(eve, "eve-token", "write:note")
	b.credential("joe@example.com", "joe-token", "write:note")
	b.passes(b.subscribe(dana))
	b.denied(b.subscribe("joe@example.com"), "identity", "insufficient_permissions") // is not among the users
	b.useRules(strings.Replace(rulesText, "  eve@", "  ann@example.com: [notes.list_notes, notes.write_note]\n  eve@", 1))
	b.denied(b.subscribe("ann@example.com"), "identity", "authentication_required") // has no credential of her own
	b.credential("ann@example.com", "ann-token", "write:note")
	b.passes(b.subscribe("ann@example.com"))
	if used := b.tools.authorized(); used[len(used)-1] != "Bearer ann-token" || slices.Contains(used, "Bearer eve-token") {
		t.Errorf("credentials used: %v", used)
	}
}

// TestS3RiskyInputsNeedAModeratorsReview: a review counts if a moderator made it.
func TestS3RiskyInputsNeedAModeratorsReview(t *testing.T) {
	b := setUp(t, nil)
	spec := func(by string) string {
		return strings.Replace(specText, "visibility: governed}", "visibility: personal, kind: inbox, review: {by: "+by+", reason: only the team writes to it, date: 2026-11-01}}", 1)
	}
	b.agent(spec("joe@example.com"))
	b.denied(b.subscribe(dana), "inputs", "untrusted_input")
	b.agent(spec(mo))
	b.passes(b.subscribe(dana))
}

// TestS5PersonalSpaces and ad-hoc shares are out of background runs; people who
// are present may read them.
func TestS5PersonalSpaces(t *testing.T) {
	b := setUp(t, nil)
	for _, in := range []string{"visibility: personal, review: {by: joe@example.com, reason: mine, date: 2026-11-01}}", "visibility: governed, kind: share, review: {by: joe@example.com, reason: mine, date: 2026-11-01}}"} {
		b.agent(strings.Replace(specText, "visibility: governed}", in, 1))
		b.denied(b.subscribe(dana), "inputs", "untrusted_input")
		if r := b.run(run.Request{Agent: "digest", User: dana, Mode: gate.Interactive}); r.Status != state.Success {
			t.Errorf("while dana is present: %+v", r)
		}
	}
}

// TestS4OpenWebByDomain: what an agent reads cannot make it fetch from elsewhere.
func TestS4OpenWebByDomain(t *testing.T) {
	b := setUp(t, nil)
	spec := strings.Replace(specText, "destinations:\n", "  - {source: web:docs, visibility: public-to-org, kind: web, domains: [docs.example.com]}\ndestinations:\n", 1)
	spec = strings.Replace(spec, "  - name: file\n", "  - name: look\n    action: {tool: notes.fetch, access: read, scopes: [read:web], arguments: {url: \"{{ trigger.text }}\"}}\n  - name: file\n", 1)
	b.agent(spec)
	b.useRules(rulesText)
	sub := b.subscribe(dana)
	for _, url := range []string{"https://stranger.example/?d=1", "https://docs.example.com.stranger.example/", "https://docs.example.com@stranger.example/", `https://docs.example.com\@stranger.example`, "http://169.254.169.254/latest"} {
		r := b.run(run.Request{Subscription: sub, Mode: gate.Background, Initiator: trail.InitiatorContent, Content: []byte(url)})
		b.isDenied(r, "inputs", "untrusted_input", 0)
	}
	r := b.run(run.Request{Subscription: sub, Mode: gate.Background, Initiator: trail.InitiatorContent, Content: []byte("https://docs.example.com/a")})
	if r.Status != state.Success {
		t.Errorf("a known domain: %+v", r)
	}
}

// TestS8AdminGate: a write that the admin did not list waits for a person, and
// in background it is denied.
func TestS8AdminGate(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	sub := b.subscribe(dana)
	b.useRules(strings.Replace(rulesText, "  - tool: notes.write_note\n    destinations: {folder: [reports, drafts]}\n", "", 1))
	r := b.denied(sub, "admin", "insufficient_permissions")
	if !strings.Contains(r.Reason, "policy admin.allow") {
		t.Errorf("reason: %s", r.Reason)
	}
	b.useRules(rulesText)
	b.passes(sub)
}

// TestS9ModeratorGate: nothing runs in background before a moderator published
// it, and for whom she lets subscribe.
func TestS9ModeratorGate(t *testing.T) {
	b := setUp(t, nil)
	b.put(specText)
	sub := b.subscribe(dana)
	b.denied(sub, "moderator", "insufficient_permissions")
	b.publish()
	b.denied(sub, "moderator", "insufficient_permissions") // published, and for moderators only
	if err := b.store.LimitSubscribers(t.Context(), "digest", state.AudienceCohort, []string{dana}); err != nil {
		t.Fatal(err)
	}
	b.passes(sub)
	if err := b.store.Unpublish(t.Context(), "digest"); err != nil {
		t.Fatal(err)
	}
	b.denied(sub, "moderator", "insufficient_permissions")
	// while a run is on its way, too
	b.publish()
	b.tools.when("list_notes", func(context.Context, map[string]any) (any, error) {
		return "x", b.store.Unpublish(context.Background(), "digest")
	})
	b.denied(sub, "moderator", "insufficient_permissions")
}

// TestS32PilotCohort: at first moderators may subscribe, then a cohort, then all;
// and what was subscribed before is held to it as well.
func TestS32PilotCohort(t *testing.T) {
	b := setUp(t, nil)
	b.put(specText)
	b.publish()
	b.credential(mo, "mo-token", "write:note")
	b.useRules(strings.Replace(rulesText, "  eve@", "  mo@example.com: [notes.list_notes, notes.write_note]\n  eve@", 1))
	ofMo, ofDana := b.subscribe(mo), b.subscribe(dana)
	limit := func(audience string, cohort ...string) {
		t.Helper()
		if err := b.store.LimitSubscribers(t.Context(), "digest", audience, cohort); err != nil {
			t.Fatal(err)
		}
	}
	b.passes(ofMo)
	b.denied(ofDana, "moderator", "insufficient_permissions")
	limit(state.AudienceCohort, "joe@example.com")
	b.denied(ofDana, "moderator", "insufficient_permissions")
	limit(state.AudienceCohort, dana)
	b.passes(ofDana)
	limit(state.AudienceModerators)
	b.denied(ofDana, "moderator", "insufficient_permissions")
	limit(state.AudienceAll)
	b.passes(ofDana)
}

// TestS10DestructiveGate: an entry of the allow-list is not enough.
func TestS10DestructiveGate(t *testing.T) {
	b := setUp(t, nil)
	b.agent(strings.Replace(specText, "tool: notes.write_note", "tool: notes.delete_note", 1))
	sub := b.subscribe(dana)
	b.denied(sub, "destructive", "insufficient_permissions")
	b.useRules(rulesText + "destructive: [{tool: notes.delete_note, reviewer: mo@example.com, reason: old reports, rollback: from the bin, expires: 2099-12-31}]\n")
	b.passes(sub)
	b.useRules(rulesText + "destructive: [{tool: notes.delete_note, reviewer: mo@example.com, reason: old reports, rollback: from the bin, expires: 2020-12-31}]\n")
	b.denied(sub, "destructive", "insufficient_permissions")
	// what the spec calls destructive is so, whatever the tool says
	b.agent(strings.Replace(specText, "access: write\n", "access: write\n      destructive: true\n", 1))
	b.denied(sub, "destructive", "insufficient_permissions")
}

// TestS11Destinations: the admin's list and the spec's own narrow each other,
// and content cannot add one.
func TestS11Destinations(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	sub := b.subscribe(dana)
	b.useRules(strings.Replace(rulesText, "[reports, drafts]", "[drafts]", 1))
	b.denied(sub, "destination", "insufficient_permissions") // the admin does not allow where the spec writes
	b.useRules(rulesText)
	b.passes(sub)
	// a template that brings an object brings its keys, and these are looked at
	b.agent(strings.Replace(specText, `count: "{{ steps.collect.count }}"`, `options: "{{ steps.collect.items }}"`, 1))
	b.tools.when("list_notes", func(context.Context, map[string]any) (any, error) {
		return map[string]any{"notes": []any{map[string]any{"cc": "stranger@example.net"}}}, nil
	})
	b.denied(sub, "destination", "insufficient_permissions")
	b.tools.when("list_notes", func(context.Context, map[string]any) (any, error) {
		return map[string]any{"notes": []any{map[string]any{"color": "red"}}}, nil
	})
	b.passes(sub)
	// a background call of the subscription to a place that only the admin lists
	q := run.CallRequest{Subscription: sub, Tool: "notes.write_note", Arguments: json.RawMessage(`{"folder":"drafts","text":"x"}`), Mode: gate.Background, Initiator: trail.InitiatorAPI}
	if _, v, err := b.engine.Call(t.Context(), q); err != nil || v.Allow || v.Gate != "destination" || v.File != "agents/digest.yaml" {
		t.Errorf("outside the spec: %+v %v", v, err)
	}
	q.Arguments = json.RawMessage(`{"folder":"reports","text":"x"}`)
	if _, v, err := b.engine.Call(t.Context(), q); err != nil || !v.Allow {
		t.Errorf("inside: %+v %v", v, err)
	}
}

// TestS12Scopes: a token without scopes, or over everything, does nothing.
func TestS12Scopes(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	sub := b.subscribe(dana)
	b.credential(dana, "dana-token", "")
	b.denied(sub, "scope", "insufficient_permissions")
	b.credential(dana, "dana-token", "write:note admin:org")
	b.denied(sub, "scope", "scope_too_broad")
	b.credential(dana, "dana-token", "write:note")
	b.passes(sub)
}

// TestS13Bounds: of the run, by the admin and by the spec, whichever is less.
func TestS13Bounds(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	sub := b.subscribe(dana)
	b.useRules(rulesText + "bounds: {calls: 1}\n")
	b.denied(sub, "bounds", "bounds_exceeded")
	b.useRules(rulesText)
	many := strings.Replace(specText, `count: "{{ steps.collect.count }}"`, `rows: "{{ steps.collect.items }}"`, 1)
	many = strings.Replace(many, "items: 3,", "items: 6,", 1)
	b.agent(many) // changes as many items as it read: six, and five it may
	b.tools.when("list_notes", func(context.Context, map[string]any) (any, error) { return []string{"1", "2", "3", "4", "5", "6"}, nil })
	b.denied(sub, "bounds", "bounds_exceeded")
	b.tools.when("list_notes", func(context.Context, map[string]any) (any, error) { return []string{"1", "2", "3", "4", "5"}, nil })
	b.passes(sub)
	b.agent(strings.Replace(specText, "timeout: 1m", "timeout: 50ms", 1))
	b.tools.when("list_notes", func(ctx context.Context, _ map[string]any) (any, error) { return b.tools.hang(ctx) })
	if r := b.background(sub); r.Status != state.TimedOut {
		t.Errorf("timeout: %+v", r)
	}
	if records := b.records(); records[len(records)-1] != "run TIMEOUT timeout" {
		t.Errorf("records: %q", records)
	}
}

// TestS15APIKeys: an action with a key of its own runs in background only if an
// admin lists it.
func TestS15APIKeys(t *testing.T) {
	b := setUp(t, nil)
	b.agent(strings.Replace(specText, "scopes: [write:note]", "auth: api_key", 1))
	b.credential(dana, "dana-token", "write:note")
	sub := b.subscribe(dana)
	b.denied(sub, "scope", "insufficient_permissions")
	b.useRules(rulesText + "api_keys: [notes.write_note]\n")
	b.passes(sub)
}

// TestS26OnlyDeclaredTools: an agent calls what its steps name; a tool that the
// operator did not declare does not exist.
func TestS26OnlyDeclaredTools(t *testing.T) {
	b := setUp(t, nil)
	b.agent(strings.Replace(specText, "tool: notes.write_note", "tool: notes.no_such", 1))
	b.denied(b.subscribe(dana), "call", "resource_not_found")
}

// TestS27NewAgentsReadOnly: the mode is held to at run time, too: what a tool
// does counts, not what the step says.
func TestS27NewAgentsReadOnly(t *testing.T) {
	b := setUp(t, nil)
	readOnly := strings.Replace(specText, "mode: write", "mode: read-only", 1)
	readOnly = strings.Replace(readOnly, "access: write\n      destination: reports", "access: read", 1)
	b.agent(readOnly)
	sub := b.subscribe(dana)
	b.denied(sub, "mode", "insufficient_permissions")
	b.agent(strings.Replace(specText, "mode: write", "mode: preview", 1))
	before := len(b.writes())
	r := b.background(sub)
	if r.Status != state.Success || len(b.writes()) != before || !strings.Contains(r.Output, "was not called: the agent's mode is preview") {
		t.Errorf("preview: %+v %v", r, b.writes())
	}
	calls, err := b.store.Calls(t.Context(), r.ID)
	if err != nil || len(calls) != 2 || calls[1].Status != state.Shown || !strings.Contains(string(calls[1].Verdict), `"allow":true`) {
		t.Errorf("preview shows: %+v %v", calls, err)
	}
	if slices.Contains(b.records(), "gateverdict notes.write_note 200") {
		t.Error("a verdict for a write that was not made")
	}
}

// TestS27DryRun shows every call with its verdict, makes reads, and goes on past
// a denial.
func TestS27DryRun(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	sub := b.subscribe(dana)
	dry := func() (state.Run, []state.Call) {
		t.Helper()
		r := b.run(run.Request{Subscription: sub, Mode: gate.Background, Initiator: trail.InitiatorUser, DryRun: true})
		calls, err := b.store.Calls(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		return r, calls
	}
	if r, calls := dry(); r.Status != state.Success || !r.DryRun || len(calls) != 2 || calls[0].Status != state.Success || calls[1].Status != state.Shown {
		t.Errorf("%+v %+v", r, calls)
	}
	b.useRules("version: 1\n")
	if r, calls := dry(); r.Status != state.Success || len(calls) != 2 || calls[1].Status != state.Denied || calls[1].Problem != "insufficient_permissions" || !strings.Contains(r.Output, "denied by gate admin") {
		t.Errorf("denied: %+v %+v", r, calls)
	}
	if w := b.writes(); len(w) != 0 {
		t.Errorf("written: %v", w)
	}
}

// TestS29RetrievalIsBounded in items and bytes, and says so.
func TestS29RetrievalIsBounded(t *testing.T) {
	b := setUp(t, nil)
	b.agent(strings.Replace(specText, `"wrote {{ steps.file.text }}"`, `"{{ steps.collect.text }}"`, 1))
	sub := b.subscribe(dana)
	f := func(answer any, want string) {
		t.Helper()
		b.tools.when("list_notes", func(context.Context, map[string]any) (any, error) { return answer, nil })
		if r := b.background(sub); r.Output != want {
			t.Errorf("%v: %q, %s", answer, r.Output, r.Reason)
		}
	}
	f([]any{"a", map[string]any{"k": 1}, "c"}, "a\n{\"k\":1}\nc\n")
	f([]any{"a", "b", "c", "d"}, "a\nb\nc\n[agentrail: cut at 3 items]\n")
	f([]any{"a", strings.Repeat("x", 1024), "c"}, "a\n[agentrail: cut at 1024 bytes]\n")
	f(strings.Repeat("x", 2048), "[agentrail: cut at 1024 bytes]\n")
	f("one text", "one text\n")
	f(map[string]any{"a": []any{"1"}, "b": []any{"2"}}, "{\"a\":[\"1\"],\"b\":[\"2\"]}\n")
	f([]any{}, "")
}

// TestS33SubscriptionsStayActive: edits of the file change nothing that runs; no
// subscription, no run.
func TestS33SubscriptionsStayActive(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	sub := b.subscribe(dana)
	edited := strings.NewReplacer(`version: "7"`, `version: "8"`, "wrote {{", "edited {{").Replace(specText)
	b.put(edited)
	if r := b.background(sub); r.Status != state.Success || r.Version != "7" || !strings.HasPrefix(r.Output, "wrote") {
		t.Errorf("after an edit: %+v", r)
	}
	b.put("schema: 1\nname: broken\n")
	if r := b.background(sub); r.Status != state.Success || r.Version != "7" {
		t.Errorf("after an edit that is faulty: %+v", r)
	}
	b.agent(edited)
	if r := b.background(sub); r.Status != state.Success || r.Version != "8" || !strings.HasPrefix(r.Output, "edited") {
		t.Errorf("after it was published: %+v", r)
	}
	r := b.run(run.Request{Agent: "digest", User: dana, Mode: gate.Background, Initiator: trail.InitiatorAPI})
	b.isDenied(r, "subscription", "insufficient_permissions", len(b.writes()))
}

// TestS35BothGatesBeforeWrites: each alone denies; together they allow.
func TestS35BothGatesBeforeWrites(t *testing.T) {
	b := setUp(t, nil)
	b.put(specText)
	sub := b.subscribe(dana)
	if err := b.store.LimitSubscribers(t.Context(), "digest", state.AudienceAll, nil); err != nil {
		t.Fatal(err)
	}
	b.denied(sub, "moderator", "insufficient_permissions") // listed, not published
	b.publish()
	b.useRules("version: 1\n")
	b.denied(sub, "admin", "insufficient_permissions") // published, not listed
	b.useRules(rulesText)
	b.passes(sub)
}

// TestNoRecordNoAction: a write waits for its verdict on record, and for the
// knowledge that nobody asked to stop. Reads go on.
func TestNoRecordNoAction(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	sub := b.subscribe(dana)
	down := errors.New("the server is away")
	b.record.commit.Store(&down)
	b.denied(sub, "record", run.CodeNoRecord)
	none := error(nil)
	b.record.commit.Store(nil)
	b.fresh.Store(&down)
	b.denied(sub, "fresh", run.CodeStale)
	if calls := b.tools.made(); len(calls) != 2 {
		t.Errorf("reads: %v", calls)
	}
	b.fresh.Store(&none)
	b.passes(sub)
}

// TestChangedDefinitionIsDenied until it is approved, and told once.
func TestChangedDefinitionIsDenied(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	sub := b.subscribe(dana)
	b.passes(sub)
	tool, err := b.set.Tool(t.Context(), "notes.write_note")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.ApproveDefinition(t.Context(), "notes", tool.Name, "what it said before", "ada@example.com"); err != nil {
		t.Fatal(err)
	}
	b.denied(sub, "definition", trail.CodeChanged)
	b.denied(sub, "definition", trail.CodeChanged)
	n := 0
	for _, l := range b.records() {
		if strings.HasPrefix(l, "tooldefinition ") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the change is told %d times: %q", n, b.records())
	}
	if err := b.store.ApproveDefinition(t.Context(), "notes", tool.Name, tool.Digest, "ada@example.com"); err != nil {
		t.Fatal(err)
	}
	b.passes(sub)
}
