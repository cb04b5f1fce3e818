package agents

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Serve is a stdio MCP server with those tools of the reference servers
// filesystem (with a folder) and everything (without) that the agents use. It
// ends with its client.
func Serve(ctx context.Context, folder, version string) error {
	s := mcp.NewServer(&mcp.Implementation{Name: "agentrail-sample", Version: version}, nil)
	if folder == "" {
		everything(s)
		return s.Run(ctx, &mcp.StdioTransport{})
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	defer root.Close()
	files{folder: folder, root: root}.add(s)
	return s.Run(ctx, &mcp.StdioTransport{})
}

// files is the server of a folder; nothing leads out of it.
type files struct {
	folder string
	root   *os.Root
}

type pathIn struct {
	Path string `json:"path" jsonschema:"absolute path of a file in the folder"`
}

type writeIn struct {
	Path    string `json:"path" jsonschema:"absolute path of a file in the folder"`
	Content string `json:"content" jsonschema:"what the file shall hold"`
}

const maxFile = 1 << 20 // bytes that are read of a file

func (f files) add(s *mcp.Server) {
	yes := true
	mcp.AddTool(s, &mcp.Tool{Name: "read_text_file", Description: "Read a file", Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true}},
		func(_ context.Context, _ *mcp.CallToolRequest, in pathIn) (*mcp.CallToolResult, any, error) {
			name, err := f.below(in.Path)
			if err != nil {
				return nil, nil, err
			}
			r, err := f.root.Open(name)
			if err != nil {
				return nil, nil, err
			}
			defer r.Close()
			b, err := io.ReadAll(io.LimitReader(r, maxFile))
			return text(string(b)), nil, err
		})
	mcp.AddTool(s, &mcp.Tool{Name: "write_file", Description: "Write a file, replacing what it held", Annotations: &mcp.ToolAnnotations{DestructiveHint: &yes, IdempotentHint: true}},
		func(_ context.Context, _ *mcp.CallToolRequest, in writeIn) (*mcp.CallToolResult, any, error) {
			name, err := f.below(in.Path)
			if err != nil {
				return nil, nil, err
			}
			if err := f.root.WriteFile(name, []byte(in.Content), 0o600); err != nil {
				return nil, nil, err
			}
			return text("Successfully wrote to " + in.Path), nil, nil
		})
}

// below is the path within the folder.
func (f files) below(path string) (string, error) {
	name, err := filepath.Rel(f.folder, path)
	if err != nil || name == ".." || strings.HasPrefix(name, "../") {
		return "", fmt.Errorf("%s is not in %s", path, f.folder)
	}
	return name, nil
}

func everything(s *mcp.Server) {
	mcp.AddTool(s, &mcp.Tool{Name: "echo", Description: "Say a message again", Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true}},
		func(_ context.Context, _ *mcp.CallToolRequest, in struct {
			Message string `json:"message"`
		},
		) (*mcp.CallToolResult, any, error) {
			return text("Echo: " + in.Message), nil, nil
		})
	mcp.AddTool(s, &mcp.Tool{Name: "get-sum", Description: "Add two numbers", Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true}},
		func(_ context.Context, _ *mcp.CallToolRequest, in struct {
			A float64 `json:"a"`
			B float64 `json:"b"`
		},
		) (*mcp.CallToolResult, any, error) {
			return text(fmt.Sprintf("The sum of %g and %g is %g.", in.A, in.B, in.A+in.B)), nil, nil
		})
}

func text(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}
