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

// TestOfficialMCPOverHTTP puts the gateway of the executor in front of the
// official servers from npm, and the official clients in front of it.
func TestOfficialMCPOverHTTP(t *testing.T) {
	npm := os.Getenv("AGENTRAIL_MCP")
	if npm == "" {
		t.Fatal("AGENTRAIL_MCP is not set; run deploy/integration/mcp.sh")
	}
	h := newHouse(t)
	h.end(h.running)
	server := func(name string) string {
		return filepath.Join(npm, "node_modules", "@modelcontextprotocol", "server-"+name, "dist", "index.js")
	}
	dir, err := filepath.EvalSymlinks(h.path("files"))
	if err != nil {
		t.Fatal(err)
	}
	h.more = fmt.Sprintf("    - {name: fs, command: [node, %q, %q], env: {PATH: \"${env:PATH}\"}, auth: none}\n    - {name: all, command: [node, %q], env: {PATH: \"${env:PATH}\"}, auth: none, tools: {echo: {access: read}}}\n", server("filesystem"), dir, server("everything"))
	h.execute()
	const dana = "dana@example.com"
	token, err := os.ReadFile(h.path(dana + ".token"))
	if err != nil {
		t.Fatal(err)
	}
	bearer := strings.TrimSpace(string(token))
	in, out := filepath.Join(dir, "in", "open.md"), filepath.Join(dir, "private", "plan.md")

	js := func(confirm string, calls ...map[string]any) []string {
		t.Helper()
		text, err := json.Marshal(calls)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "node", filepath.Join(npm, "http-client.mjs"), h.address+"/mcp")
		cmd.Env = append(os.Environ(), "TOKEN="+bearer, "CONFIRM="+confirm, "CALLS="+string(text))
		cmd.Stderr = os.Stderr
		b, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, b, h.log.String())
		}
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	want := func(got []string, at int, text string) {
		t.Helper()
		if at >= len(got) || !strings.Contains(got[at], text) {
			t.Errorf("line %d: want %q in:\n%s", at, text, strings.Join(got, "\n"))
		}
	}
	read := map[string]any{"name": "fs.read_text_file", "arguments": map[string]any{"path": in}}
	write := map[string]any{"name": "fs.write_file", "arguments": map[string]any{"path": out, "content": "a plan"}}
	got := js("", read, map[string]any{"name": "all.echo", "arguments": map[string]any{"message": "hello"}}, write)
	want(got, 0, `"fs.write_file"`)
	want(got, 0, `"all.echo"`)
	want(got, 1, "two reports")
	want(got, 2, "hello")
	want(got, 3, "agentrail approve cf_")
	got = js("decline", write)
	want(got, 1, "declined")
	if _, err := os.Stat(out); err == nil {
		t.Error("written though nobody agreed")
	}
	got = js("accept", write)
	want(got, 1, "Successfully wrote")
	if b, err := os.ReadFile(out); err != nil || string(b) != "a plan" {
		t.Errorf("written %q, %v", b, err)
	}
	got = js("accept", map[string]any{"name": "fs.write_file", "arguments": map[string]any{"path": dir + "/in/../private/x", "content": "x"}})
	want(got, 1, "destination.trick")

	inspect := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(npm, "node_modules", ".bin", "mcp-inspector"), append([]string{"--cli", h.address + "/mcp", "--transport", "http", "--header", "Authorization: Bearer " + bearer}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		b, err := cmd.CombinedOutput()
		if err != nil {
			t.Logf("inspector %q: %v", args, err)
		}
		return string(b)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--method", "tools/list"}, `"fs.read_text_file"`},
		{[]string{"--method", "tools/call", "--tool-name", "fs.read_text_file", "--tool-arg", "path=" + in}, "two reports"},
		{[]string{"--method", "tools/call", "--tool-name", "fs.write_file", "--tool-arg", "path=/etc/agentrail-test", "--tool-arg", "content=x"}, "agentrail approve cf_"},
	} {
		if text := inspect(c.args...); !strings.Contains(text, c.want) {
			t.Errorf("inspector %q: want %q in:\n%s", c.args, c.want, text)
		}
	}
	h.recorded("the write", func(e api.Event) bool {
		return e.Action == "tool.execute" && e.Tool == "fs.write_file" && e.Outcome == "ok" && e.ActorEmail == dana && e.Agent == "js-agent"
	})
}
