package sinks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("sentinel", openSentinel) }

// sentinelConfig sends events to a table of Microsoft Sentinel by the Logs
// Ingestion API of Azure Monitor. An event becomes a row: TimeGenerated and the
// members of the event, of which the API drops those that the stream of the
// data collection rule does not declare. An event counts as delivered when the
// API accepts it.
type sentinelConfig struct {
	Common Common `yaml:",inline"`
	// Endpoint for logs ingestion, of the rule or of a data collection
	// endpoint, such as https://soc-x1y2.westeurope-1.ingest.monitor.azure.com.
	Endpoint string `yaml:"endpoint"`
	// Rule is the immutable id of the data collection rule, dcr-...
	Rule string `yaml:"rule"`
	// Stream of the rule, such as Custom-Agentrail_CL.
	Stream string `yaml:"stream"`
	// Column takes the whole event, so that the stream declares only it and
	// TimeGenerated. Empty: each member is a column.
	Column string `yaml:"column"`
	// Cloud is public, usgov or china.
	Cloud string `yaml:"cloud"`
	// Identity to send as.
	Identity entraConfig `yaml:",inline"`
	// PastWindow is how old an event may be to keep its time; replay asks before it
	// sends older ones. Default: 48h, a cautious one: Azure Monitor replaces older
	// times by that of arrival.
	PastWindow plug.Duration `yaml:"past_window"`
	// Gzip compresses requests.
	Gzip bool `yaml:"gzip"`
	// Timeout of one request.
	Timeout plug.Duration `yaml:"timeout"`
	TLS     TLS           `yaml:"tls"`
}

// Limits of the Logs Ingestion API.
const (
	sentinelBytes = 1 << 20        // of a request, before compression
	sentinelField = 64 << 10       // of a value; what is longer is cut
	sentinelPast  = 48 * time.Hour // what is older gets the time of arrival
)

// sentinel is the sink.
type sentinel struct {
	conf   sentinelConfig
	in     intake
	frame  frame
	token  *bearer
	format format.Func
	splice bool   // the members of the event become those of the row
	key    string // else: what stands before the event
}

func openSentinel(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := sentinelConfig{Common: DefaultCommon(), Cloud: "public", Gzip: true, PastWindow: plug.Duration(sentinelPast), Timeout: plug.Duration(30 * time.Second)}
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	s := &sentinel{conf: conf}
	if err := s.setup(d); err != nil {
		return nil, c.Errorf("%v", err)
	}
	return s, nil
}

var (
	ruleForm   = regexp.MustCompile(`^dcr-[0-9a-f]{32}$`)
	streamForm = regexp.MustCompile(`^(Custom|Microsoft)-[A-Za-z0-9_]{1,100}$`)
	columnForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,44}$`)
)

func (s *sentinel) setup(d Deps) error {
	c := &s.conf
	u, err := parseURL("endpoint", c.Endpoint)
	if err != nil {
		return err
	}
	cloud, known := azureClouds[c.Cloud]
	switch {
	case !known:
		return fmt.Errorf("cloud: %q is none of public, usgov, china", c.Cloud)
	case u.Path != "" && u.Path != "/":
		return fmt.Errorf("endpoint: has the path %q; give scheme and host only", u.Path)
	case !ruleForm.MatchString(c.Rule):
		return fmt.Errorf("rule: %q is not an immutable id, dcr- and 32 digits; the JSON view of the rule shows it", c.Rule)
	case !streamForm.MatchString(c.Stream):
		return fmt.Errorf("stream: %q is not a name such as Custom-Agentrail_CL", c.Stream)
	case c.Column != "" && !columnForm.MatchString(c.Column):
		return fmt.Errorf("column: %q is not a name", c.Column)
	case c.Timeout <= 0:
		return errors.New("timeout: must be positive")
	case c.PastWindow <= 0:
		return errors.New("past_window: must be positive")
	}
	if u.Scheme == "http" {
		d.Log.Warn("events and token go over plain http; use https outside the machine", "host", u.Host)
	}
	client, err := d.HTTP(c.TLS, c.Common.InFlight+1)
	if err != nil {
		return err
	}
	fetch, err := c.Identity.source(client, cloud, time.Duration(c.Timeout))
	if err != nil {
		return err
	}
	s.token = newBearer(fetch)
	u = u.JoinPath("dataCollectionRules", c.Rule, "streams", c.Stream)
	u.RawQuery = url.Values{"api-version": {"2023-01-01"}}.Encode()
	s.in = intake{
		who: "sentinel", client: client, url: u.String(), header: http.Header{"Content-Type": {"application/json"}},
		gzip: c.Gzip, timeout: time.Duration(c.Timeout),
	}
	s.frame = frame{open: "[", sep: ",", shut: "]", fault: sentinelFault}
	s.frame.bytes = int(min(c.Common.Batch.MaxBytes, sentinelBytes))
	s.format, _ = format.Value(c.Common.Format)
	s.splice = c.Column == "" && format.Object(c.Common.Format)
	s.key = `,"RawData":`
	if c.Column != "" {
		s.key = `,"` + c.Column + `":`
	}
	return nil
}

// Write sends one request.
func (s *sentinel) Write(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	p, receipt, err := s.frame.fill(evs, s.encode, s.conf.Gzip)
	if err != nil {
		return receipt, err
	}
	defer p.release()
	a, err := s.in.postAs(ctx, p, s.token)
	if err != nil {
		return receipt, err
	}
	if a.status != http.StatusNoContent {
		return receipt, s.failure(a, receipt.Events)
	}
	return receipt, nil
}

// encode appends the event as a row.
func (s *sentinel) encode(dst []byte, ev *schemas.Event) []byte {
	dst = append(dst, `{"TimeGenerated":"`...)
	dst = append(schemas.AppendTime(dst, ev.Time), '"')
	if !s.splice {
		return append(s.format(append(dst, s.key...), ev), '}')
	}
	brace := len(dst)
	dst = s.format(dst, ev)
	dst[brace] = ','
	return dst
}

