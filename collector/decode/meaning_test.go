package decode_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/schemas"
)

func TestEndpoints(t *testing.T) {
	m := mapped(t, "audit")
	f := func(method, url, action string, access schemas.Access, ids ...string) {
		t.Helper()
		b := batch(fmt.Sprintf(`{"timestamp":0,"method":%q,"endpoint":%q}`, method, url))
		for range 2 { // the second time from the cache
			if _, err := m.Read(b, limits); err != nil {
				t.Fatal(err)
			}
			ev := b.Events[0]
			unknown := len(action) >= 7 && action[:7] == "unknown"
			if ev.Action != action || ev.Access != access || (ev.Flags&schemas.FlagUnknownEndpoint != 0) != unknown {
				t.Errorf("%s %s: %s, %s, %v; want %s, %s", method, url, ev.Action, ev.Access, ev.Flags.Names(), action, access)
			}
			if got := ev.Agent + ev.Run + ev.Subscription; len(ids) > 0 && got != ids[0] {
				t.Errorf("%s %s: names %q, want %q", method, url, got, ids[0])
			}
		}
	}
	const read, write, admin, unknown = schemas.AccessRead, schemas.AccessWrite, schemas.AccessAdmin, schemas.AccessUnknown
	f("POST", "/api/v1/createagentsubscription", "subscription.create", admin)
	f("POST", "/api/v1/editagentsubscription", "subscription.edit", admin)
	f("POST", "/api/v1/deleteagentsubscription", "subscription.delete", admin)
	f("POST", "/api/v1/listagentsubscriptions", "subscription.list", read)
	f("POST", "/api/v1/runagentsubscription", "subscription.run", write)
	f("POST", "/api/v1/getworkflowtrace", "trace.read", read)
	f("POST", "/api/v1/executeactiontool", "tool.execute", unknown)
	f("POST", "/rest/api/v1/tools/call", "tool.execute", unknown)
	f("POST", "/api/v1/runworkflow", "agent.run", write)
	f("POST", "/rest/api/v1/agents/runs/wait", "agent.run", write)
	f("POST", "/api/agents/Agt7/runs", "agent.run", write, "Agt7")
	f("post", "/api/agents/Agt7/runs/", "agent.run", write, "Agt7")
	f("POST", "https://x-be.example.com/rest/api/v1/agents/Agt7?draft=1", "agent.edit", admin, "Agt7")
	f("", "/api/agents/Agt7/runs", "agent.run", write, "Agt7")
	f("GET", "/rest/api/v1/agents/Agt7/runs", "trace.read", read, "Agt7")
	f("", "/api/agents/a/runs/r", "trace.read", read, "ar")
	f("DELETE", "/api/agents/a/runs/r", "unknown", unknown)
	f("", "/rest/api/v1/agents/Agt7", "unknown", unknown, "Agt7")
	f("", "/api/triggers/Trg1", "unknown", unknown, "Trg1")
	f("GET", "/api/agents/a/runs/r", "trace.read", read, "ar")
	f("PATCH", "/api/triggers/Trg1", "subscription.edit", admin, "Trg1")
	f("DELETE", "/api/triggers/Trg1", "subscription.delete", admin, "Trg1")
	f("GET", "/api/triggers", "trigger.list", read)
	f("POST", "/API/V1/Search", "search", read)
	f("POST", "/rest/api/v1/chat", "chat", read)
	f("POST", "/api/v1/ask", "ask", read)
	f("POST", "/api/v1/createsomethingnew", "unknown.create", write)
	f("POST", "/api/v1/getsecrets", "unknown.get", read)
	f("POST", "/rest/api/v1/things/deleteall", "unknown.delete", write)
	f("POST", "/healthz", "unknown", unknown)
	f("POST", "http://host", "unknown", unknown)
}

