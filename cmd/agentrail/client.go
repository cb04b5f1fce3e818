package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// defaultServer is where serve and up listen if nothing else is said.
const defaultServer = "http://127.0.0.1:7680"

// defaultExecutor is where the executor listens if nothing else is said.
const defaultExecutor = "http://127.0.0.1:7690"

// service is one of the processes that verbs talk to, and where they find it.
type service struct {
	name     string                   // in messages
	flag     string                   // of its address
	env      string                   // of its address
	tokenEnv string                   // of the file with the token
	address  string                   // where it listens if nothing else is said
	prefix   string                   // of the paths
	token    string                   // name of the token file in the usual places
	start    string                   // how to start it
	newToken string                   // how to make a token, up to the roles
	of       func(r upRunning) string // its address in an `agentrail up`
}

var pipeline = service{
	name: "server", flag: "server", env: "AGENTRAIL_SERVER", tokenEnv: "AGENTRAIL_TOKEN_FILE", address: defaultServer, prefix: api.Prefix, token: "token",
	start:    "agentrail up, or: agentrail serve --config FILE",
	newToken: "agentrail token new --file TOKENS.yaml --name me --roles ",
	of:       func(r upRunning) string { return r.URL },
}

var executorService = service{
	name: "executor", flag: "executor", env: "AGENTRAIL_EXECUTOR", tokenEnv: "AGENTRAIL_EXECUTOR_TOKEN_FILE", address: defaultExecutor, token: "executor.token",
	start:    "agentrail up, or: agentrail executor --config FILE",
	newToken: "agentrail token new --file EXECUTOR-TOKENS.yaml --name me@example.com --roles ",
	of:       func(r upRunning) string { return r.Executor },
}

// addExecutor adds the flags that every verb has that talks to the executor.
func addExecutor(c *console, cmd *cobra.Command) *client { return addService(c, cmd, executorService) }

// client talks to the API of a service.
type client struct {
	c         *console
	at        service
	server    string
	tokenFile string
	memory    bool // the last good answer came from the server's memory
}

// addClient adds the flags that every client verb has.
func addClient(c *console, cmd *cobra.Command) *client { return addService(c, cmd, pipeline) }

func addService(c *console, cmd *cobra.Command, at service) *client {
	cl := &client{c: c, at: at}
	cmd.Flags().StringVar(&cl.server, at.flag, "", "address of the "+at.name+" (env "+at.env+"; default "+at.address+")")
	cmd.Flags().StringVar(&cl.tokenFile, "token-file", "", "file with the token (env "+at.tokenEnv+"; default ~/.config/agentrail/"+at.token+", then data/"+at.token+" of `agentrail up`)")
	return cl
}

// filter holds the flags that select rows.
type filter struct{ flags []filterFlag }

type filterFlag struct{ name, value string }

// addFilter adds the named filters to the command.
func addFilter(cmd *cobra.Command, names ...string) *filter {
	usage := map[string]string{
		"since":        "from that time on: RFC 3339, or how long ago (15m, 2h, 7d)",
		"until":        "before that time: RFC 3339, or how long ago",
		"actor":        "id or e-mail address of the actor",
		"agent":        "id of the agent",
		"action":       "normalised action, such as tool.execute, or a prefix: 'subscription.*'",
		"tool":         "name of the tool",
		"subscription": "id of the subscription",
		"outcome":      "ok, denied, error, cancelled or unknown",
		"class":        "activity, alert, control, evidence or health",
		"kind":         "kind of record, such as api_call or workflow_run",
		"run":          "id of the run",
		"trace":        "id of the trace",
		"after":        "go on behind that row; the end of a list that was cut says what to write",
		"rule":         "name of the rule",
		"severity":     "informational, low, medium, high or critical",
		"state":        "open (reopened, too), acknowledged, silenced, reopened, resolved or unresolved",
		"consumer":     "source or sink that could not take it",
		"sink":         "name of a sink; all without",
	}
	f := &filter{}
	for _, n := range names {
		f.flags = append(f.flags, filterFlag{name: n})
	}
	for i := range f.flags {
		cmd.Flags().StringVar(&f.flags[i].value, f.flags[i].name, "", usage[f.flags[i].name])
		if set := api.ClosedSets()[f.flags[i].name]; len(set) > 0 {
			closedSet(cmd, f.flags[i].name, set...)
		}
	}
	return f
}