// sentinelFault finds a value that would be cut, which the API does not tell.
func sentinelFault(doc []byte) *WriteError {
	if len(doc) <= sentinelField {
		return nil
	}
	var row map[string]json.RawMessage
	if json.Unmarshal(doc, &row) != nil {
		return nil // BUG of a format; the API will say so
	}
	for name, value := range row {
		size := len(value)
		if text := ""; size > sentinelField && value[0] == '"' && json.Unmarshal(value, &text) == nil {
			size = len(text)
		}
		if size > sentinelField {
			return &WriteError{Kind: KindTooLarge, Code: "field_too_large", Err: fmt.Errorf("column %s has %d bytes and would be cut at 64 KiB", name, size)}
		}
	}
	return nil
}

// failure maps an answer to a request of n events.
func (s *sentinel) failure(a answer, n int) *WriteError {
	code, why := sentinelReason(a.body)
	e := s.in.failure(a, code+" "+why)
	about := strings.ToLower(code + why)
	switch a.status {
	case http.StatusBadRequest:
		if strings.Contains(strings.ToLower(code), "payload") || strings.Contains(strings.ToLower(code), "json") {
			e.Kind = KindRefused
			return e
		}
		return e.hint("check rule and stream")
	case http.StatusUnauthorized:
		return e.hint("the token is for another cloud or directory: check cloud and tenant_id")
	case http.StatusForbidden:
		return e.hint(`give the identity the role "Monitoring Metrics Publisher" on the data collection rule; that takes up to 30 minutes to hold`)
	case http.StatusNotFound:
		// Also the answer of a gateway to a request that is too large, never to
		// one event alone.
		if n > 1 && !strings.Contains(about, "immutable") && !strings.Contains(about, "stream") {
			e.Kind = KindTooLarge
			return e
		}
		return e.hint("check endpoint, rule and stream")
	}
	return e
}

// sentinelReason reads the answer to a request that failed.
func sentinelReason(body []byte) (code, why string) {
	var b struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	_ = json.Unmarshal(bytes.TrimPrefix(body, []byte("\ufeff")), &b) // not JSON: the status decides
	return b.Error.Code, b.Error.Message
}

// Window says what becomes of old events.
func (s *sentinel) Window() (past time.Duration, what string) {
	return time.Duration(s.conf.PastWindow), "Azure Monitor replaces TimeGenerated by the time of arrival; the time stays in the event"
}

// Probe sends an empty request: token, role, rule and stream are checked.
func (s *sentinel) Probe(ctx context.Context) error {
	p, _, err := s.frame.fill(nil, s.encode, s.conf.Gzip)
	if err != nil {
		return err
	}
	defer p.release()
	a, err := s.in.postAs(ctx, p, s.token)
	if err != nil {
		return err
	}
	if a.status != http.StatusNoContent {
		return s.failure(a, 0)
	}
	return nil
}

// Close drops idle connections.
func (s *sentinel) Close() error {
	s.in.client.CloseIdleConnections()
	return nil
}
