package action

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// remote is one session with a server over streamable HTTP. It is for one call
// at a time: what breaks it costs that call only.
type remote struct {
	d         Server
	cred      credential
	most      int
	version   string
	log       *slog.Logger
	transport *http.Transport
	session   *mcp.ClientSession
	over      atomic.Bool   // an answer was too large
	ended     chan struct{} // closed by Close
}

func newRemote(d Server, cred credential, most int, version string, log *slog.Logger) *remote {
	return &remote{d: d, cred: cred, most: most, version: version, log: log, transport: newTransport(), ended: make(chan struct{})}
}

// RoundTrip adds the credential and caps the answer. No request outlives the
// session: the SDK waits for the answers to some without an end.
func (r *remote) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	go func() {
		select {
		case <-r.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	req = req.Clone(ctx)
	for name, value := range r.d.Headers {
		req.Header.Set(name, value)
	}
	authorize(req, r.d.Header, r.cred)
	resp, err := r.transport.RoundTrip(req)
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &limited{done: cancel, ReadCloser: resp.Body, left: r.most, over: func() { r.over.Store(true) }}
	return resp, nil
}

// authorize puts the credential where it belongs.
func authorize(req *http.Request, header string, cred credential) {
	switch {
	case cred.secret == "":
	case header == "" || http.CanonicalHeaderKey(header) == "Authorization":
		req.Header.Set("Authorization", "Bearer "+cred.secret)
	default:
		req.Header.Set(header, cred.secret)
	}
}

// greet opens the session if it is not open.
func (r *remote) greet(ctx context.Context) error {
	if r.session != nil {
		return nil
	}
	var err error
	r.session, err = greeter("agentrail-executor", r.version, r.log, nil).Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint: r.d.URL, HTTPClient: newClient(r), MaxRetries: -1, DisableStandaloneSSE: true, MaxEventSize: r.most,
	}, nil)
	return r.why(err)
}

// why restores the reason that the SDK words away.
func (r *remote) why(err error) error {
	if err != nil && r.over.Load() {
		return ErrTooLarge
	}
	return err
}

// Tools implements connection.
func (r *remote) Tools(ctx context.Context) ([]*mcp.Tool, error) {
	if err := r.greet(ctx); err != nil {
		return nil, err
	}
	out, err := list(ctx, r.session)
	return out, r.why(err)
}

// Call implements connection.
func (r *remote) Call(ctx context.Context, params *mcp.CallToolParams) (*mcp.CallToolResult, error) {
	if err := r.greet(ctx); err != nil {
		return nil, err
	}
	res, err := r.session.CallTool(ctx, params)
	return res, r.why(err)
}

// Close implements connection.
func (r *remote) Close() {
	if r.session != nil {
		_ = r.session.Close()
	}
	close(r.ended)
	r.transport.CloseIdleConnections()
}