func TestOutcomes(t *testing.T) {
	f := func(mapping, record string, out schemas.Outcome, denial schemas.Denial, reason, text string) {
		t.Helper()
		ev := read(t, mapping, record).Events[0]
		if ev.Outcome != out || ev.Denial != denial || ev.Reason != reason || ev.OutcomeText != text {
			t.Errorf("%s:\n got %s, %s, %q, %q\nwant %s, %s, %q, %q", record, ev.Outcome, ev.Denial, ev.Reason, ev.OutcomeText, out, denial, reason, text)
		}
	}
	const (
		ok, denied, failed, cancelled, unknown = schemas.OutcomeOK, schemas.OutcomeDenied, schemas.OutcomeError, schemas.OutcomeCancelled, schemas.OutcomeUnknown
		none, policy, expired, throttled       = schemas.DenialNone, schemas.DenialPolicy, schemas.DenialExpired, schemas.DenialThrottled
	)
	f("audit", `{"statusCode":200}`, ok, none, "", "")
	f("audit", `{"statusCode":"200"}`, ok, none, "", "")
	f("audit", `{"statusCode":403}`, denied, policy, "", "")
	f("audit", `{"statusCode":403,"errorCode":"insufficient_permissions"}`, denied, policy, "insufficient_permissions", "")
	f("audit", `{"statusCode":403,"errorCode":"spend_limit_exceeded"}`, denied, schemas.DenialSpend, "spend_limit_exceeded", "")
	f("audit", `{"statusCode":422,"errorCode":"tools_unauthorized"}`, denied, policy, "tools_unauthorized", "")
	f("audit", `{"statusCode":422,"errorCode":"bad_schedule"}`, failed, none, "bad_schedule", "")
	f("audit", `{"statusCode":401}`, denied, expired, "", "")
	f("audit", `{"statusCode":401,"errorCode":"TOKEN_EXPIRED"}`, denied, expired, "TOKEN_EXPIRED", "")
	f("audit", `{"statusCode":429}`, failed, throttled, "", "")
	f("audit", `{"statusCode":429,"problem":{"code":"rate_limit_exceeded"}}`, failed, throttled, "rate_limit_exceeded", "")
	f("audit", `{"statusCode":500}`, failed, none, "", "")
	f("audit", `{"statusCode":302}`, ok, none, "", "")
	f("audit", `{"statusCode":200,"response":{"error":"issue type is missing"}}`, failed, none, "issue type is missing", "")
	f("audit", `{"statusCode":200,"response":{"error":"PERMISSION_DENIED: not yours"}}`, denied, policy, "PERMISSION_DENIED: not yours", "")
	f("audit", `{"statusCode":200,"response":{"error":{"code":"token_expired"}}}`, denied, expired, "token_expired", "")
	f("audit", `{"statusCode":200,"response":{"error":""}}`, ok, none, "", "")
	f("audit", `{"statusCode":200,"response":{"error":null}}`, ok, none, "", "")
	f("audit", `{"statusCode":200,"run":{"status":"error"}}`, failed, none, "", "error")
	f("audit", `{"finding":{"action":"Blocked"}}`, denied, policy, "", "Blocked")
	f("audit", `{"finding":{"action":"Flagged"}}`, ok, none, "", "Flagged")
	f("audit", `{}`, unknown, none, "", "")
	f("audit", `{"statusCode":200,"request":{"reason":"the board is mended"}}`, ok, none, "the board is mended", "")
	f("audit", `{"statusCode":200,"request":{"reason":"policy runaway"},"responseAction":{"reason":"too many writes"}}`, ok, none, "too many writes", "")
	f("audit", `{"statusCode":403,"request":{"reason":"the board is mended"}}`, denied, policy, "", "")
	f("audit", `{"statusCode":422,"errorCode":"bad_schedule","request":{"reason":"the board is mended"}}`, failed, none, "bad_schedule", "")
	f("audit", `{"statusCode":200,"request":{"reason":"x`+strings.Repeat("é", 5000)+`"}}`, ok, none, "x"+strings.Repeat("é", 2047)+"…", "")
	f("audit", `{"statusCode":500,"response":{"error":"`+strings.Repeat("e", 4096)+`"}}`, failed, none, strings.Repeat("e", 4096), "")
	f("audit", `{"request":{"reason":{"prompt":"x"}}}`, unknown, none, "", "")
	run := func(executions string) string {
		return `{"Type":"WORKFLOW_RUN","WorkflowRun":{"WorkflowExecutions":[` + executions + `]}}`
	}
	f("workflowrun", run(`{"Status":"COMPLETED"}`), ok, none, "", "COMPLETED")
	f("workflowrun", run(`{"Status":"SUCCESS"},{"Status":"ERROR","ErrorType":"TOOL_ERROR"},{"Status":"SUCCESS"}`), failed, none, "TOOL_ERROR", "ERROR")
	f("workflowrun", run(`{"Status":"USER_CANCELLED"}`), cancelled, none, "", "USER_CANCELLED")
	f("workflowrun", run(`{"Status":"PAUSED"}`), unknown, none, "", "PAUSED")
	f("workflowrun", run(`{"Status":"MARVELLOUS"}`), unknown, none, "", "MARVELLOUS")
	f("workflowrun", run(`{"ErrorType":"TOOL_ERROR"}`), failed, none, "TOOL_ERROR", "")
	f("workflowrun", run(``), unknown, none, "", "")
	f("workflowrun", `{"type":"ACTION","action":{"executionstatus":"ERROR","errorstr":"it broke"}}`, failed, none, "it broke", "ERROR")
	f("bench", `{"status":"timeout","http_status":504}`, failed, none, "", "timeout")
}