// query returns the filters as query parameters. Times are checked here, so
// that a typo costs no trip.
func (f *filter) query(now time.Time, limit, most int) (url.Values, error) {
	q := url.Values{}
	for _, fl := range f.flags {
		if fl.value == "" {
			continue
		}
		if fl.name == "since" || fl.name == "until" {
			t, err := api.ParseTime(fl.value, now)
			if err != nil {
				return nil, usagef("write 2026-11-23T08:00:00Z, or how long ago: 15m, 2h, 7d", "--%s is %q, which is no time", fl.name, fl.value)
			}
			q.Set(fl.name, t.Format(time.RFC3339Nano))
			continue
		}
		q.Set(fl.name, fl.value)
	}
	if limit < 1 || limit > most {
		return nil, usagef(fmt.Sprintf("use --limit 1 to %d", most), "--limit is %d", limit)
	}
	q.Set("limit", strconv.Itoa(limit))
	return q, nil
}

// get fills into with the JSON answer of a path under the API's prefix.
func (cl *client) get(ctx context.Context, path string, q url.Values, into any) error {
	body, err := cl.do(ctx, http.MethodGet, path, q, nil, "application/json")
	if err != nil {
		return err
	}
	defer body.Close()
	return decodeAnswer(body, into)
}

// post sends a JSON document and fills into with the answer.
func (cl *client) post(ctx context.Context, path string, doc, into any) error {
	return cl.postOnce(ctx, "", path, doc, into)
}

// postOnce is post with a key: whatever is sent again with it is done once.
func (cl *client) postOnce(ctx context.Context, key, path string, doc, into any) error {
	b, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	req, err := cl.request(ctx, http.MethodPost, path, nil, b)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	body, err := cl.send(req)
	if err != nil {
		return err
	}
	defer body.Close()
	return decodeAnswer(body, into)
}

func decodeAnswer(body io.Reader, into any) error {
	if err := json.NewDecoder(body).Decode(into); err != nil {
		return hintf("is --server really an Agentrail server, of the same version?", "read answer of server: %w", err)
	}
	return nil
}

// do sends a request and returns the body of a good answer, which the caller
// closes.
func (cl *client) do(ctx context.Context, method, path string, q url.Values, body []byte, accept string) (io.ReadCloser, error) {
	req, err := cl.request(ctx, method, path, q, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	return cl.send(req)
}

// request makes a request with the token in it.
func (cl *client) request(ctx context.Context, method, path string, q url.Values, body []byte) (*http.Request, error) {
	base, err := cl.base()
	if err != nil {
		return nil, err
	}
	token, err := cl.token()
	if err != nil {
		return nil, err
	}
	u := base.JoinPath(cl.at.prefix, path)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", "agentrail/"+version)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// send returns the body of a good answer, which the caller closes.
func (cl *client) send(req *http.Request) (io.ReadCloser, error) {
	hc := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := hc.Do(req)
	if err != nil {
		return nil, cl.at.explainDial(req.URL, err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		cl.memory = resp.Header.Get(api.AnsweredFrom) == "memory"
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, cl.explainProblem(resp)
}

// sayMemory says on standard error that a list is not the whole.
func (cl *client) sayMemory() {
	if cl.memory {
		fmt.Fprintln(cl.c.err, "answered from the server's memory, which holds the newest only: there is no store, or it is not open yet")
	}
}

func (cl *client) base() (*url.URL, error) {
	s := firstOf(cl.server, cl.c.env(cl.at.env), cl.running(), cl.at.address)
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usagef("write it as "+cl.at.address, "%s address %q is no http address", cl.at.name, s)
	}
	return u, nil
}

// running is the address of the `agentrail up` that runs in the folder of the
// token file, if one does: a token and the address beside it belong together.
func (cl *client) running() string {
	for _, file := range cl.tokenFiles() {
		if _, err := os.Stat(file); err != nil {
			continue
		}
		var r upRunning
		if b, err := os.ReadFile(filepath.Join(filepath.Dir(file), runningFile)); err == nil && json.Unmarshal(b, &r) == nil {
			return cl.at.of(r)
		}
		break
	}
	return ""
}

// maxTokenFile caps a token file, bytes.
const maxTokenFile = 4 << 10

// token reads the first token file that there is. A file that was named must
// be there.
func (cl *client) token() (string, error) {
	named := firstOf(cl.tokenFile, cl.c.env(cl.at.tokenEnv))
	files := cl.tokenFiles()
	for _, file := range files {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) && named == "" {
			continue
		}
		if err != nil {
			return "", hintf("make one where the "+cl.at.name+" runs: "+cl.at.newToken+"viewer > "+file, "read token: %w", err)
		}
		b, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
		f.Close()
		if err != nil {
			return "", fmt.Errorf("read token: %w", err)
		}
		token := strings.TrimSpace(string(b))
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return "", hintf("the file must hold one token and nothing else", "token file %s holds no token", file)
		}
		return token, nil
	}
	return "", hintf("name it with --token-file; `agentrail up` writes one, `agentrail token new` makes one",
		"no token file; looked at %s", strings.Join(files, " and "))
}

// tokenFiles are where the token may be: the file that was named, or else the
// usual places.
func (cl *client) tokenFiles() []string {
	if named := firstOf(cl.tokenFile, cl.c.env(cl.at.tokenEnv)); named != "" {
		return []string{named}
	}
	dir := cl.c.env("XDG_CONFIG_HOME")
	if dir == "" {
		dir = filepath.Join(cl.c.env("HOME"), ".config")
	}
	return []string{filepath.Join(dir, "agentrail", cl.at.token), filepath.Join("data", cl.at.token)}
}

func (s service) explainDial(at *url.URL, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return hintf("start it with: "+s.start+"; or name another with --"+s.flag,
			"no %s answers at %s://%s: %w", s.name, at.Scheme, at.Host, op.Err)
	}
	return fmt.Errorf("ask %s: %w", s.name, err)
}

