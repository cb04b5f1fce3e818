package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/agentrail/agentrail/internal/plug"
)

// entraConfig is who a sink is to Microsoft Entra: an application with a secret
// or with a token of a federated issuer, or the managed identity of the machine.
type entraConfig struct {
	// TenantID of the directory, and ClientID of the application in it. With
	// managed_identity, ClientID is that of a user-assigned one.
	TenantID string `yaml:"tenant_id"`
	ClientID string `yaml:"client_id"`
	// ClientSecret of the application.
	ClientSecret     plug.Secret `yaml:"client_secret"`
	ClientSecretFile string      `yaml:"client_secret_file"`
	// FederatedTokenFile holds a token that Entra trusts in place of a secret,
	// such as Kubernetes writes for a workload identity.
	FederatedTokenFile string `yaml:"federated_token_file"`
	// ManagedIdentity asks the machine's own endpoint for tokens.
	ManagedIdentity bool `yaml:"managed_identity"`
	// Authority is another address of Entra than the cloud's.
	Authority string `yaml:"authority"`
}

// azureCloud is where a cloud gives tokens, and for whom.
type azureCloud struct{ authority, audience string }

var azureClouds = map[string]azureCloud{
	"public": {"https://login.microsoftonline.com", "https://monitor.azure.com"},
	"usgov":  {"https://login.microsoftonline.us", "https://monitor.azure.us"},
	"china":  {"https://login.chinacloudapi.cn", "https://monitor.azure.cn"},
}

// source returns what fetches tokens for the audience of the cloud.
func (c *entraConfig) source(client *http.Client, cloud azureCloud, timeout time.Duration) (func(context.Context) (*oauth2.Token, error), error) {
	ways := 0
	for _, given := range []bool{c.ClientSecret != "", c.FederatedTokenFile != "", c.ManagedIdentity} {
		if given {
			ways++
		}
	}
	authority := cloud.authority
	if c.Authority != "" {
		authority = c.Authority
	}
	u, err := parseURL("authority", authority)
	switch {
	case ways != 1:
		return nil, errors.New("give one of client_secret_file, federated_token_file and managed_identity")
	case err != nil:
		return nil, err
	case c.ManagedIdentity:
		return c.managed(cloud.audience, timeout)
	case c.TenantID == "" || strings.ContainsAny(c.TenantID, "/?#%"):
		return nil, fmt.Errorf("tenant_id: %q is not that of a directory", c.TenantID)
	case c.ClientID == "":
		return nil, errors.New("client_id: is missing")
	}
	conf := clientcredentials.Config{
		ClientID: c.ClientID, ClientSecret: c.ClientSecret.Reveal(), AuthStyle: oauth2.AuthStyleInParams,
		TokenURL: u.JoinPath(c.TenantID, "oauth2/v2.0/token").String(), Scopes: []string{cloud.audience + "/.default"},
	}
	return func(ctx context.Context) (*oauth2.Token, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		ask := conf
		if c.FederatedTokenFile != "" {
			proof, err := os.ReadFile(c.FederatedTokenFile) // it is replaced every hour
			if err != nil {
				return nil, fmt.Errorf("read federated_token_file: %w", err)
			}
			ask.EndpointParams = url.Values{
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
				"client_assertion":      {strings.TrimSpace(string(proof))},
			}
		}
		return ask.Token(within(ctx, client))
	}, nil
}

// machineIdentity is where a virtual machine of Azure asks for tokens: the one
// link-local address that a sink goes to, and only for this.
const machineIdentity = "http://169.254.169.254/metadata/identity/oauth2/token"

// managed asks the endpoint that App Service and Container Apps name in the
// environment, else that of the virtual machine.
func (c *entraConfig) managed(audience string, timeout time.Duration) (func(context.Context) (*oauth2.Token, error), error) {
	q := url.Values{"resource": {audience}, "api-version": {"2018-02-01"}}
	to, header := machineIdentity, http.Header{"Metadata": {"true"}}
	if endpoint := os.Getenv("IDENTITY_ENDPOINT"); endpoint != "" {
		secret := os.Getenv("IDENTITY_HEADER")
		if secret == "" {
			return nil, errors.New("managed_identity: IDENTITY_ENDPOINT without IDENTITY_HEADER, as on Azure Arc, is not known; use client_secret_file")
		}
		to, header = endpoint, http.Header{"X-Identity-Header": {secret}}
		q.Set("api-version", "2019-08-01")
	}
	if c.ClientID != "" {
		q.Set("client_id", c.ClientID)
	}
	to += "?" + q.Encode()
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       timeout,
	}
	return func(ctx context.Context) (*oauth2.Token, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
		if err != nil {
			return nil, errors.New("managed_identity: IDENTITY_ENDPOINT is not a URL")
		}
		req.Header = header.Clone()
		resp, err := client.Do(req)
		if err != nil {
			return nil, fmt.Errorf("ask the managed identity of this machine: %w", err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
		if err != nil {
			return nil, fmt.Errorf("read token: %w", err)
		}
		if resp.StatusCode != http.StatusOK {
			return nil, &oauth2.RetrieveError{Response: resp, Body: body}
		}
		return managedToken(body, time.Now())
	}, nil
}

// managedToken reads the answer of either endpoint. Numbers come as text.
func managedToken(body []byte, now time.Time) (*oauth2.Token, error) {
	var t struct {
		AccessToken string      `json:"access_token"`
		ExpiresIn   json.Number `json:"expires_in"`
		ExpiresOn   json.Number `json:"expires_on"`
	}
	if err := json.Unmarshal(body, &t); err != nil {
		return nil, errors.New("read token: the answer of the managed identity is not JSON as documented")
	}
	token := &oauth2.Token{AccessToken: t.AccessToken, Expiry: now.Add(time.Hour)}
	if at, err := t.ExpiresOn.Int64(); err == nil && at > 0 && at < 1<<40 {
		token.Expiry = time.Unix(at, 0)
	} else if in, err := t.ExpiresIn.Int64(); err == nil && in > 0 && in < 1<<30 {
		token.Expiry = now.Add(time.Duration(in) * time.Second)
	}
	return token, nil
}
