package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/agentrail/agentrail/internal/auth"
)

// house is a server and an executor, each a process, with their folder.
type house struct {
	dir              string
	server, executor string // addresses
	ops, boss        string // tokens: of the server, and of the executor's admin
	parts            []*part
}

// part is a process.
type part struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// newHouse writes configs and tokens: policies is the file of the executor's
// policies.
func newHouse(dir, policies string) (*house, error) {
	h := &house{dir: dir}
	for _, at := range []*string{&h.server, &h.executor} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		*at = "http://" + l.Addr().String()
		l.Close()
	}
	for _, d := range []string{"agents", "files/out"} {
		if err := os.MkdirAll(h.path(d), 0o700); err != nil {
			return nil, err
		}
	}
	program, err := filepath.Abs(*bin)
	if err != nil {
		return nil, err
	}
	var errs []error
	write := func(name, text string) { errs = append(errs, os.WriteFile(h.path(name), []byte(text), 0o600)) }
	token := func(file, name string, roles ...auth.Role) string {
		t, err := auth.Generate(h.path(file), auth.Principal{Name: name, Tenant: "default", Roles: roles}, 0)
		errs = append(errs, err)
		return t
	}
	h.ops = token("tokens.yaml", "ops", auth.RoleIngest, auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin)
	h.boss = token("executor-tokens.yaml", "boss@example.com", auth.RoleModerator, auth.RoleAdmin)
	write("executor.token", token("tokens.yaml", "executor", auth.RoleIngest, auth.RoleExecutor))
	write("policies.yaml", policies)
	write("gates.yaml", fmt.Sprintf(`version: 1
writes:
  - tool: files.write_file
    destinations: {path: [%q]}
destructive:
  - {tool: files.write_file, reviewer: boss@example.com, reason: the folder out holds nothing else, rollback: written anew, expires: %s}
bounds: {rate: 12000, items: 100}
`, h.path("files/out")+"/", time.Now().UTC().AddDate(0, 1, 0).Format(time.DateOnly)))
	write("agentrail.yaml", fmt.Sprintf(`version: 1
data: %q
listen: %s
log: {level: warn}
store: {kind: %s}
executor:
  listen: %s
  server: %s
  rules: gates.yaml
  response_file: policies.yaml
  servers:
    - {name: files, command: [%q, sample-mcp, %q], auth: none}
`, h.path("data"), strings.TrimPrefix(h.server, "http://"), *store, strings.TrimPrefix(h.executor, "http://"), h.server, program, h.path("files")))
	return h, errors.Join(errs...)
}

func (h *house) path(name string) string { return filepath.Join(h.dir, filepath.FromSlash(name)) }

// member makes a user of the executor and returns their token.
func (h *house) member(name string) (string, error) {
	return auth.Generate(h.path("executor-tokens.yaml"), auth.Principal{Name: name, Tenant: "default", Roles: []auth.Role{auth.RoleMember}}, 0)
}

// start starts the server, then the executor, and waits until both are ready.
func (h *house) start(ctx context.Context) error {
	for _, p := range []struct{ verb, url string }{{"serve", h.server}, {"executor", h.executor}} {
		log, err := os.Create(h.path(p.verb + ".log"))
		if err != nil {
			return err
		}
		defer log.Close()
		cmd := exec.Command(*bin, p.verb, "--config", h.path("agentrail.yaml"))
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start %s: %w; make it with: make build", *bin, err)
		}
		one := &part{cmd: cmd, done: make(chan struct{})}
		go func() { _ = cmd.Wait(); close(one.done) }()
		h.parts = append(h.parts, one)
		if err := h.ready(ctx, p.url, one); err != nil {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s: %w; its log:\n%s", p.verb, err, text[max(0, len(text)-4000):])
		}
	}
	return nil
}

func (h *house) ready(ctx context.Context, url string, p *part) error {
	return eventually(ctx, time.Minute, "it is ready", func() (bool, error) {
		select {
		case <-p.done:
			return false, errors.New("ended at its start")
		default:
		}
		r, err := http.Get(url + "/readyz")
		if err != nil {
			return false, nil //nolint:nilerr // it does not listen yet
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK, nil
	})
}

// stop ends the processes, the last one first.
func (h *house) stop() {
	for _, p := range slices.Backward(h.parts) {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(20 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
}

// eventually waits until it is so.
func eventually(ctx context.Context, most time.Duration, what string, so func() (bool, error)) error {
	for end := time.Now().Add(most); ; {
		ok, err := so()
		if ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %s: %s", most, what)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
}

const poll = 5 * time.Millisecond

// refused is an answer that is no success.
type refused struct {
	status int
	text   string
}

func (e *refused) Error() string { return fmt.Sprintf("answered %d: %s", e.status, e.text) }

// call asks a server and reads its answer into the document; both bodies may be
// nil.
func call(ctx context.Context, method, url, token string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %w", method, url, &refused{resp.StatusCode, string(answer[:min(len(answer), 300)])})
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}
