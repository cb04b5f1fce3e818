package sinks

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("secops", openSecOps) }

// secopsConfig sends events to Google SecOps (Chronicle). With format: udm they
// are imported as events of its own model, otherwise as raw logs of a log type,
// which a parser there has to read. An event counts as delivered when the API
// accepts it; parsing comes later.
type secopsConfig struct {
	Common Common `yaml:",inline"`
	// Project, Region and Instance (the customer's id) of SecOps; a region is
	// such as eu or europe-west3.
	Project  string `yaml:"project"`
	Region   string `yaml:"region"`
	Instance string `yaml:"instance"`
	// LogType and Forwarder (its id) of raw logs; both must be there.
	LogType   string `yaml:"log_type"`
	Forwarder string `yaml:"forwarder"`
	// CredentialsFile is the key of a service account. Empty: as Google's tools
	// find credentials.
	CredentialsFile string `yaml:"credentials_file"`
	// APIVersion is v1, v1beta or v1alpha.
	APIVersion string `yaml:"api_version"`
	// Endpoint is another address than the region's.
	Endpoint string `yaml:"endpoint"`
	// Gzip compresses requests.
	Gzip bool `yaml:"gzip"`
	// Timeout of one request.
	Timeout plug.Duration `yaml:"timeout"`
	TLS     TLS           `yaml:"tls"`
}

// Limits and rights of the import.
const (
	secopsBytes  = 4_000_000 // of a request, before compression
	secopsEvents = 1000
	secopsScope  = "https://www.googleapis.com/auth/cloud-platform"
)

// secops is the sink.
type secops struct {
	conf   secopsConfig
	in     intake
	frame  frame
	token  *bearer
	format format.Func
	encode func(dst []byte, ev *schemas.Event) []byte
}

func openSecOps(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := secopsConfig{Common: DefaultCommon(), APIVersion: "v1", Timeout: plug.Duration(time.Minute)}
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	s := &secops{conf: conf}
	if err := s.setup(d); err != nil {
		return nil, c.Errorf("%v", err)
	}
	return s, nil
}

// nameForm is a segment of a path, or a label of a host's name.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$`)

func (s *secops) setup(d Deps) error {
	c := &s.conf
	udm := c.Common.Format == "udm"
	for _, part := range []struct{ key, value string }{
		{"project", c.Project}, {"region", c.Region}, {"instance", c.Instance}, {"log_type", c.LogType}, {"forwarder", c.Forwarder},
	} {
		raw := part.key == "log_type" || part.key == "forwarder"
		switch {
		case udm && raw && part.value != "":
			return fmt.Errorf("%s: is for raw logs; with format: udm there is none", part.key)
		case udm && raw:
		case part.value == "" && raw:
			return fmt.Errorf("%s: is missing; raw logs need log_type and forwarder, format: udm does not", part.key)
		case !nameForm.MatchString(part.value):
			return fmt.Errorf("%s: %q is not a name", part.key, part.value)
		}
	}
	if c.APIVersion != "v1" && c.APIVersion != "v1beta" && c.APIVersion != "v1alpha" {
		return fmt.Errorf("api_version: %q is none of v1, v1beta, v1alpha", c.APIVersion)
	}
	if c.Timeout <= 0 {
		return errors.New("timeout: must be positive")
	}
	endpoint := c.Endpoint
	if endpoint == "" {
		endpoint = "https://" + c.Region + "-chronicle.googleapis.com"
	}
	u, err := parseURL("endpoint", endpoint)
	if err != nil {
		return err
	}
	client, err := d.HTTP(c.TLS, c.Common.InFlight+1)
	if err != nil {
		return err
	}
	fetch, err := googleTokens(c.CredentialsFile, client, time.Duration(c.Timeout))
	if err != nil {
		return err
	}
	s.token = newBearer(fetch)
	s.in = intake{
		who: "secops", client: client, header: http.Header{"Content-Type": {"application/json"}}, gzip: c.Gzip, timeout: time.Duration(c.Timeout),
	}
	parent := fmt.Sprintf("projects/%s/locations/%s/instances/%s", c.Project, c.Region, c.Instance)
	s.format, _ = format.Lookup(c.Common.Format)
	if udm {
		s.frame = frame{open: `{"inlineSource":{"events":[`, sep: ",", shut: "]}}"}
		s.in.url, s.encode = u.JoinPath(c.APIVersion, parent, "events:import").String(), s.encodeUDM
	} else {
		shut := format.String([]byte(`],"forwarder":`), parent+"/forwarders/"+c.Forwarder)
		s.frame = frame{open: `{"inlineSource":{"logs":[`, sep: ",", shut: string(shut) + "}}"}
		s.in.url, s.encode = u.JoinPath(c.APIVersion, parent, "logTypes", c.LogType, "logs:import").String(), s.encodeRaw
	}
	s.frame.bytes, s.frame.events = int(min(c.Common.Batch.MaxBytes, secopsBytes)), secopsEvents
	return nil
}

