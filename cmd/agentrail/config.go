package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
	"github.com/agentrail/agentrail/sinks/alerting"
)

// config is the whole configuration: one strict YAML file, plus the files of a
// config.d folder beside it, whose lists are added to the first file's.
type config struct {
	// Version of the file's format. Mandatory; 1.
	Version int `yaml:"version"`
	// Data is the one folder that everything lies in. Default: data. Relative
	// paths here and under auth, evidence and mappings are taken from the
	// config's folder.
	Data string `yaml:"data"`
	// Listen is the address of the server. Default: 127.0.0.1:7680.
	Listen    string         `yaml:"listen"`
	Auth      authConfig     `yaml:"auth"`
	Log       logConfig      `yaml:"log"`
	Journal   journalConfig  `yaml:"journal"`
	Evidence  evidenceConfig `yaml:"evidence"`
	Store     storeConfig    `yaml:"store"`
	SQL       sqlConfig      `yaml:"sql"`
	Tempo     tempoConfig    `yaml:"tempo"`
	Mappings  []string       `yaml:"mappings"` // further mapping files; one of a shipped name takes its place
	Sources   []plug.Config  `yaml:"sources"`
	Detectors []plug.Config  `yaml:"detectors"`
	// Modes say what may follow from the alerts of a rule, by its name or id, or
	// of all rules of a detector, by its name: shadow, nobody is told; warn, no
	// policy acts; enforce, policies may act. Default: what the rule says itself
	// (agentrail: {mode: shadow}), else enforce.
	Modes map[string]schemas.Mode `yaml:"modes"`
	// Runbooks say what to do about the alerts of a rule, by the same names: an
	// address (http or https) or a sentence. It stands in each alert.
	Runbooks map[string]string `yaml:"runbooks"`
	// Exceptions are what people do not want to be told of.
	Exceptions []detectors.Exception `yaml:"exceptions"`
	Alerting   alertingConfig        `yaml:"alerting"`
	Sinks      []plug.Config         `yaml:"sinks"`
	Console    consoleConfig         `yaml:"console"`
	// Executor is what agentrail executor runs with; serve does not look at it.
	Executor *executorConfig `yaml:"executor"`

	file  string
	given struct{ sources, detectors bool } // an empty list means none, a missing one the default
}

// authConfig says who may call.
type authConfig struct {
	// Tokens is the token file; make entries with `agentrail token new`.
	// Default: tokens.yaml in the config's folder.
	Tokens string `yaml:"tokens"`
	// Tenant owns what comes in by sources that have no credential, such as
	// files. Default: default.
	Tenant string `yaml:"tenant"`
	// Issuers let callers in that bring a signed token (JWT) of an identity
	// provider, such as a push subscription of Google Cloud Pub/Sub.
	Issuers []auth.Issuer `yaml:"issuers"`
	// OIDC is the identity provider at which people log in to the pages, and whose
	// signed tokens they may send to the API and to the executor.
	OIDC *auth.OIDC `yaml:"oidc"`
}

// logConfig says what the program logs about itself.
type logConfig struct {
	Level  string `yaml:"level"`  // debug, info, warn, error; default info
	Format string `yaml:"format"` // json or text; default json
}

// journalConfig bounds the commit log.
type journalConfig struct {
	MaxBytes     plug.Bytes    `yaml:"max_bytes"`     // bound of intake on disk; past it intake answers 503; default 20GiB
	Reserve      plug.Bytes    `yaml:"reserve"`       // preallocated for alerts and controls; default 256MiB
	SegmentBytes plug.Bytes    `yaml:"segment_bytes"` // default 64MiB
	Retention    plug.Duration `yaml:"retention"`     // age after which whole segments go, once every cursor has read them; default 30d
	TailBytes    plug.Bytes    `yaml:"tail_bytes"`    // memory for batches that consumers at the tail share; default 24MiB
	DedupWindow  int           `yaml:"dedup_window"`  // event ids remembered; default 1000000
	EvictUnread  bool          `yaml:"evict_unread"`  // at max_bytes let the oldest go even if a cursor has not read it, rather than answer 503; each time is an event; default false
}

