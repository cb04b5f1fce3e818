package main

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// tokenTransport sends a token with every request.
type tokenTransport string

func (t tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(t))
	return http.DefaultTransport.RoundTrip(r)
}

// mcp connects an MCP client of somebody to the executor.
func (h *house) mcp(who string) *mcp.ClientSession {
	h.t.Helper()
	token, err := os.ReadFile(h.path(who + ".token"))
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := mcp.NewClient(&mcp.Implementation{Name: "desk", Version: "1"}, nil).Connect(h.t.Context(), &mcp.StreamableClientTransport{
		Endpoint: h.address + "/mcp", HTTPClient: &http.Client{Transport: tokenTransport(strings.TrimSpace(string(token)))}, DisableStandaloneSSE: true,
	}, nil)
	if err != nil {
		h.t.Fatalf("connect: %v\n%s", err, h.log.String())
	}
	h.t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestExecutorMCP puts an MCP client before the executor: reads pass, a write
// waits until its user has approved it at the command line, is made once, and all
// of it is in the journal (S1, S8, S17, S18).
func TestExecutorMCP(t *testing.T) {
	h := newHouse(t)
	dana, mo := "dana@example.com", "mo@example.com"
	s := h.mcp(dana)
	list, err := s.ListTools(t.Context(), nil)
	if err != nil || len(list.Tools) == 0 || !strings.HasPrefix(list.Tools[0].Name, "files.") {
		t.Fatalf("tools %+v, %v", list, err)
	}
	if got := callGated(t, s, "files.read_text_file", map[string]any{"path": h.path("files/in/open.md")}); !strings.Contains(got, "two reports") {
		t.Errorf("read: %s", got)
	}
	file := h.path("files/private/plan.md")
	write := func() string {
		return callGated(t, s, "files.write_file", map[string]any{"path": file, "content": "a plan"})
	}
	said := write()
	_, id, ok := strings.Cut(said, "agentrail approve ")
	id, _, _ = strings.Cut(id, "\n")
	if !ok || id == "" {
		t.Fatalf("a write that nobody confirmed: %s", said)
	}
	if code, _, errs := h.cli(mo, "approve", id); code != exitFailure {
		t.Errorf("approved by another: %d %s", code, errs)
	}
	h.ok(dana, "approve", id)
	if _, err := os.Stat(file); err == nil {
		t.Error("written before it was asked for again")
	}
	if said = write(); strings.Contains(said, "agentrail") {
		t.Errorf("approved: %s", said)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "a plan" {
		t.Errorf("written %q, %v", b, err)
	}
	if said = write(); !strings.Contains(said, "agentrail approve ") || strings.Contains(said, id) {
		t.Errorf("an approval was good twice: %s", said)
	}
	h.recorded("the write", func(e api.Event) bool {
		return e.Action == "tool.execute" && e.Tool == "files.write_file" && e.Outcome == "ok" && e.ActorEmail == dana && e.Agent == "desk"
	})
	if resp, err := http.Get(h.address + "/mcp"); err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
}
