package sinks

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("s3", openS3) }

// s3Config writes events as objects of gzipped lines to a bucket of S3 or of
// what speaks like it. An object is named by the journal's range that it
// holds, so that a write which is repeated replaces the object; after a
// restart ranges may be cut elsewhere, and events stand in two objects, with
// the same id. An event counts as delivered when the object is stored, its
// SHA-256 checked by the receiver. Set batch.max_events and batch.linger to
// what an object is to hold.
type s3Config struct {
	Common Common `yaml:",inline"`
	Bucket string `yaml:"bucket"`
	Region string `yaml:"region"`
	// Layout is lines, or security_lake for OCSF in Parquet.
	Layout string `yaml:"layout"`
	// Lake is for layout: security_lake.
	Lake lakeConfig `yaml:"lake"`
	// Key of an object; {range} must be in it, {tenant}, {date}, {hour} and
	// {sink} may. Date and hour are UTC and those at which the journal took
	// the events.
	Key string `yaml:"key"`
	// Endpoint is the URL of another receiver than AWS.
	Endpoint string `yaml:"endpoint"`
	// PathStyle puts the bucket into the path, not into the host's name.
	PathStyle bool `yaml:"path_style"`
	// AccessKey and SecretKey, with SessionToken where they are temporary.
	// Empty: as the AWS tools find them (environment, files, roles).
	AccessKey        string      `yaml:"access_key"`
	SecretKey        plug.Secret `yaml:"secret_key"`
	SecretKeyFile    string      `yaml:"secret_key_file"`
	SessionToken     plug.Secret `yaml:"session_token"`
	SessionTokenFile string      `yaml:"session_token_file"`
	// SSE is AES256 or aws:kms, with KMSKey where it is not the bucket's.
	SSE    string `yaml:"sse"`
	KMSKey string `yaml:"kms_key"`
	// LockMode is GOVERNANCE or COMPLIANCE: nobody deletes an object for
	// LockFor after it was written. The bucket must have object lock.
	LockMode string        `yaml:"lock_mode"`
	LockFor  plug.Duration `yaml:"lock_for"`
	// Timeout of one request.
	Timeout plug.Duration `yaml:"timeout"`
	TLS     TLS           `yaml:"tls"`
}

// s3Sink is the sink.
type s3Sink struct {
	conf   s3Config
	name   string
	client *s3.Client
	http   *http.Client
	creds  aws.CredentialsProvider
	format format.Func
}

func openS3(ctx context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := s3Config{
		Common: DefaultCommon(), Layout: "lines", Lake: lakeConfig{Source: "AGENTRAIL_{class}"}, Timeout: plug.Duration(time.Minute),
	}
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	if err := conf.check(); err != nil {
		return nil, c.Errorf("%v", err)
	}
	s := &s3Sink{conf: conf, name: c.Name}
	s.format, _ = format.Lookup(conf.Common.Format)
	if err := s.connect(ctx, d.HTTP); err != nil {
		return nil, c.Errorf("%v", err)
	}
	if conf.Common.Batch.Linger < plug.Duration(time.Second) {
		d.Log.Warn("batch.linger is below 1s: there will be many small objects")
	}
	return s, nil
}

func (c *s3Config) check() error {
	switch c.Layout {
	case "security_lake":
		if err := c.Lake.check(c); err != nil {
			return err
		}
		c.Key = "{range}" // for the checks below
	case "lines":
		c.Key = cmp.Or(c.Key, "agentrail/tenant={tenant}/dt={date}/hour={hour}/{range}.ndjson.gz")
	default:
		return fmt.Errorf("layout: %q is neither lines nor security_lake", c.Layout)
	}
	if c.Endpoint != "" {
		if _, err := parseURL("endpoint", c.Endpoint); err != nil {
			return err
		}
	}
	rest := strings.NewReplacer("{range}", "", "{tenant}", "", "{date}", "", "{hour}", "", "{sink}", "").Replace(c.Key)
	switch {
	case c.Bucket == "" || strings.ContainsAny(c.Bucket, "/ ?#"):
		return fmt.Errorf("bucket: %q is not a name", c.Bucket)
	case c.Region == "":
		return errors.New("region: is missing; any word will do for receivers that know none, such as us-east-1")
	case !strings.Contains(c.Key, "{range}"):
		return errors.New("key: has no {range}; one object would replace another")
	case strings.ContainsAny(rest, "{}"), strings.HasPrefix(c.Key, "/"), len(c.Key) > 512, format.Plain(c.Key, 512) != c.Key:
		return errors.New("key: at most 512 bytes without a leading slash, and {range}, {tenant}, {date}, {hour}, {sink}")
	case (c.AccessKey == "") != (c.SecretKey == ""):
		return errors.New("access_key and secret_key go together")
	case c.SSE != "" && c.SSE != "AES256" && c.SSE != "aws:kms", c.KMSKey != "" && c.SSE != "aws:kms":
		return errors.New("sse: AES256 or aws:kms; kms_key goes with aws:kms")
	case c.LockMode != "" && c.LockMode != "GOVERNANCE" && c.LockMode != "COMPLIANCE", (c.LockMode == "") != (c.LockFor <= 0):
		return errors.New("lock_mode: GOVERNANCE or COMPLIANCE, and lock_for says how long")
	case c.Timeout <= 0:
		return errors.New("timeout: must be positive")
	}
	return nil
}