// evidenceConfig says how the journal's heads are signed.
type evidenceConfig struct {
	// Key is the Ed25519 signing key, made at the first start. It must lie
	// outside the data folder. Default: head.key in the config's folder.
	Key string `yaml:"key"`
	// Origin names this journal in signed heads. Default: agentrail.
	Origin string `yaml:"origin"`
}

// storeConfig says where people's queries are answered from.
type storeConfig struct {
	Kind    string      `yaml:"kind"` // embedded, clickhouse or none; default embedded
	DSN     plug.Secret `yaml:"dsn"`  // of a ClickHouse, for kind clickhouse
	DSNFile string      `yaml:"dsn_file"`
	Library string      `yaml:"library"` // path of libchdb.so, for kind embedded; empty: fetched once
	// LibrarySHA256 is the library's checksum, where it is not the pinned release.
	LibrarySHA256 string `yaml:"library_sha256"`

	Cache  string     `yaml:"cache"`  // folder of the fetched library; default: the user's cache folder
	Memory plug.Bytes `yaml:"memory"` // cap of the engine; default 1GiB
	Raw    *bool      `yaml:"raw"`    // keep records as received in the store too; default true
}

// sqlConfig lets callers with the role sql, such as Grafana, read the store's
// tables at /agentrail/v1/sql.
type sqlConfig struct {
	Enabled bool `yaml:"enabled"` // default false
	// URL of a ClickHouse's HTTP interface with a user that may only read:
	// http://reader:key@host:8123/database. Mandatory for store.kind clickhouse;
	// the embedded engine needs none.
	URL     plug.Secret `yaml:"url"`
	URLFile string      `yaml:"url_file"`

	Time   plug.Duration `yaml:"time"`    // of one statement; default 30s
	Rows   int64         `yaml:"rows"`    // of one answer; default 1000000
	Bytes  plug.Bytes    `yaml:"bytes"`   // of one answer; default 256MiB
	Memory plug.Bytes    `yaml:"memory"`  // of one statement; default 512MiB
	AtOnce int           `yaml:"at_once"` // statements at once; default 4
}

// tempoConfig says where traces are searched, and read if the store lacks
// them: the HTTP API of a Grafana Tempo that a sink of kind tempo fills.
type tempoConfig struct {
	URL       string      `yaml:"url"` // such as http://tempo:3200; default: none
	Token     plug.Secret `yaml:"token"`
	TokenFile string      `yaml:"token_file"`
	// Org is sent as X-Scope-OrgID; the word tenant stands for the tenant that
	// asks. With another value, or none, only the operator's tenant may ask.
	Org string `yaml:"org"`
}

// alertingConfig says how people are told of alerts: by Alertmanager's routing
// within this process, or by Alertmanagers outside. Without either, alerts are
// shown and forwarded, and nobody is notified.
type alertingConfig struct {
	// File is an ordinary alertmanager.yml; its receivers are notified by this
	// process. Default: none.
	File string `yaml:"file"`
	// URLs of external Alertmanagers, all members of a cluster. Default: none.
	URLs      []string    `yaml:"urls"`
	Token     plug.Secret `yaml:"token"` // Bearer, for external Alertmanagers
	TokenFile string      `yaml:"token_file"`
	TLS       sinks.TLS   `yaml:"tls"` // for external Alertmanagers
	// Link is the address at which people reach this server's pages, for links
	// in notifications. Default: http:// and the address under listen.
	Link string `yaml:"link"`
}

