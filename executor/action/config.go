package action

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/internal/plug"
)

// Config is what the operator declares. Specs of agents name tools; they cannot
// define them.
type Config struct {
	// Credentials is the folder of the users' credentials: USER/SERVER.token or USER/SERVER.TOOL.token, and, beside it with the ending
	// .scopes, what it may do. Folders have mode 0700 and files 0600.
	Credentials string `yaml:"credentials"`
	// Servers are MCP servers.
	Servers []Server `yaml:"servers"`
	// Calls are HTTP calls.
	Calls []Call `yaml:"calls"`
	// Sources say how the inputs of specs are read.
	Sources []Source `yaml:"sources"`
	// Model answers the steps that think. Without it they fail.
	Model *Model `yaml:"model"`
	// Timeout of a call, default 60s.
	Timeout plug.Duration `yaml:"timeout"`
	// Result is the size that an answer may have, default 4MiB.
	Result plug.Bytes `yaml:"result"`
	// Children is how many servers may run at once, over all users, default 64.
	Children int `yaml:"children"`
	// Idle is the time after which a server that is not used is stopped, default 10m.
	Idle plug.Duration `yaml:"idle"`
}

// Server is an MCP server: a command, or a URL.
type Server struct {
	// Name by which tools are called: NAME.TOOL.
	Name string `yaml:"name"`
	// Command is run without a shell, once for each user.
	Command []string `yaml:"command"`
	// Env is all of the command's environment; ${env:NAME} takes over a variable of the executor.
	Env map[string]string `yaml:"env"`
	// Dir is the folder in which the command runs.
	Dir string `yaml:"dir"`
	// URL of a server that speaks streamable HTTP.
	URL string `yaml:"url"`
	// Headers are sent with every request to the URL.
	Headers map[string]string `yaml:"headers"`
	// Auth is user (the default: each user's own token), api_key (each user's own key, which in background needs an admin's leave) or none.
	Auth string `yaml:"auth"`
	// Variable of the environment in which the command finds the user's credential.
	Variable string `yaml:"variable"`
	// Header that carries the user's credential; default Authorization with Bearer.
	Header string `yaml:"header"`
	// ListTokenFile holds a credential that is used to list the tools and for no call.
	ListTokenFile string `yaml:"list_token_file"`
	// Scopes are what calls may do with auth none; default the name of the tool.
	Scopes []string `yaml:"scopes"`
	// Tools says what the server does not say, or not right.
	Tools map[string]Override `yaml:"tools"`
}

// Override is the operator's word about a tool.
type Override struct {
	// Access is read or write.
	Access gate.Access `yaml:"access"`
	// Destructive says whether it may destroy something.
	Destructive *bool `yaml:"destructive"`
	// Idempotent says whether making a call again changes nothing more.
	Idempotent *bool `yaml:"idempotent"`
}

// Call is an HTTP call as a tool.
type Call struct {
	// Name of the tool: SYSTEM.TOOL.
	Name string `yaml:"name"`
	// Description for who chooses tools.
	Description string `yaml:"description"`
	// Method: GET, POST, PUT, PATCH or DELETE.
	Method string `yaml:"method"`
	// URL is literal but for {parameters} of its path, each a whole segment.
	URL string `yaml:"url"`
	// Query values are literal or one {parameter}.
	Query map[string]string `yaml:"query"`
	// Body is sent as JSON; a text that is one {parameter} becomes that value.
	Body any `yaml:"body"`
	// Headers are sent as they are.
	Headers map[string]string `yaml:"headers"`
	// Parameters are the arguments of the call.
	Parameters map[string]Parameter `yaml:"parameters"`
	// Access is read or write; left out it counts as write.
	Access gate.Access `yaml:"access"`
	// Destructive says whether it may destroy something; left out a write does.
	Destructive *bool `yaml:"destructive"`
	// Idempotent is left out for what the method says.
	Idempotent *bool `yaml:"idempotent"`
	// Auth is user (the default), api_key or none.
	Auth string `yaml:"auth"`
	// Header that carries the user's credential; default Authorization with Bearer.
	Header string `yaml:"header"`
	// Scopes are what the call may do with auth none; default the name of the tool.
	Scopes []string `yaml:"scopes"`
	// Statuses are the problem codes of answers by status: {409: resource_conflict}. "ok" makes one a success.
	Statuses map[int]string `yaml:"statuses"`
}

