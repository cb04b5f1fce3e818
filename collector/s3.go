package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/internal/plug"
)

// The source s3 reads objects of a bucket as they appear, such as those that
// Firehose or an export writes: lines, JSON or tables, plain or packed.
func init() {
	Register("s3", func(ctx context.Context, c plug.Config, d Deps) (Source, error) { return newBucket(ctx, c, d) })
}

// bucketConfig is what the source can be told.
type bucketConfig struct {
	// Bucket and Region. Mandatory.
	Bucket string `yaml:"bucket"`
	Region string `yaml:"region"`
	// Prefix of the keys. %Y, %m, %d and %H stand for the UTC time at which an
	// object was written: only the prefixes of the time that is looked at are
	// listed then. Default: none; the whole bucket is listed each time.
	Prefix string `yaml:"prefix"`
	// Endpoint is the URL of another service than AWS; PathStyle puts the
	// bucket into the path.
	Endpoint  string `yaml:"endpoint"`
	PathStyle bool   `yaml:"path_style"`
	// AccessKey and SecretKey. Empty: as the AWS tools find them.
	AccessKey     string      `yaml:"access_key"`
	SecretKey     plug.Secret `yaml:"secret_key"`
	SecretKeyFile string      `yaml:"secret_key_file"`
	// Every is how often the bucket is listed. Default: 1m.
	Every plug.Duration `yaml:"every"`
	// Since is how far before the first start objects are read. Default: 24h.
	Since plug.Duration `yaml:"since"`
	// Overlap is how much later than its time an object may become visible, as
	// those that are written in parts. Default: 1h.
	Overlap plug.Duration `yaml:"overlap"`
	// Mapping reads the records. Default: audit; of tables csv.
	Mapping string `yaml:"mapping"`
	// Log names the log within the source, as part of the identity of its
	// records. Default: none.
	Log string `yaml:"log"`
	// Backfill marks the records as history. Default: false.
	Backfill bool `yaml:"backfill"`
	// MaxRecord caps one record. Default: 1MiB.
	MaxRecord plug.Bytes `yaml:"max_record"`
}

func (cfg *bucketConfig) check() error {
	if cfg.Endpoint != "" {
		if u, err := url.Parse(cfg.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("endpoint: %q is no URL", cfg.Endpoint)
		}
	}
	switch {
	case cfg.Bucket == "" || strings.ContainsAny(cfg.Bucket, "/ ?#"):
		return fmt.Errorf("bucket: %q is not a name", cfg.Bucket)
	case cfg.Region == "":
		return errors.New("region: is missing; any word will do for services that know none, such as us-east-1")
	case (cfg.AccessKey == "") != (cfg.SecretKey == ""):
		return errors.New("access_key and secret_key go together")
	case cfg.Every < plug.Duration(time.Second), cfg.Since < 0, cfg.Overlap < 0:
		return errors.New("every must be at least 1s, since and overlap not negative")
	case cfg.MaxRecord < 1 || cfg.MaxRecord > partRecord:
		return errors.New("max_record must lie between 1 and 1MiB")
	}
	return nil
}

// bucketSource is the source.
type bucketSource struct {
	name      string
	cfg       bucketConfig
	client    *s3.Client
	transport *http.Transport
	tenant    string
	mappings  *decode.Set
	append    AppendFunc
	log       *slog.Logger
	metrics   *metrics
	now       func() time.Time
	path      string // of the state
	state     bucketState
}

// bucketState is what was read, kept in a file.
type bucketState struct {
	// Newest is the time of the newest object that was read; those older than
	// it by more than the overlap are not looked at.
	Newest time.Time `json:"newest"`
	// Done holds the versions that were read of objects within the overlap.
	Done map[string]doneObject `json:"done"`
}

type doneObject struct {
	ETag string    `json:"etag"`
	At   time.Time `json:"at"`
}

// bucketTimeout of one request; a body may take longer.
const bucketTimeout = time.Minute

