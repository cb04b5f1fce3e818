package collector_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/internal/auth"
)

// pipes is a listener whose connections are in memory, so that they live on the
// fake clock.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.conns) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// TestSlowBodies sends bodies in trickles: one that keeps a minimum speed is
// taken, however long it takes; one that stops is answered and cut off.
func TestSlowBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "audit", "", (&memory{}).Append)
		handler := s.(collector.HTTPSource).Routes()["POST /v1/audit"]
		p := &pipes{conns: make(chan net.Conn)}
		srv := &http.Server{Handler: handler, ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return auth.WithPrincipal(ctx, &auth.Principal{Name: "slow", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}})
		}}
		done := make(chan error)
		go func() { done <- srv.Serve(p) }()
		defer func() {
			srv.Close()
			<-done
		}()
		f := func(name string, pause time.Duration, want string) {
			t.Helper()
			client, server := net.Pipe()
			p.conns <- server
			body := lines("a", 1000)
			stop, sent := make(chan struct{}), make(chan struct{})
			defer func() {
				close(stop)
				client.Close()
				<-sent
			}()
			go func() {
				defer close(sent)
				fmt.Fprintf(client, "POST /v1/audit HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n", len(body))
				for len(body) > 0 {
					n, err := io.WriteString(client, body[:min(len(body), 16<<10)])
					if err != nil {
						return
					}
					body = body[n:]
					select {
					case <-stop:
						return
					case <-time.After(pause):
					}
				}
			}()
			answer, err := io.ReadAll(client)
			if err != nil && !strings.Contains(string(answer), "\r\n\r\n") {
				t.Errorf("%s: %v", name, err)
			}
			if !strings.HasPrefix(string(answer), want) {
				t.Errorf("%s: %.200q, want %q", name, answer, want)
			}
		}
		f("slow", 3*time.Second, "HTTP/1.1 202")
		f("trickle", 15*time.Second, "HTTP/1.1 408")
		f("halt", time.Hour, "HTTP/1.1 408")
	})
}