// connect makes the client. Its requests go by our HTTP client; what looks for
// credentials has its own, which may ask the machine's metadata service.
func (s *s3Sink) connect(ctx context.Context, newClient ClientFactory) error {
	var err error
	if s.http, err = newClient(s.conf.TLS, s.conf.Common.InFlight+1); err != nil {
		return err
	}
	options := []func(*config.LoadOptions) error{config.WithRegion(s.conf.Region)}
	if s.conf.AccessKey != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(s.conf.AccessKey, s.conf.SecretKey.Reveal(), s.conf.SessionToken.Reveal())))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return fmt.Errorf("load AWS settings: %w", err)
	}
	s.creds = cfg.Credentials
	s.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.HTTPClient, o.UsePathStyle, o.Retryer = s.http, s.conf.PathStyle, aws.NopRetryer{} // the forwarder tries again
		if s.conf.Endpoint != "" {
			o.BaseEndpoint = &s.conf.Endpoint
		}
	})
	return nil
}

// Write stores one object: events of one hour and, where the key names it, of
// one tenant.
func (s *s3Sink) Write(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.conf.Timeout))
	defer cancel()
	if _, err := s.creds.Retrieve(ctx); err != nil {
		return Receipt{}, &WriteError{Kind: KindAuth, Code: "credentials", Err: fmt.Errorf("find credentials: %w", err)}
	}
	if s.conf.Layout == "security_lake" {
		return s.writeLake(ctx, evs)
	}
	evs = evs[:s.together(evs)]
	p := newPayload()
	receipt := Receipt{Events: p.lines(s.format, evs, int(s.conf.Common.Batch.MaxBytes))}
	evs = evs[:receipt.Events]
	receipt.Bytes = len(p.buf)
	p = p.compress()
	body := bytes.Clone(p.buf)
	p.release()
	if _, err := s.client.PutObject(ctx, s.object(s.key(evs), "application/gzip", body)); err != nil {
		return receipt, s3Failure(ctx, err)
	}
	receipt.Confirm = stored
	return receipt, nil
}

func (s *s3Sink) object(key, contentType string, body []byte) *s3.PutObjectInput {
	sum := sha256.Sum256(body)
	o := &s3.PutObjectInput{
		Bucket: &s.conf.Bucket, Key: &key, Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))), ContentType: &contentType,
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ServerSideEncryption: types.ServerSideEncryption(s.conf.SSE),
	}
	if s.conf.KMSKey != "" {
		o.SSEKMSKeyId = &s.conf.KMSKey
	}
	if s.conf.LockMode != "" {
		o.ObjectLockMode, o.ObjectLockRetainUntilDate = types.ObjectLockMode(s.conf.LockMode), aws.Time(time.Now().UTC().Add(time.Duration(s.conf.LockFor)))
	}
	return o
}

// together returns how many events, from the first, go into one object.
func (s *s3Sink) together(evs []schemas.Event) int {
	tenant := strings.Contains(s.conf.Key, "{tenant}")
	hour := func(ev *schemas.Event) int64 { return ev.Received / int64(time.Hour) }
	for i := range evs {
		if hour(&evs[i]) != hour(&evs[0]) || evs[i].Shard != evs[0].Shard || tenant && evs[i].Tenant != evs[0].Tenant {
			return i
		}
	}
	return len(evs)
}

// key names the object after its first and last event.
func (s *s3Sink) key(evs []schemas.Event) string {
	first := &evs[0]
	at := time.Unix(0, first.Received).UTC()
	return strings.NewReplacer(
		"{range}", s3Span(first, &evs[len(evs)-1]), "{tenant}", url.QueryEscape(first.Tenant), "{date}", at.Format(time.DateOnly), "{hour}", at.Format("15"), "{sink}", url.QueryEscape(s.name),
	).Replace(s.conf.Key)
}

// s3Span is the range of the journal from one event to another.
func s3Span(first, last *schemas.Event) string {
	return fmt.Sprintf("%d-%020d.%06d-%020d.%06d", first.Shard, first.Offset, first.Index, last.Offset, last.Index)
}

// Close drops idle connections.
func (s *s3Sink) Close() error {
	s.http.CloseIdleConnections()
	return nil
}

// Probe asks for the bucket.
func (s *s3Sink) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.conf.Timeout))
	defer cancel()
	if _, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.conf.Bucket}); err != nil {
		return fmt.Errorf("ask for bucket %s: %w", s.conf.Bucket, s3Failure(ctx, err))
	}
	return nil
}

// s3Failure maps an error to what is to be done. A receiver does not look into
// objects, so nothing is refused for its content.
func s3Failure(ctx context.Context, err error) *WriteError {
	re, ok := errors.AsType[*awshttp.ResponseError](err)
	if !ok || re.HTTPStatusCode() <= http.StatusOK { // no answer, or one that cannot be read
		return networkFailure(ctx, err)
	}
	status, code := re.HTTPStatusCode(), ""
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		code = format.Plain(api.ErrorCode(), 60)
	}
	e := &WriteError{Kind: KindAuth, Code: "http_" + strconv.Itoa(status), RetryAfter: retryAfter(re.Response.Header, time.Now()), Err: fmt.Errorf("s3 answers %d %s %s", status, http.StatusText(status), code)}
	switch {
	case status == http.StatusRequestEntityTooLarge, code == "EntityTooLarge":
		e.Kind = KindTooLarge
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusConflict, status >= 500, code == "RequestTimeout", code == "BadDigest", code == "IncompleteBody":
		e.Kind = KindRetry
	}
	return e
}