// consoleConfig says where the pages learn what is subscribed to and paused.
// They only read there; what people decide goes into the journal as a control.
type consoleConfig struct {
	// ExecutorURL is the address of `agentrail executor`, such as
	// http://127.0.0.1:7690. Default: none; pages are made from records then.
	ExecutorURL string `yaml:"executor_url"`
	// ExecutorToken is of a principal of the executor with the role auditor.
	ExecutorToken     plug.Secret `yaml:"executor_token"`
	ExecutorTokenFile string      `yaml:"executor_token_file"`
	// ExecutorTenant whose executor it is. Default: auth.tenant.
	ExecutorTenant string `yaml:"executor_tenant"`
	// TraceLink is the address of a trace elsewhere, such as in a Grafana with a
	// Tempo; {trace} stands for its id. http or https. Default: none; the page of
	// a run draws the trace itself.
	TraceLink string `yaml:"trace_link"`
}

// on reports whether anybody is to be told.
func (a alertingConfig) on() bool { return a.File != "" || len(a.URLs) > 0 }

// defaultConfig returns what an empty file means.
func defaultConfig() *config {
	yes := true
	return &config{
		Listen: "127.0.0.1:7680",
		Auth:   authConfig{Tenant: "default"},
		Log:    logConfig{Level: "info", Format: "json"},
		Journal: journalConfig{
			MaxBytes: 20 << 30, Reserve: 256 << 20, SegmentBytes: 64 << 20,
			Retention: plug.Duration(30 * 24 * time.Hour), TailBytes: 24 << 20, DedupWindow: 1_000_000,
		},
		Evidence: evidenceConfig{Origin: "agentrail"},
		Store:    storeConfig{Kind: "embedded", Memory: 1 << 30, Raw: &yes},
	}
}

// loadConfig reads the file and the folder config.d beside it. All faults are
// returned together, each with file and line.
func loadConfig(path string) (*config, error) {
	c := defaultConfig()
	c.file = path
	if err := c.merge(path); err != nil {
		return nil, err
	}
	extra, err := filepath.Glob(filepath.Join(filepath.Dir(path), "config.d", "*.yaml"))
	if err != nil {
		return nil, err
	}
	slices.Sort(extra)
	for _, f := range extra {
		if err := c.merge(f); err != nil {
			return nil, err
		}
	}
	c.settle(filepath.Dir(path))
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

// merge reads one file into c. Lists of parts are added to those there are.
func (c *config) merge(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read config: %w; write one after deploy/agentrail.yaml or name it with --config", err)
	}
	sources, watching, forwards, mappings, exceptions := c.Sources, c.Detectors, c.Sinks, c.Mappings, c.Exceptions
	c.Sources, c.Detectors, c.Sinks, c.Mappings, c.Exceptions = nil, nil, nil, nil, nil
	if err := yaml.Load(b, c, yaml.WithKnownFields()); err != nil {
		return plug.Explain(path, err, c)
	}
	var doc yaml.Node
	if err := yaml.Load(b, &doc); err != nil {
		return plug.Explain(path, err, c)
	}
	if err := plug.CheckSecrets(path, &doc, c); err != nil {
		return err
	}
	if c.Executor != nil && c.Executor.doc == nil {
		c.Executor.doc, _ = plug.Load(path, string(b), new(config)) // for the lines of faults; what is wrong in it was told above
		c.Executor.settle(path)
		c.Executor.auth = &c.Auth
	}
	c.given.sources = c.given.sources || c.Sources != nil
	c.given.detectors = c.given.detectors || c.Detectors != nil
	for _, list := range [][]plug.Config{c.Sources, c.Detectors, c.Sinks} {
		for i := range list {
			list[i].File = path
		}
	}
	c.Sources, c.Detectors, c.Sinks = append(sources, c.Sources...), append(watching, c.Detectors...), append(forwards, c.Sinks...)
	c.Exceptions = append(exceptions, c.Exceptions...)
	for i, m := range c.Mappings {
		if !filepath.IsAbs(m) {
			c.Mappings[i] = filepath.Join(filepath.Dir(path), m)
		}
	}
	c.Mappings = append(mappings, c.Mappings...)
	return nil
}

