package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	mcpauth "github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/problem"
)

// Engine lets calls through the gates and makes them.
type Engine interface {
	Call(ctx context.Context, q run.CallRequest) (run.CallResult, gate.Verdict, error)
	Answer(ctx context.Context, id, by string, approve bool) (state.Confirmation, error)
}

// Tools are what the servers behind offer.
type Tools interface {
	Tools(ctx context.Context) ([]action.Tool, error)
	// Token errs with action.ErrNoCredential for a tool for which the user has none.
	Token(user, tool string) (gate.Token, string, error)
}

// HTTPOptions of the gateway over streamable HTTP. Engine, Tools and Rules are
// mandatory.
type HTTPOptions struct {
	Engine  Engine
	Tools   Tools
	Rules   func() *gate.Rules
	Tenant  string // whose principals are served; empty: of all tenants
	Hosts   []string
	Origins []string // of pages that may call it; without one none may
	Version string
	Log     *slog.Logger
	// Idle is the time after which a session that is not used ends, default 30 minutes.
	Idle time.Duration
}

const (
	maxRequest  = 2 << 20 // bytes of a message of a client
	maxSessions = 100     // of one principal at once
)

// HTTP is an MCP server in front of many: its tools are those of the servers
// behind it, as SERVER.TOOL, and each call passes the gates on behalf of the
// principal of the request's token. It must be mounted behind auth.Require. A
// session belongs to the principal that began it.
type HTTP struct {
	o       HTTPOptions
	handler http.Handler

	mu      sync.Mutex
	servers map[string]*mcp.Server // by principal
}

// NewHTTP returns the handler.
func NewHTTP(o HTTPOptions) *HTTP {
	if o.Engine == nil || o.Tools == nil || o.Rules == nil {
		panic("BUG: the gateway needs an engine, tools and rules")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Idle == 0 {
		o.Idle = 30 * time.Minute
	}
	h := &HTTP{o: o, servers: map[string]*mcp.Server{}}
	// the SDK binds a session to the user of its token
	bind := mcpauth.RequireBearerToken(func(ctx context.Context, _ string, _ *http.Request) (*mcpauth.TokenInfo, error) {
		p, ok := auth.FromContext(ctx)
		if !ok {
			return nil, mcpauth.ErrInvalidToken
		}
		return &mcpauth.TokenInfo{UserID: keyOf(p)}, nil
	}, &mcpauth.RequireBearerTokenOptions{AllowMissingExpiration: true})
	h.handler = bind(mcp.NewStreamableHTTPHandler(h.server, &mcp.StreamableHTTPOptions{
		Logger: o.Log, SessionTimeout: o.Idle, MaxRequestBodyBytes: maxRequest, DisableLocalhostProtection: true, // ours is stricter
	}))
	return h
}

func keyOf(p *auth.Principal) string { return p.Tenant + "\x00" + p.Name }

// ServeHTTP implements http.Handler.
func (h *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code, detail string) {
		problem.Write(w, problem.Details{Status: status, Code: code, Detail: detail})
	}
	p, ok := auth.FromContext(r.Context())
	switch {
	case !ok:
		refuse(http.StatusUnauthorized, "unauthenticated", "send the header Authorization: Bearer TOKEN")
		return
	case h.o.Tenant != "" && p.Tenant != h.o.Tenant:
		refuse(http.StatusForbidden, "other_tenant", "this executor serves another tenant")
		return
	}
	if why := h.rebound(r); why != "" {
		refuse(http.StatusForbidden, "origin_not_allowed", why)
		return
	}
	if r.Header.Get("Mcp-Session-Id") == "" && h.open(p) >= maxSessions {
		refuse(http.StatusTooManyRequests, "rate_limit_exceeded", "too many sessions are open; end one, or wait until one is idle for "+h.o.Idle.String())
		return
	}
	h.handler.ServeHTTP(w, r)
}

// rebound says why a request may come from a page that was led here by its name
// server, or "". A page names its origin; a browser that believes to talk to
// somebody else names that host.
func (h *HTTP) rebound(r *http.Request) string {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" && !slices.ContainsFunc(h.o.Hosts, func(known string) bool { return strings.EqualFold(known, host) }) {
		return "the executor is not known by the name in Host; an admin may add it to the hosts of the executor"
	}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		same := err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
		if !same && !slices.Contains(h.o.Origins, origin) {
			return "pages of this origin may not call the executor; an admin may add it to the origins of the executor"
		}
	}
	return ""
}

// open counts the sessions of a principal.
func (h *HTTP) open(p *auth.Principal) int {
	h.mu.Lock()
	s := h.servers[keyOf(p)]
	h.mu.Unlock()
	n := 0
	if s != nil {
		for range s.Sessions() {
			n++
		}
	}
	return n
}

// server is the one of the request's principal.
func (h *HTTP) server(r *http.Request) *mcp.Server {
	p, ok := auth.FromContext(r.Context())
	if !ok {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.servers[keyOf(p)]; s != nil {
		return s
	}
	s := mcp.NewServer(&mcp.Implementation{Name: "agentrail", Version: h.o.Version}, &mcp.ServerOptions{
		Logger: h.o.Log, SupportedProtocolVersions: protocols, Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}},
		Instructions: "Tools are named SERVER.TOOL. Every call passes the gates of Agentrail and is on record. A write may have to be confirmed by a person: then do what the answer says and make the same call again.",
	})
	user := p.Name
	s.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			switch q := req.(type) {
			case *mcp.ListToolsRequest:
				return h.list(ctx, user)
			case *mcp.CallToolRequest:
				return h.call(ctx, user, q)
			}
			return next(ctx, method, req)
		}
	})
	h.servers[keyOf(p)] = s
	return s
}

// Close ends every session.
func (h *HTTP) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, s := range h.servers {
		for session := range s.Sessions() {
			errs = append(errs, session.Close())
		}
	}
	return errors.Join(errs...)
}
