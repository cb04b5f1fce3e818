package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is the program under test in one folder.
type server struct {
	dir, conf, url, token string
	cmd                   *exec.Cmd
	done                  chan struct{}
	broken                []error // promises
}

func (s *server) data() string   { return filepath.Join(s.dir, "data") }
func (s *server) secret() string { return filepath.Join(s.dir, "secret") }

// secret is that of all receivers.
const secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"

// Parts of configs.
const (
	withDetectors = `detectors:
  - {kind: subscription, zone: America/New_York}
  - {kind: burst}
  - {kind: denial}
`
	withoutDetectors = "detectors: []\n"
	withoutStore     = "store: {kind: none}\n"
	archiveSink      = "  - {kind: file, name: archive, path: %s, from: start}\n"
)

// newServer makes the folder's token; configure and start come next.
func newServer(ctx context.Context, dir string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	token, err := exec.CommandContext(ctx, *bin, "token", "new", "--file", filepath.Join(dir, "tokens.yaml"), "--name", "faults", "--tenant", "default", "--roles", "ingest,viewer,admin").Output()
	if err != nil {
		return nil, fmt.Errorf("make token: %w", err)
	}
	s := &server{dir: dir, conf: filepath.Join(dir, "agentrail.yaml"), url: "http://" + addr, token: strings.TrimSpace(string(token))}
	return s, os.WriteFile(s.secret(), []byte(secret), 0o600)
}

// configure writes the config: parts, and the sinks beside the archive.
func (s *server) configure(parts, sinks string) error {
	text := fmt.Sprintf("version: 1\ndata: %s\nlisten: %s\nlog: {level: warn}\njournal: {reserve: 16MiB, segment_bytes: 8MiB}\n%ssinks:\n"+archiveSink+"%s",
		s.data(), strings.TrimPrefix(s.url, "http://"), parts, filepath.Join(s.dir, "archive.ndjson"), sinks)
	return os.WriteFile(s.conf, []byte(text), 0o600)
}

// start runs the program and waits until it answers.
func (s *server) start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(s.dir, "serve.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(*bin, "serve", "--config", s.conf)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	s.done = done
	cmd := s.cmd
	go func() { _ = cmd.Wait(); close(done) }()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		r, err := http.Get(s.url + "/livez")
		if err == nil {
			r.Body.Close()
			return nil
		}
		select {
		case <-done:
			return fmt.Errorf("serve ended at start; its log:\n%s", s.tail())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("serve did not answer within 30 s; its log:\n%s", s.tail())
}

func (s *server) tail() []byte {
	b, _ := os.ReadFile(filepath.Join(s.dir, "serve.log"))
	return b[max(0, len(b)-4000):]
}

// waitFor lets time pass and fails if the program ends meanwhile by itself.
func (s *server) waitFor(ctx context.Context, d time.Duration) error {
	select {
	case <-s.done:
		return fmt.Errorf("serve ended by itself; its log:\n%s", s.tail())
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (s *server) kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.done
}

// stop ends the program the ordinary way.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
		return nil
	case <-time.After(20 * time.Second):
		s.kill()
		return fmt.Errorf("serve did not end within 20 s of SIGTERM")
	}
}

// killEngine kills the engine child, which serve has to start again.
func (s *server) killEngine() {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.cmd.Process.Pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(t)
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

// get reads a JSON answer of the API.
func (s *server) get(ctx context.Context, path string, into any) error {
	r, err := s.open(ctx, path)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	return json.NewDecoder(r.Body).Decode(into)
}

func (s *server) open(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusOK {
		r.Body.Close()
		return nil, fmt.Errorf("get %s: %s", path, r.Status)
	}
	return r, nil
}

// status is what the server says about itself.
type status struct {
	Ready     bool     `json:"ready"`
	NotReady  []string `json:"not_ready"`
	Consumers []struct {
		Name string `json:"name"`
		Lag  uint64 `json:"lag"`
	} `json:"consumers"`
}

// drained waits for a moment at which the consumer, or every one if it is "",
// has read everything, ticks and all.
func (s *server) drained(ctx context.Context, consumer string) error {
	var last string
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); {
		var st status
		if err := s.get(ctx, "/agentrail/v1/status", &st); err != nil {
			return err
		}
		behind := uint64(0)
		for _, c := range st.Consumers {
			if consumer == "" || consumer == c.Name {
				behind += c.Lag
			}
		}
		if (st.Ready || consumer != "") && behind == 0 && len(st.Consumers) > 0 {
			return nil
		}
		last = fmt.Sprintf("%+v", st)
		if err := s.waitFor(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("not drained after 3 min: %s", last)
}