// settle fills the defaults and resolves the paths that depend on where the
// file lies.
func (c *config) settle(dir string) {
	for _, p := range []struct {
		path *string
		def  string
	}{{&c.Data, "data"}, {&c.Auth.Tokens, "tokens.yaml"}, {&c.Evidence.Key, "head.key"}} {
		*p.path = cmp.Or(*p.path, p.def)
		if !filepath.IsAbs(*p.path) {
			*p.path = filepath.Join(dir, *p.path)
		}
	}
	if o := c.Auth.OIDC; o != nil && o.ClientSecretFile != "" && !filepath.IsAbs(o.ClientSecretFile) {
		o.ClientSecretFile = filepath.Join(dir, o.ClientSecretFile)
	}
	if f := c.Alerting.File; f != "" && !filepath.IsAbs(f) {
		c.Alerting.File = filepath.Join(dir, f)
	}
	if f := c.Console.ExecutorTokenFile; f != "" && !filepath.IsAbs(f) {
		c.Console.ExecutorTokenFile = filepath.Join(dir, f)
	}
	c.Console.ExecutorTenant = cmp.Or(c.Console.ExecutorTenant, c.Auth.Tenant)
	c.Alerting.Link = strings.TrimRight(cmp.Or(c.Alerting.Link, "http://"+c.Listen), "/")
	if !c.given.sources {
		c.Sources = must(plugList("workflowrun", "audit"))
	}
	if !c.given.detectors {
		c.Detectors = must(plugList("subscription", "burst", "denial", "rateband", "shape", "sigma", "gatecheck", "joined", "silence", "tampering"))
	}
}

// plugList makes entries without fields of their own.
func plugList(kinds ...string) ([]plug.Config, error) {
	var out []plug.Config
	for _, k := range kinds {
		c, err := plug.NewConfig(k, k, "")
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return v
}

// check returns every fault that can be seen without opening anything.
func (c *config) check() error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, &plug.Error{File: c.file, Msg: fmt.Sprintf(format, args...)})
	}
	if c.Version != 1 {
		fault("version is %d; this program reads version: 1", c.Version)
	}
	for i, is := range c.Auth.Issuers {
		if err := is.Check(); err != nil {
			fault("auth.issuers[%d]: %v", i, err)
		}
	}
	if c.Auth.OIDC != nil {
		if err := c.Auth.OIDC.Check(); err != nil {
			fault("auth.oidc: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		fault("log.level is %q; use debug, info, warn or error", c.Log.Level)
	}
	if !slices.Contains([]string{"json", "text"}, c.Log.Format) {
		fault("log.format is %q; use json or text", c.Log.Format)
	}
	switch c.Store.Kind {
	case "embedded", "none":
		if c.Store.DSN != "" || c.Store.DSNFile != "" {
			fault("store.dsn is set but store.kind is %s; use kind: clickhouse", c.Store.Kind)
		}
	case "clickhouse":
		if c.Store.DSN == "" && c.Store.DSNFile == "" {
			fault("store.kind is clickhouse but store.dsn is empty; write dsn: ${env:CLICKHOUSE_DSN} or dsn_file")
		}
	default:
		fault("store.kind is %q; use embedded, clickhouse or none", c.Store.Kind)
	}
	errs = append(errs, c.checkSQL()...)
	if c.Journal.SegmentBytes < 1<<20 {
		fault("journal.segment_bytes is below 1MiB")
	}
	if c.Journal.MaxBytes < 2*c.Journal.SegmentBytes {
		fault("journal.max_bytes holds less than two segments; raise it or lower segment_bytes")
	}
	if key, data := abs(c.Evidence.Key), abs(c.Data); key == data || strings.HasPrefix(key, data+string(filepath.Separator)) {
		fault("evidence.key lies in the data folder; whoever can change the evidence could sign it again: move it out")
	}
	switch a := c.Alerting; {
	case a.File != "" && len(a.URLs) > 0:
		fault("alerting has file and urls; either this process notifies or Alertmanagers do: leave one out")
	case len(a.URLs) == 0 && (a.Token != "" || a.TokenFile != "" || a.TLS != sinks.TLS{}):
		fault("alerting.token and tls are for external Alertmanagers; name them under alerting.urls")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Runbooks)) {
		text := c.Runbooks[name]
		u, err := url.Parse(text)
		if address := strings.Contains(text, "://"); strings.TrimSpace(text) == "" || strings.ContainsAny(text, "\r\n") || address && !strings.Contains(text, " ") && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			fault("runbooks: %s is %q; write an address such as https://wiki.example.com/burst, or a sentence on one line", name, text)
		}
	}
	if u, err := url.Parse(c.Console.TraceLink); c.Console.TraceLink != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !strings.Contains(c.Console.TraceLink, "{trace}")) {
		fault("console.trace_link is %q; write an address such as https://grafana.example.com/explore?...{trace}... in which {trace} stands for the id", c.Console.TraceLink)
	}
	switch u, err := url.Parse(c.Console.ExecutorURL); {
	case c.Console.ExecutorURL == "":
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		fault("console.executor_url is %q; write an address such as http://127.0.0.1:7690", c.Console.ExecutorURL)
	case c.Console.ExecutorToken == "" && c.Console.ExecutorTokenFile == "":
		fault("console.executor_url is set without a token; make one with: agentrail token new --file EXECUTOR-TOKENS.yaml --name console --roles auditor, and name it under console.executor_token_file")
	}
	if u, err := url.Parse(c.Alerting.Link); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		fault("alerting.link is %q; write an address such as https://agentrail.example.com", c.Alerting.Link)
	}
	errs = append(errs, uniqueNames("detector", nil, c.Detectors)...)
	// Cursors and dead letters bear the names of sources and sinks.
	taken := map[string]int{"detectors": 0, "store": 0, "notary": 0, "dlq": 0, "survey": 0, alerting.Name: 0, sinks.LedgerName: 0, sinks.ReplayName: 0}
	errs = append(errs, uniqueNames("source", taken, c.Sources)...)
	errs = append(errs, uniqueNames("sink", taken, c.Sinks)...)
	if c.Executor != nil {
		errs = append(errs, c.Executor.check(c.Data))
	}
	if err := plug.Resolve(c); err != nil {
		fault("%v", err)
	}
	return errors.Join(errs...)
}

