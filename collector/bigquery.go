package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/internal/plug"
)

// The source bigquery reads the rows of a table as they appear, such as the one
// that a log sink of Cloud Logging fills. A record is a row, written as JSON by
// BigQuery.
func init() {
	Register("bigquery", func(ctx context.Context, c plug.Config, d Deps) (Source, error) { return newBigQuery(ctx, c, d) })
}

// bigqueryConfig is what the source can be told.
type bigqueryConfig struct {
	// Project that pays for the queries. Mandatory.
	Project string `yaml:"project"`
	// Table as project.dataset.table; a * at its end takes all tables that
	// begin so. Mandatory.
	Table string `yaml:"table"`
	// Time is the column of type TIMESTAMP that rows are read by; the table
	// should be partitioned by it. Default: timestamp.
	Time string `yaml:"time"`
	// Location of the dataset. Default: as BigQuery finds it.
	Location string `yaml:"location"`
	// CredentialsFile is the key of a service account, with the roles
	// bigquery.jobUser and bigquery.dataViewer. Default: as Google's tools find
	// them.
	CredentialsFile string `yaml:"credentials_file"`
	// Every is how often the table is asked. Default: 1m.
	Every plug.Duration `yaml:"every"`
	// Since is how far before the first start rows are read. Default: 24h.
	Since plug.Duration `yaml:"since"`
	// Overlap is how much later than its time a row may appear. Default: 15m.
	Overlap plug.Duration `yaml:"overlap"`
	// Page is how many rows are read at once. Default: 5000.
	Page int `yaml:"page"`
	// Endpoint of the API. Default: https://bigquery.googleapis.com.
	Endpoint string `yaml:"endpoint"`
	// Mapping reads the rows. Default: workflowrun.
	Mapping string `yaml:"mapping"`
	// Log names the log within the source, as part of the identity of its
	// records. Default: none.
	Log string `yaml:"log"`
	// Backfill marks the rows as history. Default: false.
	Backfill bool `yaml:"backfill"`
	// MaxRecord caps one row. Default: 1MiB.
	MaxRecord plug.Bytes `yaml:"max_record"`
}