// googleTokens returns what fetches tokens of the service account, or of the
// credentials that Google's tools find.
func googleTokens(file string, client *http.Client, timeout time.Duration) (func(context.Context) (*oauth2.Token, error), error) {
	source := func(ctx context.Context) (oauth2.TokenSource, error) {
		found, err := google.FindDefaultCredentials(ctx, secopsScope)
		if err != nil {
			return nil, fmt.Errorf("find credentials: %w; name a key with credentials_file", err)
		}
		return found.TokenSource, nil
	}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("credentials_file: %w", err)
		}
		jwt, err := google.JWTConfigFromJSON(text, secopsScope)
		if err != nil {
			return nil, fmt.Errorf("credentials_file: %s is not the key of a service account: %w", file, err)
		}
		if block, _ := pem.Decode(jwt.PrivateKey); block == nil {
			return nil, fmt.Errorf("credentials_file: %s holds no private key", file)
		} else if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
			return nil, fmt.Errorf("credentials_file: the private key in %s cannot be read", file)
		}
		source = func(ctx context.Context) (oauth2.TokenSource, error) { return jwt.TokenSource(ctx), nil }
	}
	return func(ctx context.Context) (*oauth2.Token, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		s, err := source(within(ctx, client))
		if err != nil {
			return nil, err
		}
		return s.Token()
	}, nil
}

// Write sends one request.
func (s *secops) Write(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	p, receipt, err := s.frame.fill(evs, s.encode, s.conf.Gzip)
	if err != nil {
		return receipt, err
	}
	defer p.release()
	a, err := s.in.postAs(ctx, p, s.token)
	if err != nil {
		return receipt, err
	}
	var said map[string]json.RawMessage
	if a.status != http.StatusOK || json.Unmarshal(a.body, &said) != nil || said == nil {
		return receipt, s.failure(a)
	}
	return receipt, nil
}

// encodeRaw appends the event as an entry of a log. Its time must lie before
// that of its collection.
func (s *secops) encodeRaw(dst []byte, ev *schemas.Event) []byte {
	doc := newPayload()
	defer doc.release()
	doc.buf = s.format(doc.buf, ev)
	dst = append(dst, `{"data":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, doc.buf)
	dst = append(dst, `","logEntryTime":"`...)
	received := max(ev.Received, 1)
	dst = schemas.AppendTime(dst, min(max(ev.Time, 0), received-1))
	dst = append(dst, `","collectionTime":"`...)
	dst = schemas.AppendTime(dst, received)
	dst = append(dst, `","labels":{"event_id":{"value":"`...)
	return append(appendHex(dst, ev.ID), `"}}}`...)
}

func (s *secops) encodeUDM(dst []byte, ev *schemas.Event) []byte {
	return append(s.format(append(dst, `{"udm":`...), ev), '}')
}

// failure maps an answer. Google says with 400 what is wrong with the data, that
// a request is too large, and that a log type or forwarder is not there.
func (s *secops) failure(a answer) *WriteError {
	var b struct {
		Error struct {
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"error"`
	}
	_ = json.Unmarshal(a.body, &b) // not JSON: the status decides
	e := s.in.failure(a, b.Error.Status+" "+b.Error.Message)
	switch a.status {
	case http.StatusBadRequest:
		about := strings.NewReplacer("_", "", " ", "", "-", "").Replace(strings.ToLower(b.Error.Message))
		switch {
		case strings.Contains(about, "payloadsizeexceeds"), strings.Contains(about, "requesttoolarge"):
			e.Kind = KindTooLarge
		case b.Error.Status == "INVALID_ARGUMENT" && !strings.Contains(about, "logtype") && !strings.Contains(about, "forwarder") && !strings.Contains(about, "parent"):
			e.Kind = KindRefused
		default:
			return e.hint("check project, region, instance, log_type and forwarder")
		}
	case http.StatusForbidden:
		return e.hint("give the service account a role with chronicle.logs.import or chronicle.events.import, such as Chronicle API Editor, in the project of the instance")
	case http.StatusNotFound:
		return e.hint("check project, region, instance, log_type and forwarder")
	}
	return e
}

// Probe gets a token. The API has nothing to ask that needs no further right.
func (s *secops) Probe(ctx context.Context) error {
	_, err := s.token.get(ctx)
	return err
}

// Close drops idle connections.
func (s *secops) Close() error {
	s.in.client.CloseIdleConnections()
	return nil
}