// checkSQL returns the faults of the SQL endpoint's settings.
func (c *config) checkSQL() (errs []error) {
	fault := func(msg string) { errs = append(errs, &plug.Error{File: c.file, Msg: msg}) }
	s := c.SQL
	switch given := s.URL != "" || s.URLFile != ""; {
	case s.Enabled && c.Store.Kind == "none":
		fault("sql.enabled is true but store.kind is none; there are no tables to read")
	case s.Enabled && c.Store.Kind == "clickhouse" && !given:
		fault("sql.url is empty; write the address of ClickHouse's HTTP interface with a user that may only read, such as url: ${env:CLICKHOUSE_READER}")
	case given && c.Store.Kind != "clickhouse":
		fault("sql.url is set but store.kind is " + c.Store.Kind + "; the embedded engine needs none")
	}
	if s.Time < 0 || s.Rows < 0 || s.Bytes < 0 || s.Memory < 0 || s.AtOnce < 0 {
		fault("sql: a limit is below zero")
	}
	return errs
}

// uniqueNames returns a fault for each entry whose name is taken, and notes the
// lines of the others in taken; line 0 is a name of the program's own.
func uniqueNames(family string, taken map[string]int, list []plug.Config) (errs []error) {
	if taken == nil {
		taken = map[string]int{}
	}
	for _, p := range list {
		switch line, dup := taken[p.Name]; {
		case dup && line == 0:
			errs = append(errs, p.Errorf("%s name is one of the program's own; choose another", family))
		case dup:
			errs = append(errs, p.Errorf("%s name is taken by the entry on line %d; give each a name of its own", family, line))
		default:
			taken[p.Name] = p.Line
		}
	}
	return errs
}

func abs(p string) string {
	if a, err := filepath.Abs(p); err == nil {
		return a
	}
	return p
}
