package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/gate"
)

// serveNotes is an ordinary MCP server, for the gate to stand in front of. It
// tells what its environment says about us.
func serveNotes() {
	server := mcp.NewServer(&mcp.Implementation{Name: "notes", Version: "1"}, nil)
	add := func(name string, notes *mcp.ToolAnnotations) {
		server.AddTool(&mcp.Tool{Name: name, Annotations: notes, InputSchema: map[string]any{"type": "object"}}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: name + " done; token file " + os.Getenv("AGENTRAIL_TOKEN_FILE")}}}, nil
		})
	}
	no := false
	add("read_note", &mcp.ToolAnnotations{ReadOnlyHint: true})
	add("write_note", &mcp.ToolAnnotations{DestructiveHint: &no})
	if err := server.Run(context.Background(), &mcp.StdioTransport{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// gated starts the program as an MCP client does and returns a session with it.
func gated(t *testing.T, env []string, args ...string) *mcp.ClientSession {
	t.Helper()
	cmd := exec.Command("agentrail", append([]string{"gate"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	session, err := mcp.NewClient(&mcp.Implementation{Name: "desk-agent", Version: "1"}, nil).Connect(t.Context(), &mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func callGated(t *testing.T, s *mcp.ClientSession, tool string, args map[string]any) string {
	t.Helper()
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		t.Fatal(err)
	}
	text := res.Content[0].(*mcp.TextContent).Text
	if res.IsError {
		return "error: " + text
	}
	return text
}

// TestGate puts the gate in front of a server as a process and follows its
// records into a pipeline's journal.
func TestGate(t *testing.T) {
	s := newServed(t)
	s.start("max_record: 1MiB")
	policy := s.write("policy.yaml", "version: 1\nwrites: [{tool: write_note, destinations: {path: [/srv/notes/]}}]\n")
	env := []string{"AGENTRAIL_SERVER=" + s.url, "AGENTRAIL_TOKEN_FILE=" + filepath.Join(s.dir, "token")}
	session := gated(t, env, "--background", "--policy", policy, "--user", "dana@example.com", "--state", filepath.Join(s.dir, "state"), "--", "notes-server")
	f := func(tool, path, want string) {
		t.Helper()
		if got := callGated(t, session, tool, map[string]any{"path": path}); !strings.Contains(got, want) || strings.Contains(got, s.dir+"/token") {
			t.Errorf("%s %s: %s", tool, path, got)
		}
	}
	f("read_note", "/srv/notes/a", "read_note done")
	f("write_note", "/srv/notes/a", "write_note done")
	f("write_note", "/etc/passwd", "error: agentrail: denied by gate destination")
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	want := func(tool, action, access, outcome string) {
		t.Helper()
		s.streamed("activity", func(ev api.Event) bool {
			return ev.Tool == tool && ev.Action == action && ev.Access == access && ev.Outcome == outcome && ev.ActorEmail == "dana@example.com" && ev.Agent == "desk-agent" && ev.Run != "" && len(ev.Flags) == 0
		})
	}
	want("read_note", "tool.execute", "read", "ok")
	want("write_note", "tool.verdict", "read", "ok")
	want("write_note", "tool.execute", "write", "ok")
	want("write_note", "tool.execute", "write", "denied")
	s.streamed("activity", func(ev api.Event) bool {
		return ev.Kind == "workflow_run" && ev.Agent == "desk-agent" && ev.Outcome == "denied"
	})
	s.stop()
}

// TestGateCutOff cuts the gate from the journal: background writes stop, reads
// go on, and nothing of the record is lost.
func TestGateCutOff(t *testing.T) {
	s := newServed(t)
	s.start("max_record: 1MiB")
	policy := s.write("policy.yaml", "version: 1\nwrites: [{tool: write_note}]\n")
	state := filepath.Join(s.dir, "state")
	session := gated(t, nil, "--background", "--policy", policy, "--server", s.url, "--token-file", filepath.Join(s.dir, "token"), "--state", state, "--", "notes-server")
	if got := callGated(t, session, "write_note", nil); !strings.Contains(got, "write_note done") {
		t.Error(got)
	}
	s.stop()
	if got := callGated(t, session, "write_note", nil); !strings.Contains(got, "error: agentrail: denied by gate record") {
		t.Error(got)
	}
	if got := callGated(t, session, "read_note", nil); !strings.Contains(got, "read_note done") {
		t.Error(got)
	}
	_ = session.Close() // it ends with 1: records are in the spool
	kept, err := os.ReadFile(filepath.Join(state, "gate-unsent.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"record_unavailable", "read_note"} {
		if !strings.Contains(string(kept), want) {
			t.Errorf("%s is not in the spool: %s", want, kept)
		}
	}
	s.start("max_record: 1MiB")
	if r := s.do(http.MethodPost, "/v1/audit", s.token, string(kept)); r.StatusCode != http.StatusAccepted {
		t.Errorf("the spool is answered with %d", r.StatusCode)
	}
	s.stop()
}

// TestGateToFiles: without a server the record is two files.
func TestGateToFiles(t *testing.T) {
	dir := t.TempDir()
	session := gated(t, []string{"XDG_STATE_HOME=" + dir}, "--", "notes-server")
	if got := callGated(t, session, "read_note", nil); !strings.Contains(got, "read_note done") {
		t.Error(got)
	}
	if got := callGated(t, session, "write_note", nil); !strings.Contains(got, "Your client cannot ask its user to confirm a write") {
		t.Error(got)
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	for file, want := range map[string][]string{"gate.ndjson": {`"read_note"`, `"errorCode":"insufficient_permissions"`}, "gate-runs.ndjson": {`"Type":"WORKFLOW_RUN"`, `"ActionsDenied":1`}} {
		b, err := os.ReadFile(filepath.Join(dir, "agentrail", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s: %s is not in %s", file, w, b)
			}
		}
	}
}

// readmeBlock is the first YAML of a section of the README.
func readmeBlock(t *testing.T, section string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n"+section+"\n")
	_, rest, _ = strings.Cut(rest, "```yaml\n")
	block, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatalf("%s shows no YAML", section)
	}
	return block
}

// TestReadmePolicy: the policy file that the README shows is one.
func TestReadmePolicy(t *testing.T) {
	r, err := gate.ParseRules("README.md", readmeBlock(t, "### The rules of the gates"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Lists("write_file") {
		t.Error("it does not allow what the README says")
	}
}

// TestReadmeAgent: the agent that the README defines has no fault, and none of
// its hostile writes passes.
func TestReadmeAgent(t *testing.T) {
	s, faults := executor.Parse("README.md", readmeBlock(t, "### An agent, from its spec to its trace"))
	if s == nil || len(faults) > 0 {
		t.Fatalf("faults %+v", faults)
	}
	for _, a := range executor.Rehearse(s) {
		if a.Hostile && a.Verdict.Allow {
			t.Errorf("passed: %+v", a)
		}
	}
}