// Parameter of an HTTP call.
type Parameter struct {
	// Type is string (the default), integer, number, boolean, array or object.
	Type string `yaml:"type"`
	// Description for who fills it in.
	Description string `yaml:"description"`
	// Enum lists the only values.
	Enum []string `yaml:"enum"`
	// Optional parameters may be left out; they may not stand in the path.
	Optional bool `yaml:"optional"`
}

// Source says how an input of a spec is read.
type Source struct {
	// Source as specs name it: files:/srv/reports.
	Source string `yaml:"source"`
	// Tool that reads it.
	Tool string `yaml:"tool"`
	// Arguments of the tool.
	Arguments map[string]any `yaml:"arguments"`
}

// Kinds of auth.
const (
	authUser   = "user"
	authAPIKey = "api_key"
	authNone   = "none"
)

// Names: those of servers hold no dot, so that the first dot of a tool's name
// ends its server. MCP allows these characters in the name of a tool.
var (
	serverName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	toolName   = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	variable   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	parameter  = regexp.MustCompile(`^\{([A-Za-z_][A-Za-z0-9_]*)\}$`)
)

// maxTool is the length of a tool's name.
const maxTool = 128

// Load reads the declaration from a file. Every fault is reported, with its
// line.
func Load(file, text string) (Config, error) {
	var c Config
	doc, err := plug.Load(file, text, &c)
	if doc == nil {
		return c, err
	}
	return c, errors.Join(err, c.Check(doc))
}

func (c *Config) fill() {
	if c.Timeout == 0 {
		c.Timeout = plug.Duration(time.Minute)
	}
	if c.Result == 0 {
		c.Result = 4 << 20
	}
	if c.Children == 0 {
		c.Children = 64
	}
	if c.Idle == 0 {
		c.Idle = plug.Duration(10 * time.Minute)
	}
}

// checker collects faults, at their line if the document is known.
type checker struct {
	doc    *plug.Document
	at     []any
	faults []error
}

func (k *checker) fault(hint, msg string, path ...any) {
	if k.doc == nil {
		k.faults = append(k.faults, &plug.Error{Msg: msg, Hint: hint})
		return
	}
	k.faults = append(k.faults, k.doc.Fault(hint, msg, append(slices.Clone(k.at), path...)...))
}

// Check reports every fault. The declaration stands in doc, which may be nil,
// at that path.
func (c *Config) Check(doc *plug.Document, at ...any) error {
	k := &checker{doc: doc, at: at}
	if c.Timeout < 0 || c.Result < 0 || c.Children < 0 || c.Idle < 0 {
		k.fault("leave it out for the default", "a bound is negative")
	}
	needs := false
	names := map[string]bool{}
	for i, s := range c.Servers {
		k.server(i, s)
		if names[s.Name] {
			k.fault("give each its own", fmt.Sprintf("server %s is declared twice", s.Name), "servers", i, "name")
		}
		names[s.Name] = true
		needs = needs || s.Auth != authNone
	}
	calls := map[string]bool{}
	for i, d := range c.Calls {
		k.call(i, d)
		if names[serverOf(d.Name)] {
			k.fault("choose another name before the dot", fmt.Sprintf("call %s has the name of a server", d.Name), "calls", i, "name")
		}
		if calls[d.Name] {
			k.fault("give each its own name", fmt.Sprintf("call %s is declared twice", d.Name), "calls", i, "name")
		}
		calls[d.Name] = true
		needs = needs || d.Auth != authNone
	}
	if needs && c.Credentials == "" {
		k.fault("name the folder: credentials: /etc/agentrail/credentials, or write auth: none where none is needed", "calls are made with the users' credentials, and their folder is not named")
	}
	sources := map[string]bool{}
	for i, s := range c.Sources {
		if s.Source == "" || sources[s.Source] {
			k.fault("each source once", fmt.Sprintf("source %q is empty or declared twice", s.Source), "sources", i)
		}
		sources[s.Source] = true
		if !calls[s.Tool] && !names[serverOf(s.Tool)] || !strings.Contains(s.Tool, ".") {
			k.fault("name a tool of a server or a call that is declared here", fmt.Sprintf("source %s is read by %q, which is not declared", s.Source, s.Tool), "sources", i, "tool")
		}
	}
	if c.Model != nil {
		k.model(*c.Model)
	}
	return errors.Join(k.faults...)
}

