//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// TestOfficialMCP puts the gate in front of the official servers from npm.
func TestOfficialMCP(t *testing.T) {
	npm := os.Getenv("AGENTRAIL_MCP")
	if npm == "" {
		t.Fatal("AGENTRAIL_MCP is not set; run deploy/integration/mcp.sh")
	}
	server := func(name string) []string {
		return []string{"node", filepath.Join(npm, "node_modules", "@modelcontextprotocol", "server-"+name, "dist", "index.js")}
	}
	s := newServed(t)
	s.start("max_record: 1MiB")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"reports", "private"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "private", "plan.txt"), []byte("the plan"), 0o600); err != nil {
		t.Fatal(err)
	}
	policy := s.write("policy.yaml", fmt.Sprintf(`version: 1
access: {echo: read}
writes:
  - {tool: write_file, destinations: {path: [%s/reports/]}}
destructive:
  - {tool: write_file, reviewer: mo@example.com, reason: reports are made anew, rollback: nightly snapshot, expires: 2100-01-01}
`, dir))
	gate := func(agent string) []string {
		return []string{"gate", "--background", "--policy", policy, "--agent", agent, "--user", "dana@example.com", "--server", s.url, "--token-file", filepath.Join(s.dir, "token"), "--state", filepath.Join(s.dir, "state"), "--"}
	}

	fs := append(gate("fs-agent")[1:], append(server("filesystem"), dir)...)
	session := gated(t, nil, fs...)
	f := func(tool string, args map[string]any, want string) {
		t.Helper()
		if got := callGated(t, session, tool, args); !strings.Contains(got, want) {
			t.Errorf("%s %v: %s", tool, args, got)
		}
	}
	in, out := filepath.Join(dir, "reports", "a.md"), filepath.Join(dir, "private", "plan.txt")
	f("read_text_file", map[string]any{"path": out}, "the plan")
	f("write_file", map[string]any{"path": in, "content": "a report"}, "Successfully wrote")
	f("write_file", map[string]any{"path": out, "content": "gone"}, "policy destination.exact")
	f("write_file", map[string]any{"path": dir + "/reports/../private/plan.txt", "content": "gone"}, "policy destination.trick")
	f("move_file", map[string]any{"source": out, "destination": in + "2"}, "policy admin.allow")
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	for file, want := range map[string]string{in: "a report", out: "the plan"} {
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", file, got, err)
		}
	}

	session = gated(t, nil, append(gate("everything-agent")[1:], server("everything")...)...)
	f("echo", map[string]any{"message": "hello"}, "hello")
	f("get-sum", map[string]any{"a": 1, "b": 2}, "")
	if err := session.Close(); err != nil {
		t.Error(err)
	}

	calls, _ := json.Marshal([]map[string]any{
		{"name": "read_text_file", "arguments": map[string]any{"path": out}},
		{"name": "write_file", "arguments": map[string]any{"path": out, "content": "gone"}},
	})
	cmd := exec.CommandContext(t.Context(), "node", append(append([]string{filepath.Join(npm, "client.mjs"), "agentrail"}, gate("js")...), append(server("filesystem"), dir)...)...)
	cmd.Env = append(os.Environ(), "CALLS="+string(calls))
	cmd.Stderr = os.Stderr
	got, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(got)), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "read_text_file") || strings.Contains(lines[0], "move_file") || !strings.Contains(lines[1], "the plan") || !strings.Contains(lines[2], "destination.exact") {
		t.Errorf("the JavaScript client saw:\n%s", got)
	}

	for _, want := range []struct{ agent, tool, outcome string }{
		{"fs-agent", "write_file", "ok"}, {"fs-agent", "move_file", "denied"}, {"everything-agent", "echo", "ok"}, {"js", "write_file", "denied"},
	} {
		s.streamed("activity", func(ev api.Event) bool {
			return ev.Agent == want.agent && ev.Tool == want.tool && ev.Outcome == want.outcome && ev.Action == "tool.execute"
		})
	}
	s.streamed("activity", func(ev api.Event) bool { return ev.Kind == "workflow_run" && ev.Agent == "js" })
	s.stop()
}
