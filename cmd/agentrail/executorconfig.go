package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/collector/notary"
	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/executor/trigger"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// executorConfig is the section executor of the config: what `agentrail
// executor` runs with. `agentrail serve` only checks it.
type executorConfig struct {
	// Listen is the address of the executor. Default: 127.0.0.1:7690.
	Listen string `yaml:"listen"`
	// Data is the folder of its own state. It must not be the server's. Default: executor in the config's folder, as are relative paths
	// of this section.
	Data string `yaml:"data"`
	// Tenant whose executor it is. Default: default.
	Tenant string `yaml:"tenant"`
	// Tokens is the token file of its users; a principal's name is the user on whose behalf agents run. Default: executor-tokens.yaml.
	// People may send a signed token of the provider under auth.oidc instead. Moderators who review inputs, or whose subscriptions need their role,
	// must stand in this file (with tokens: [] if they have none): a run in background has no login to take roles from.
	Tokens string `yaml:"tokens"`
	// Server is the address of the Agentrail server that takes its records and tells it what to pause. Default: http://127.0.0.1:7680.
	Server string `yaml:"server"`
	// TokenFile holds a token of that server with the roles ingest and executor. Default: executor.token.
	TokenFile string `yaml:"token_file"`
	// ServerKey is the public key of the server, the .pub beside its evidence.key. With it nothing is resumed, published, approved or taken back unless
	// the server has signed who asked for it; pauses need no proof. Default: none, the server's word is enough.
	ServerKey string `yaml:"server_key"`
	// Traces is the address to which spans go by OTLP over HTTP, such as http://127.0.0.1:4318 of a source otlp. Default: none.
	Traces string `yaml:"traces"`
	// Agents is the folder of specs; each *.yaml in it is an agent. It is read again when it has changed. Default: agents.
	Agents string `yaml:"agents"`
	// Rules is the file with the admin's allow-list and the other rules of the gates. It is read again when it has changed. Without it
	// only reads and confirmed writes pass.
	Rules string `yaml:"rules"`
	// Publishers are the roles that may share and publish agents. Default: moderator and admin.
	Publishers []auth.Role `yaml:"publishers"`
	// Missed says what becomes of schedules that passed while the executor did not run: once (the default: one run makes up for the last, if it is less than an hour late) or skip.
	Missed string `yaml:"missed"`
	// Hosts are names by which MCP clients reach the executor at /mcp, beside localhost and addresses.
	Hosts []string `yaml:"hosts"`
	// Origins are those of web pages that may speak to /mcp. Default: none.
	Origins []string `yaml:"origins"`
	// ConfirmTimeout is how long a person has to confirm a write. Default: 5m.
	ConfirmTimeout plug.Duration `yaml:"confirm_timeout"`

	// Response says what answers alerts: policies, what is protected, adapters. Default: the shipped policies.
	Response plug.Section `yaml:"response"`
	// ResponseFile names a file with the same, of version 1.
	ResponseFile string `yaml:"response_file"`

	Triggers trigger.Config `yaml:",inline"`
	Actions  action.Config  `yaml:",inline"`

	file string
	doc  *plug.Document
	auth *authConfig // of the same file
}

// settle fills the defaults and resolves paths.
func (c *executorConfig) settle(file string) {
	c.file, c.Response.File = file, file
	c.Listen, c.Tenant, c.Server = cmp.Or(c.Listen, strings.TrimPrefix(defaultExecutor, "http://")), cmp.Or(c.Tenant, "default"), cmp.Or(c.Server, defaultServer)
	c.Missed = cmp.Or(c.Missed, "once")
	c.Data, c.Tokens, c.Agents = cmp.Or(c.Data, "executor"), cmp.Or(c.Tokens, "executor-tokens.yaml"), cmp.Or(c.Agents, "agents")
	c.TokenFile = cmp.Or(c.TokenFile, "executor.token")
	paths := []*string{&c.Data, &c.Tokens, &c.TokenFile, &c.ServerKey, &c.Agents, &c.Rules, &c.ResponseFile, &c.Actions.Credentials}
	for i := range c.Triggers.Webhooks {
		paths = append(paths, &c.Triggers.Webhooks[i].SecretFile, &c.Triggers.Webhooks[i].TokenFile)
	}
	for i := range c.Actions.Servers {
		paths = append(paths, &c.Actions.Servers[i].ListTokenFile)
	}
	if m := c.Actions.Model; m != nil {
		paths = append(paths, &m.KeyFile)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(file), *p)
		}
	}
}

// check returns every fault that can be seen without opening anything.
func (c *executorConfig) check(serverData string) error {
	var errs []error
	fault := func(key, hint, format string, args ...any) {
		errs = append(errs, c.doc.Fault(hint, fmt.Sprintf("executor: "+format, args...), "executor", key))
	}
	for _, f := range [][2]string{{"server", c.Server}, {"traces", c.Traces}} {
		if u, err := url.Parse(f[1]); f[1] != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			fault(f[0], "write it as http://HOST:PORT", "%s is %q", f[0], f[1])
		}
	}
	if a, b := abs(c.Data), abs(serverData); a == b || strings.HasPrefix(a, b+string(filepath.Separator)) {
		fault("data", "name another folder", "data lies in the server's data folder")
	}
	if !slices.Contains([]string{"once", "skip"}, c.Missed) {
		fault("missed", "write once or skip", "missed is %q", c.Missed)
	}
	for _, r := range c.Publishers {
		if !slices.Contains([]auth.Role{auth.RoleCreator, auth.RoleModerator, auth.RoleAdmin}, r) {
			fault("publishers", "creator, moderator and admin may be listed", "role %q cannot publish: default members may not share or publish", r)
		}
	}
	if c.ConfirmTimeout < 0 {
		fault("confirm_timeout", "write such as 5m", "confirm_timeout is negative")
	}
	if !c.Response.IsZero() && c.ResponseFile != "" {
		fault("response_file", "keep one of them", "response and response_file are both set")
	}
	if !c.Response.IsZero() {
		_, err := response.Decode(c.Response)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, c.Actions.Check(c.doc, "executor"))...)
}

// responses returns what answers alerts.
func (c *executorConfig) responses() (*response.Config, error) {
	switch {
	case c.ResponseFile != "":
		return response.Load(c.ResponseFile)
	case !c.Response.IsZero():
		return response.Decode(c.Response)
	}
	return response.Shipped(), nil
}

// checkFiles looks into the files that the section names, for validate.
func (c *executorConfig) checkFiles() error {
	_, rules := c.rules()
	policies, responses := c.responses()
	if responses == nil { // opening reaches nobody
		_, responses = response.OpenTargets(policies, response.Deps{Log: slog.New(slog.DiscardHandler)})
	}
	return errors.Join(rules, responses)
}

// rules loads the rules that the section names.
func (c *executorConfig) rules() (*gate.Rules, error) {
	if c.Rules == "" {
		return gate.DefaultRules(), nil
	}
	return gate.LoadRules(c.Rules)
}

// proven returns what checks who asks for controls; nil without server_key.
func (c *executorConfig) proven() (func(schemas.Control) error, error) {
	if c.ServerKey == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.ServerKey)
	if err != nil {
		return nil, hintf("copy the .pub beside the server's evidence.key to "+c.ServerKey, "read public key of the server: %w", err)
	}
	return notary.ControlCheck(string(text))
}

// token reads the token for the server.
func (c *executorConfig) token() (string, error) {
	b, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return "", hintf("make one where the server runs: agentrail token new --file TOKENS.yaml --name executor --roles ingest,executor > "+c.TokenFile, "read token of the server: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
