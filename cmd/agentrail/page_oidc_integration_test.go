//go:build integration

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	idpstore "github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/agentrail/agentrail/internal/auth"
)

// TestPageLoginAtProvider logs in at a provider on another site with a real
// browser, whose rules for cookies no client of ours has: the attempt's cookie
// comes back from there, the session's goes out with the next page.
func TestPageLoginAtProvider(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var provider http.Handler
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { provider.ServeHTTP(w, r) }))
	t.Cleanup(idp.Close)
	issuer := strings.Replace(idp.URL, "127.0.0.1", "localhost", 1) + "/"
	provider = exampleop.SetupServer(issuer, idpstore.NewStorageWithClients(idpstore.NewUserStore(issuer), map[string]*idpstore.Client{
		"agentrail": idpstore.WebClient("agentrail", "s3cret", "http://"+addr+auth.CallbackPath),
	}), nil, false, op.WithAllowInsecure())

	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens.yaml")
	if _, err := auth.Generate(tokens, auth.Principal{Name: "op", Tenant: "default", Roles: []auth.Role{auth.RoleAdmin}}, 0); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "agentrail.yaml")
	for path, text := range map[string]string{
		filepath.Join(dir, "oidc.secret"): "s3cret\n",
		file: fmt.Sprintf(`version: 1
listen: %s
store: {kind: none}
auth:
  oidc:
    issuer: %s
    client_id: agentrail
    client_secret_file: oidc.secret
    redirect_url: http://%s/login/callback
    groups_claim: email # the example's users have no groups
    roles: {test-user@zitadel.ch: [viewer]}
    tenant: default
`, addr, issuer, addr),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, served := make(chan struct{}), make(chan error, 1)
	go func() {
		served <- serve(ctx, cfg, serveOptions{log: slog.New(slog.DiscardHandler), onReady: func(string, func(string) string) { close(ready) }})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-served:
		served <- nil
		t.Fatal(err)
	}

	c := startChrome(t, "http://"+addr)
	c.run(chromedp.Navigate("http://"+addr+"/events?class=all"), chromedp.WaitVisible(chromedp.CSS("a.button")))
	c.basics("login")
	c.clean()
	c.run(chromedp.Click(chromedp.CSS("a.button")), chromedp.WaitVisible(chromedp.CSS("input[name=username]")),
		chromedp.SendKeys(chromedp.CSS("input[name=username]"), "test-user@localhost"),
		chromedp.SendKeys(chromedp.CSS("input[name=password]"), "verysecure"+kb.Enter), chromedp.WaitVisible(chromedp.CSS(".who .user")))
	if at := ask(c, chromedp.Location()); at != "http://"+addr+"/events?class=all" {
		t.Errorf("after the login at %s", at)
	}
	if who := ask(c, chromedp.Text(chromedp.CSS(".who .user"))); who != "test-user@zitadel.ch" {
		t.Errorf("logged in as %s", who)
	}
}