// answered is a problem that the server named.
type answered struct {
	status int
	code   string
	text   string
}

func (e *answered) Error() string { return e.text }

// explainProblem turns an answer of RFC 9457 into an error with a hint.
func (cl *client) explainProblem(resp *http.Response) error {
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Code   string `json:"code"`
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if json.Unmarshal(b, &p) != nil || p.Title == "" {
		return hintf("is --"+cl.at.flag+" really an Agentrail "+cl.at.name+"?", "%s answered %s", cl.at.name, resp.Status)
	}
	hint := ""
	switch resp.StatusCode {
	case http.StatusBadRequest:
		return usagef(p.Detail, "%s refused the request: %s", cl.at.name, p.Title)
	case http.StatusUnauthorized:
		hint = "the token was read from " + cl.tokenPlace() + "; name another with --token-file, or make one where the " + cl.at.name + " runs: " + cl.at.newToken + "viewer"
	case http.StatusForbidden:
		hint = "make a token with that role where the " + cl.at.name + " runs: " + cl.at.newToken + neededRole(p.Detail)
		if p.Code == "not_operator" {
			hint = "ask those who run the server; auth.tenant in its config is their tenant"
		}
	case http.StatusNotFound:
		hint = "agentrail version says what runs here, agentrail doctor what runs there"
		if p.Code == "not_found" {
			hint = "list what there is, or name another tenant's token with --token-file"
		}
	case http.StatusServiceUnavailable:
		hint = "try again"
		if s := resp.Header.Get("Retry-After"); s != "" {
			hint = "try again in " + s + " s"
		}
		hint += "; GET /readyz says what is not ready, agentrail doctor more"
	}
	err := &answered{resp.StatusCode, p.Code, fmt.Sprintf("%s answered %d %s: %s", cl.at.name, resp.StatusCode, p.Title, firstOf(p.Detail, p.Code))}
	if hint == "" {
		return err
	}
	return &hinted{err: err, hint: hint}
}

// neededRole picks a role that would do from the server's answer to a caller
// without it: "... needs the role viewer or admin; principal ...".
func neededRole(detail string) string {
	_, rest, _ := strings.Cut(detail, "needs the role ")
	rest, _, _ = strings.Cut(rest, ";")
	role, _, _ := strings.Cut(rest, " or ")
	return firstOf(role, "viewer")
}

// tokenPlace names the file that the token is read from.
func (cl *client) tokenPlace() string {
	if named := firstOf(cl.tokenFile, cl.c.env(cl.at.tokenEnv)); named != "" {
		return named
	}
	for _, file := range cl.tokenFiles() {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return strings.Join(cl.tokenFiles(), " and ")
}