func TestKinds(t *testing.T) {
	f := func(record, kind, action string, flags schemas.Flags) {
		t.Helper()
		ev := read(t, "workflowrun", record).Events[0]
		if got := ev.Flags &^ (schemas.FlagNoSourceID | schemas.FlagTimeMissing); ev.Kind != kind || ev.Action != action || got != flags {
			t.Errorf("%s: %s, %s, %v", record, ev.Kind, ev.Action, got.Names())
		}
	}
	f(`{"jsonPayload":{"Type":"WORKFLOW_RUN"}}`, "workflow_run", "run.end", 0)
	f(`{"jsonPayload":{"type":"workflow_run"}}`, "workflow_run", "run.end", 0)
	f(`{"Type":"MCP_USAGE"}`, "mcp_usage", "tool.execute", 0)
	f(`{"Type":"SEARCH"}`, "search", "search", 0)
	f(`{"Type":"VOICE_THING"}`, "voice_thing", "unknown", schemas.FlagUnknownKind)
	f(`{"WorkflowRun":{"RunId":"r"}}`, "workflow_run", "run.end", 0)
	f(`{"jsonPayload":{"action":{"executionstatus":"SUCCESS"}}}`, "action", "tool.execute", 0)
	f(`{}`, "customer_event", "unknown", schemas.FlagUnknownKind)
	f(`{"Type":"SEARCH","IsScrubbed":true}`, "search", "search", schemas.FlagScrubbed)
}

func TestInventory(t *testing.T) {
	f := func(record string, want schemas.Tri) {
		t.Helper()
		ev := read(t, "workflowrun", record).Events[0]
		if ev.Kind != "product_snapshot" || ev.Agent != "wf1" || ev.Name != "Digest" || ev.Autonomous != want || ev.Access != schemas.AccessRead {
			t.Errorf("%s: %+v", record, ev)
		}
	}
	f(`{"jsonPayload":{"Type":"PRODUCT_SNAPSHOT","ProductSnapshot":{"Workflow":{"WorkflowId":"wf1","Name":"Digest","IsAutonomousAgent":true}}}}`, schemas.TriYes)
	f(`{"jsonPayload":{"type":"PRODUCT_SNAPSHOT","productsnapshot":{"workflow":{"workflowid":"wf1","name":"Digest","isautonomousagent":"false"}}}}`, schemas.TriNo)
	f(`{"jsonPayload":{"type":"PRODUCT_SNAPSHOT","productsnapshot":{"workflow":{"workflowid":"wf1","name":"Digest"}}}}`, schemas.TriUnknown)
}

func TestTools(t *testing.T) {
	f := func(tool string, want schemas.Access) {
		t.Helper()
		ev := read(t, "audit", fmt.Sprintf(`{"endpoint":"/api/v1/executeactiontool","request":{"name":%q}}`, tool)).Events[0]
		if ev.Tool != tool || ev.Access != want {
			t.Errorf("%s: %s, want %s", ev.Tool, ev.Access, want)
		}
	}
	f("jira.create_issue", schemas.AccessWrite)
	f("Jira.GET_issue", schemas.AccessRead)
	f("get_or_create_user", schemas.AccessWrite)
	f("drive.search", schemas.AccessRead)
	f("iam.grant_access", schemas.AccessAdmin)
	f("frobnicate", schemas.AccessUnknown)
	f("salesforce.query", schemas.AccessRead)
	f("query_tickets", schemas.AccessRead)
	f("mysql.query", schemas.AccessWrite)
	f("postgres.query", schemas.AccessWrite)

	ev := read(t, "audit", `{"endpoint":"/api/v1/createworkflow","request":{"name":"My agent"}}`).Events[0]
	if ev.Tool != "" {
		t.Errorf("an agent's name is taken for the tool %q", ev.Tool)
	}
}