func (k *checker) server(i int, s Server) {
	fault := func(hint, msg string, path ...any) { k.fault(hint, msg, append([]any{"servers", i}, path...)...) }
	if !serverName.MatchString(s.Name) {
		fault("write lower-case letters, digits, - and _", fmt.Sprintf("name of a server is %q", s.Name), "name")
	}
	k.auth(s.Auth, s.Header, "servers", i)
	switch {
	case len(s.Command) > 0 && s.URL != "" || len(s.Command) == 0 && s.URL == "":
		fault("write command: [PROGRAM, ARGUMENT] or url: https://HOST/mcp", fmt.Sprintf("server %s needs a command or a url, and not both", s.Name))
	case s.URL != "":
		k.url(s.URL, "servers", i, "url")
		if len(s.Env) > 0 || s.Dir != "" || s.Variable != "" {
			fault("they are for a command", "env, dir and variable do nothing for a url")
		}
	default:
		if s.Command[0] == "" || slices.ContainsFunc(s.Command, func(a string) bool { return strings.ContainsRune(a, 0) }) {
			fault("write the program and its arguments, one text each", "command has no program", "command")
		}
		if len(s.Headers) > 0 || s.Header != "" {
			fault("they are for a url", "header and headers do nothing for a command")
		}
		if s.Auth != authNone && !variable.MatchString(s.Variable) {
			fault("write variable: NAME, or auth: none if it needs no credential", fmt.Sprintf("server %s: the variable that takes the user's credential is %q", s.Name, s.Variable), "variable")
		}
		if s.Auth == authNone && s.Variable != "" {
			fault("", "variable does nothing with auth none", "variable")
		}
		if s.Dir != "" && !filepath.IsAbs(s.Dir) {
			fault("write an absolute path", fmt.Sprintf("dir is %q", s.Dir), "dir")
		}
		for _, name := range slices.Sorted(maps.Keys(s.Env)) {
			if !variable.MatchString(name) || name == s.Variable || strings.ContainsRune(s.Env[name], 0) {
				fault("", fmt.Sprintf("env cannot hold %q", name), "env", name)
			}
		}
	}
	k.headers(s.Headers, "servers", i, "headers")
	for _, name := range slices.Sorted(maps.Keys(s.Tools)) {
		if a := s.Tools[name].Access; a != "" && a != gate.Read && a != gate.Write {
			fault("write read or write", fmt.Sprintf("access of %s is %q", name, a), "tools", name, "access")
		}
	}
}

func (k *checker) auth(auth, header string, at ...any) {
	if !slices.Contains([]string{"", authUser, authAPIKey, authNone}, auth) {
		k.fault("write user, api_key or none", fmt.Sprintf("auth is %q", auth), append(at, "auth")...)
	}
	if header != "" && !headerName.MatchString(header) {
		k.fault("write the name of a header", fmt.Sprintf("header is %q", header), append(at, "header")...)
	}
}

func (k *checker) headers(h map[string]string, at ...any) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if !headerName.MatchString(name) || strings.ContainsAny(h[name], "\r\n\x00") {
			k.fault("", fmt.Sprintf("header %q is none", name), append(at, name)...)
		}
		if http.CanonicalHeaderKey(name) == "Authorization" || http.CanonicalHeaderKey(name) == "Host" {
			k.fault("credentials are files of users", fmt.Sprintf("header %s cannot be set here", name), append(at, name)...)
		}
	}
}

// url refuses what is no plain address of an HTTP server.
func (k *checker) url(text string, at ...any) *url.URL {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		k.fault("write https://HOST/PATH", fmt.Sprintf("url is %q", text), at...)
		return nil
	case u.User != nil:
		k.fault("credentials are files of users", "url holds a user or a password", at...)
	case forbidden(u.Hostname()):
		k.fault("metadata services are never called", fmt.Sprintf("url leads to the link-local address %s", u.Hostname()), at...)
	case u.Fragment != "":
		k.fault("", "url has a fragment", at...)
	}
	return u
}
