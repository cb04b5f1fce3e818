package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/deploy/sample/agents"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/internal/auth"
)

// upState is kept in the folder between runs.
type upState struct {
	Seed    uint64    `json:"seed"`
	End     time.Time `json:"end"`     // of the sample day
	Played  bool      `json:"played"`  // wholly
	Table   string    `json:"table"`   // of incidents, as it was printed
	Perfect bool      `json:"perfect"` // every incident found, every twin quiet

	Enrolled bool `json:"enrolled,omitempty"` // the sample agents were published and subscribed to
}

// upRunning lies in the folder while an up runs there.
type upRunning struct {
	PID      int    `json:"pid"`
	URL      string `json:"url"`
	Executor string `json:"executor,omitempty"`
}

const (
	stateFile   = "up.json"
	runningFile = "running.json"
)

// prepare makes the folder, its config and a token.
func (u *up) prepare(ctx context.Context) (*config, error) {
	here, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the current folder: %w", err)
	}
	if u.dir, err = filepath.Abs(u.dir); err != nil {
		return nil, err
	}
	u.cmds = newUpCommands(u.c, u.dir, here)
	if r, ok := runningIn(ctx, u.dir); ok {
		return nil, hintf("plant an incident into it with: "+u.cmds.demo("burst")+"; or name another folder with --data",
			"agentrail up runs in %s already, as process %d at %s", u.cmds.path(), r.PID, r.URL)
	}
	conf := filepath.Join(u.dir, "config", "agentrail.yaml")
	for _, d := range []string{"config", "export"} {
		if err := os.MkdirAll(filepath.Join(u.dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
	}
	if u.past, err = readState(u.dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(conf); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(conf, []byte(upConfig(u.dir, u.c.now())), 0o600); err != nil {
			return nil, fmt.Errorf("write config: %w", err)
		}
	}
	cfg, err := loadConfig(conf)
	if err != nil {
		return nil, err
	}
	u.view.line("folder     %s", u.cmds.path())
	if cfg.Listen, err = freeAddress(u.listen, u.view); err != nil {
		return nil, err
	}
	if u.token, err = upToken(u.dir, cfg); err != nil {
		return nil, err
	}
	if cfg.Executor != nil { // the server reads its tokens once
		if err := u.prepareExecutor(cfg); err != nil {
			return nil, err
		}
	}
	return cfg, nil
}

// readState returns what the folder says of earlier runs; nothing if there were
// none.
func readState(dir string) (past upState, err error) {
	file := filepath.Join(dir, stateFile)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return past, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &past)
	}
	if err != nil {
		return past, hintf("remove the file, or the whole folder to begin anew", "read %s: %w", file, err)
	}
	return past, nil
}

// save keeps the state; the file is whole at any time.
func (u *up) save() error {
	b, err := json.MarshalIndent(u.past, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(u.dir, stateFile)
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		return fmt.Errorf("keep state: %w", err)
	}
	return os.Rename(file+".new", file)
}

// mark says in the folder that this process runs there; the function that it
// returns takes that back.
func (u *up) mark(url string) func() {
	file := filepath.Join(u.dir, runningFile)
	b, err := json.Marshal(upRunning{PID: os.Getpid(), URL: url, Executor: u.executor})
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		u.view.line("note       demo will not find this server: %v", err)
	}
	return func() { _ = os.Remove(file) } // one that stays names a process that is gone
}

// runningIn returns the up that runs in the folder, if one does and answers.
func runningIn(ctx context.Context, dir string) (r upRunning, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, runningFile))
	if err != nil || json.Unmarshal(b, &r) != nil || r.PID <= 0 || errors.Is(syscall.Kill(r.PID, 0), syscall.ESRCH) {
		return r, false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/livez", nil)
	if err != nil {
		return r, false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, false
	}
	resp.Body.Close()
	return r, resp.StatusCode == http.StatusOK
}

// explain adds what to do about the faults that a folder can have.
func (u *up) explain(err error) error {
	if _, ok := errors.AsType[*hinted](err); ok && !errors.Is(err, journal.ErrLocked) {
		return err
	}
	switch {
	case errors.Is(err, journal.ErrLocked):
		return hintf("end the other one (an agentrail that was just ended may take a moment), or name another folder with --data",
			"another agentrail has the journal in %s open: %w", u.cmds.path("data"), err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return hintf("make room, some 500 MB, or name a folder on another disk with --data; what was acknowledged is kept", "%w", err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR):
		return hintf("name a folder that you may write to with --data", "%w", err)
	}
	return err
}

// seeding is how long after its first start up may publish and subscribe to its
// samples without an alert.
const seeding = 24 * time.Hour

// upConfig is the config that up writes; people may change it.
func upConfig(dir string, now time.Time) string {
	until := now.Add(seeding).UTC().Format(time.RFC3339)
	var enrolled strings.Builder // it may be off-hours
	for _, agent := range agents.Published {
		fmt.Fprintf(&enrolled, "  - {rule: subscription, entity: \"subscription:%s\", reason: agentrail up subscribes to its sample agent %s, expires: %s}\n",
			platform.OnceID("sub", upUser, enrolKey(agent)), agent, until)
	}
	return fmt.Sprintf(`# Written by agentrail up; change it as you like.
version: 1
data: %[1]s
auth: {tokens: tokens.yaml}
detectors:
  - {kind: subscription, zone: %[3]s}
  - {kind: burst}
  - {kind: denial}
  - {kind: rateband}
  - {kind: shape}
  - {kind: sigma, rules: shipped}
  - {kind: gatecheck}
  - {kind: joined}
  - {kind: silence}
  - {kind: tampering}
exceptions: # what up itself does at its first start
  - {rule: agents_deployed_in_bulk, entity: "actor:agentrail-executor", reason: agentrail up brings a dozen sample agents, expires: %[5]s}
  - {rule: agents_deployed_in_bulk, entity: "actor:%[6]s", reason: agentrail up publishes its sample agents and subscribes to them, expires: %[5]s}
%[7]ssources:
  - {kind: workflowrun, allow_backfill: true}
  - {kind: audit, allow_backfill: true}
sinks:
  - {kind: file, name: archive, path: %[2]s, filter: 'class == "alert" || access != "read"', from: start}
%[4]s`, filepath.Join(dir, "data"), filepath.Join(dir, "export", "events.ndjson"), sample.Zone, upExecutorConfig(dir),
		until, upUser, enrolled.String())
}

// upToken returns the token in the folder, making it at the first start.
func upToken(dir string, cfg *config) (string, error) {
	file := filepath.Join(dir, "token")
	if b, err := os.ReadFile(file); err == nil {
		if _, err := os.Stat(cfg.Auth.Tokens); err == nil {
			return string(b), nil
		}
	}
	token, err := auth.Generate(cfg.Auth.Tokens, auth.Principal{
		Name: upPrincipal, Tenant: cfg.Auth.Tenant,
		Roles: []auth.Role{auth.RoleIngest, auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin, auth.RoleAuditor},
	}, 0)
	if err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	return token, os.WriteFile(file, []byte(token), 0o600)
}

func (u *up) openLog() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(u.dir, "serve.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}