func newBucket(ctx context.Context, c plug.Config, d Deps) (*bucketSource, error) {
	cfg := bucketConfig{Every: plug.Duration(time.Minute), Since: plug.Duration(24 * time.Hour), Overlap: plug.Duration(time.Hour), Mapping: "audit", MaxRecord: partRecord}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	if err := cfg.check(); err != nil {
		return nil, c.Errorf("%v", err)
	}
	if _, err := d.Decode.Mapping(cfg.Mapping); err != nil {
		return nil, c.Errorf("%v", err)
	}
	s := &bucketSource{
		name: c.Name, cfg: cfg, tenant: d.Tenant, mappings: d.Decode, append: d.Append, log: d.Log, metrics: newMetrics(d.Reg), now: d.Now,
		path: filepath.Join(d.DataDir, "s3-"+url.PathEscape(c.Name)+".json"),
	}
	if err := s.load(); err != nil {
		return nil, c.Errorf("%v", err)
	}
	options := []func(*config.LoadOptions) error{config.WithRegion(cfg.Region)}
	if cfg.AccessKey != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey.Reveal(), "")))
	}
	conf, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, c.Errorf("load AWS settings: %v", err)
	}
	s.transport = http.DefaultTransport.(*http.Transport).Clone()
	s.transport.ResponseHeaderTimeout = bucketTimeout
	s.client = s3.NewFromConfig(conf, func(o *s3.Options) {
		o.UsePathStyle, o.DisableLogOutputChecksumValidationSkipped = cfg.PathStyle, true
		o.HTTPClient = &http.Client{Transport: s.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		if cfg.Endpoint != "" {
			o.BaseEndpoint = &cfg.Endpoint
		}
	})
	return s, nil
}

// load reads the state, or begins a new one.
func (s *bucketSource) load() error {
	s.state = bucketState{Newest: s.now().Add(-time.Duration(s.cfg.Since)), Done: map[string]doneObject{}}
	err := loadState(s.path, &s.state)
	if s.state.Done == nil {
		s.state.Done = map[string]doneObject{}
	}
	return err
}

// save writes the state, without objects that are not looked at any more.
func (s *bucketSource) save() error {
	from := s.from()
	maps.DeleteFunc(s.state.Done, func(_ string, o doneObject) bool { return o.At.Before(from) })
	return saveState(s.path, s.state)
}

// from is the time from which on objects are looked at.
func (s *bucketSource) from() time.Time { return s.state.Newest.Add(-time.Duration(s.cfg.Overlap)) }

// Run reads until ctx ends. What fails is tried again with the next listing.
func (s *bucketSource) Run(ctx context.Context) error {
	defer s.transport.CloseIdleConnections()
	for ctx.Err() == nil {
		if err := s.round(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("bucket cannot be read, trying again", "bucket", s.cfg.Bucket, "error", err)
		}
		wait(ctx, time.Duration(s.cfg.Every))
	}
	return nil
}

// round reads all objects that are new, oldest first.
func (s *bucketSource) round(ctx context.Context) error {
	var fresh []types.Object
	from := s.from()
	for _, prefix := range s.prefixes(from) {
		pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: aws.String(prefix)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return fmt.Errorf("list objects: %w", err)
			}
			for _, o := range page.Contents {
				if o.LastModified == nil || o.Key == nil || o.LastModified.Before(from) || aws.ToInt64(o.Size) == 0 || s.state.Done[*o.Key].ETag == aws.ToString(o.ETag) {
					continue
				}
				fresh = append(fresh, o)
			}
		}
	}
	slices.SortFunc(fresh, func(a, b types.Object) int {
		if c := a.LastModified.Compare(*b.LastModified); c != 0 {
			return c
		}
		return strings.Compare(*a.Key, *b.Key)
	})
	var failed error
	for _, o := range fresh {
		if err := s.object(ctx, o); err != nil {
			if ctx.Err() != nil {
				return err
			}
			failed = errors.Join(failed, fmt.Errorf("object %s: %w", *o.Key, err))
			continue // its neighbours go on; it is new the next time, too
		}
		s.state.Done[*o.Key] = doneObject{ETag: aws.ToString(o.ETag), At: *o.LastModified}
		if failed == nil && o.LastModified.After(s.state.Newest) {
			s.state.Newest = *o.LastModified
		}
		if err := s.save(); err != nil {
			return err
		}
	}
	return failed
}

// prefixes are those that hold objects from that time on.
func (s *bucketSource) prefixes(from time.Time) []string {
	p := s.cfg.Prefix
	if !strings.Contains(p, "%") {
		return []string{p}
	}
	var out []string
	now := s.now().UTC().Add(time.Hour) // clocks may differ
	for t := from.UTC().Truncate(time.Hour); !t.After(now); t = t.Add(time.Hour) {
		one := strings.NewReplacer("%Y", t.Format("2006"), "%m", t.Format("01"), "%d", t.Format("02"), "%H", t.Format("15")).Replace(p)
		if len(out) == 0 || out[len(out)-1] != one {
			out = append(out, one)
		}
	}
	return out
}