var (
	tableName  = regexp.MustCompile(`^[A-Za-z0-9_:.\-]+\.[A-Za-z0-9_]+\.[A-Za-z0-9_$\-]+\*?$`)
	columnName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

func (cfg *bigqueryConfig) check() error {
	u, err := url.Parse(cfg.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("endpoint: %q is no URL", cfg.Endpoint)
	case cfg.Project == "" || strings.ContainsAny(cfg.Project, "/ ?#"):
		return fmt.Errorf("project: %q is not a name", cfg.Project)
	case !tableName.MatchString(cfg.Table):
		return fmt.Errorf("table: %q is not project.dataset.table", cfg.Table)
	case !columnName.MatchString(cfg.Time):
		return fmt.Errorf("time: %q is not the name of a column", cfg.Time)
	case cfg.Every < plug.Duration(time.Second), cfg.Since < 0, cfg.Overlap < 0:
		return errors.New("every must be at least 1s, since and overlap not negative")
	case cfg.Page < 1 || cfg.Page > maxLines:
		return fmt.Errorf("page must lie between 1 and %d", maxLines)
	case cfg.MaxRecord < 1 || cfg.MaxRecord > 8<<20:
		return errors.New("max_record must lie between 1 and 8MiB")
	}
	return nil
}

// bigquerySource is the source.
type bigquerySource struct {
	name    string
	cfg     bigqueryConfig
	http    *http.Client
	tenant  string
	mapping *decode.Mapping
	append  AppendFunc
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time
	path    string // of the state
	state   bigqueryState
}

// bigqueryState is what was read, kept in a file.
type bigqueryState struct {
	// Newest is the greatest time of a row that was read, Unix µs.
	Newest int64 `json:"newest"`
	// Done holds the rows that were read of those within the overlap: a hash of
	// their bytes, with their time.
	Done map[string]int64 `json:"done"`
}

const (
	bigqueryScope   = "https://www.googleapis.com/auth/bigquery.readonly"
	bigqueryTimeout = 2 * time.Minute // of one request
	bigqueryAnswer  = 64 << 20        // bytes of an answer
)

func newBigQuery(ctx context.Context, c plug.Config, d Deps) (*bigquerySource, error) {
	cfg := bigqueryConfig{
		Time: "timestamp", Every: plug.Duration(time.Minute), Since: plug.Duration(24 * time.Hour), Overlap: plug.Duration(15 * time.Minute),
		Page: 5000, Endpoint: "https://bigquery.googleapis.com", Mapping: "workflowrun", MaxRecord: 1 << 20,
	}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	if err := cfg.check(); err != nil {
		return nil, c.Errorf("%v", err)
	}
	m, err := d.Decode.Mapping(cfg.Mapping)
	if err != nil {
		return nil, c.Errorf("%v", err)
	}
	s := &bigquerySource{
		name: c.Name, cfg: cfg, tenant: d.Tenant, mapping: m, append: d.Append, log: d.Log, metrics: newMetrics(d.Reg), now: d.Now,
		path: filepath.Join(d.DataDir, "bigquery-"+url.PathEscape(c.Name)+".json"),
	}
	if err := s.load(); err != nil {
		return nil, c.Errorf("%v", err)
	}
	if s.http, err = cfg.client(ctx); err != nil {
		return nil, c.Errorf("%v", err)
	}
	return s, nil
}

// client makes a client that shows the credentials. It never follows redirects.
func (cfg *bigqueryConfig) client(ctx context.Context) (*http.Client, error) {
	plain := &http.Client{Timeout: bigqueryTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ctx = context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, plain)
	var tokens oauth2.TokenSource
	if cfg.CredentialsFile != "" {
		key, err := os.ReadFile(cfg.CredentialsFile)
		if err != nil {
			return nil, fmt.Errorf("read credentials: %w", err)
		}
		jwt, err := google.JWTConfigFromJSON(key, bigqueryScope)
		if err != nil {
			return nil, fmt.Errorf("credentials %s: %w", cfg.CredentialsFile, err)
		}
		tokens = jwt.TokenSource(ctx)
	} else {
		found, err := google.FindDefaultCredentials(ctx, bigqueryScope)
		if err != nil {
			return nil, fmt.Errorf("find credentials: %w; name a key with credentials_file", err)
		}
		tokens = found.TokenSource
	}
	client := oauth2.NewClient(ctx, tokens)
	client.Timeout, client.CheckRedirect = plain.Timeout, plain.CheckRedirect
	return client, nil
}

// load reads the state, or begins a new one.
func (s *bigquerySource) load() error {
	s.state = bigqueryState{Newest: s.now().Add(-time.Duration(s.cfg.Since)).UnixMicro(), Done: map[string]int64{}}
	err := loadState(s.path, &s.state)
	if s.state.Done == nil {
		s.state.Done = map[string]int64{}
	}
	return err
}

// save writes the state, without rows that are not asked for any more.
func (s *bigquerySource) save() error {
	from := s.from()
	maps.DeleteFunc(s.state.Done, func(_ string, at int64) bool { return at < from })
	return saveState(s.path, s.state)
}

// from is the time from which on rows are asked for, Unix µs.
func (s *bigquerySource) from() int64 {
	return s.state.Newest - time.Duration(s.cfg.Overlap).Microseconds()
}

// Run reads until ctx ends. What fails is tried again with the next question.
func (s *bigquerySource) Run(ctx context.Context) error {
	defer s.http.CloseIdleConnections()
	for ctx.Err() == nil {
		if err := s.round(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("table cannot be read, trying again", "table", s.cfg.Table, "error", err)
		}
		wait(ctx, time.Duration(s.cfg.Every))
	}
	return nil
}
