package gateway_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/executor/action/actiontest"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/gateway"
)

// BenchmarkCall makes gated writes of a tool that does nothing. calls/CPU-s
// counts the processor time of client and gateway, not of the wrapped server.
func BenchmarkCall(b *testing.B) {
	r, err := gate.ParseRules("p.yaml", "version: 1\nwrites: [{tool: write_note, destinations: {path: [/n]}}]\nbounds: {calls: 100000000, items: 100000000, rate: 100000000}\n", nil)
	if err != nil {
		b.Fatal(err)
	}
	g, err := gateway.New(gateway.Options{
		Command: []string{os.Args[0]}, Env: append(os.Environ(), actiontest.Log+"="+filepath.Join(b.TempDir(), "calls")),
		Rules: r, User: "u", Background: true, Recorder: &memory{},
	})
	if err != nil {
		b.Fatal(err)
	}
	front, back := mcp.NewInMemoryTransports()
	done := make(chan error, 1)
	go func() { done <- g.Serve(b.Context(), back) }()
	client, err := mcp.NewClient(&mcp.Implementation{Name: "b", Version: "1"}, nil).Connect(b.Context(), front, nil)
	if err != nil {
		b.Fatal(err)
	}
	began := processor(b)
	for b.Loop() {
		res, err := client.CallTool(b.Context(), &mcp.CallToolParams{Name: "write_note", Arguments: map[string]any{"path": "/n"}})
		if err != nil || res.IsError {
			b.Fatal(err, res)
		}
	}
	b.ReportMetric(float64(b.N)/(processor(b)-began), "calls/CPU-s")
	if err := client.Close(); err != nil {
		b.Error(err)
	}
	if err := <-done; err != nil {
		b.Error(err)
	}
}

// processor is the time that this process has used, in seconds.
func processor(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
