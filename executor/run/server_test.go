package run_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// tools is a real MCP server of notes. Tests say what its tools do.
type tools struct {
	url string

	end    chan struct{} // of the test
	finish func()

	mu    sync.Mutex
	on    map[string]func(ctx context.Context, args map[string]any) (any, error)
	calls []string // TOOL ARGUMENTS of each call that was made
	users []string // what each call was authorized with
}

func newTools(t testing.TB) *tools {
	t.Helper()
	s := &tools{end: make(chan struct{}), on: map[string]func(context.Context, map[string]any) (any, error){}}
	no, yes := false, true
	server := mcp.NewServer(&mcp.Implementation{Name: "notes", Version: "1"}, nil)
	for name, notes := range map[string]*mcp.ToolAnnotations{
		"read_note": {ReadOnlyHint: true}, "list_notes": {ReadOnlyHint: true}, "fetch": {ReadOnlyHint: true},
		"write_note": {DestructiveHint: &no}, "put_note": {DestructiveHint: &no, IdempotentHint: true}, "delete_note": {DestructiveHint: &yes}, "unknown": nil,
	} {
		server.AddTool(&mcp.Tool{Name: name, Description: name, Annotations: notes, InputSchema: map[string]any{"type": "object"}}, s.handle(name))
	}
	h := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil))
	s.finish = sync.OnceFunc(func() { close(s.end) })
	t.Cleanup(func() {
		s.finish()
		h.CloseClientConnections()
		h.Close()
	})
	s.url = h.URL
	return s
}

func (s *tools) handle(name string) mcp.ToolHandler {
	return func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		var args map[string]any
		if err := json.Unmarshal(req.Params.Arguments, &args); err != nil {
			return nil, err
		}
		s.mu.Lock()
		do := s.on[name]
		s.calls = append(s.calls, name+" "+string(req.Params.Arguments))
		s.users = append(s.users, req.GetExtra().Header.Get("Authorization"))
		s.mu.Unlock()
		var out any = "done by " + name
		if do != nil {
			var err error
			if out, err = do(ctx, args); err != nil {
				return &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: err.Error()}}}, nil
			}
		}
		if text, ok := out.(string); ok {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil
		}
		b, err := json.Marshal(out)
		return &mcp.CallToolResult{StructuredContent: out, Content: []mcp.Content{&mcp.TextContent{Text: string(b)}}}, err
	}
}

// when says what a tool does.
func (s *tools) when(name string, do func(ctx context.Context, args map[string]any) (any, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on[name] = do
}

// hang answers when the call was cancelled, or the test ends.
func (s *tools) hang(ctx context.Context) (any, error) {
	select {
	case <-ctx.Done():
	case <-s.end:
	}
	return nil, context.Canceled
}

// made are the calls that were made.
func (s *tools) made() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.calls...)
}

func (s *tools) authorized() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.users...)
}
