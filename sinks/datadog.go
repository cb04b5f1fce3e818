package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("datadog", openDatadog) }

// datadogConfig sends events to the logs of Datadog. What an event says in
// short is the message; the event itself is the attribute agentrail, so that
// none of its fields is taken for one of Datadog's own. A line of text (cef,
// leef) is the message. An event counts as delivered when the intake accepts it.
type datadogConfig struct {
	Common Common `yaml:",inline"`
	// Site of the account, such as datadoghq.eu or us5.datadoghq.com.
	Site string `yaml:"site"`
	// APIKey of the account.
	APIKey     plug.Secret `yaml:"api_key"`
	APIKeyFile string      `yaml:"api_key_file"`
	// Service, Host and Tags are Datadog's; a tag is such as env:prod.
	Service string   `yaml:"service"`
	Host    string   `yaml:"host"`
	Tags    []string `yaml:"tags"`
	// URL of another intake than the site's, such as a proxy. The path is added.
	URL string `yaml:"url"`
	// APIURL is where the key is checked. Empty: the site's, if url is.
	APIURL string `yaml:"api_url"`
	// PastWindow is how old an event may be to keep its time; replay asks before it
	// sends older ones. Default: 18h, as Datadog documents for the log date
	// remapper.
	PastWindow plug.Duration `yaml:"past_window"`
	// Gzip compresses requests.
	Gzip bool `yaml:"gzip"`
	// Timeout of one request.
	Timeout plug.Duration `yaml:"timeout"`
	TLS     TLS           `yaml:"tls"`
}

// Limits of the intake.
const (
	datadogBytes  = 5_000_000 // of a request, before compression
	datadogEvent  = 1_000_000 // what is longer is cut
	datadogEvents = 1000      // in a request
	datadogPast   = 18 * time.Hour
)

// datadog is the sink.
type datadog struct {
	conf   datadogConfig
	in     intake
	frame  frame
	probe  string // URL; empty: none
	format format.Func
	object bool
	head   []byte // up to the time of each event
}

func openDatadog(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := datadogConfig{Common: DefaultCommon(), Site: "datadoghq.com", Service: "agentrail", Gzip: true, PastWindow: plug.Duration(datadogPast), Timeout: plug.Duration(30 * time.Second)}
	conf.Host, _ = os.Hostname()
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	s := &datadog{conf: conf}
	if err := s.setup(d); err != nil {
		return nil, c.Errorf("%v", err)
	}
	return s, nil
}

var siteForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,99}\.[a-z]{2,10}$`)

func (s *datadog) setup(d Deps) error {
	c := &s.conf
	switch {
	case !siteForm.MatchString(c.Site):
		return fmt.Errorf("site: %q is not one such as datadoghq.eu", c.Site)
	case c.APIKey == "":
		return errors.New("api_key: is missing; set api_key_file")
	case c.Timeout <= 0:
		return errors.New("timeout: must be positive")
	case c.PastWindow <= 0:
		return errors.New("past_window: must be positive")
	}
	if err := checkHeaders("api_key", c.APIKey.Reveal()); err != nil {
		return err
	}
	to, api := c.URL, c.APIURL
	if to == "" {
		to = "https://http-intake.logs." + c.Site
		if api == "" {
			api = "https://api." + c.Site
		}
	}
	u, err := parseURL("url", to)
	if err != nil {
		return err
	}
	if u.Scheme == "http" {
		d.Log.Warn("events and key go over plain http; use https outside the machine", "host", u.Host)
	}
	if api != "" {
		v, err := parseURL("api_url", api)
		if err != nil {
			return err
		}
		s.probe = v.JoinPath("api/v1/validate").String()
	}
	client, err := d.HTTP(c.TLS, c.Common.InFlight+1)
	if err != nil {
		return err
	}
	s.in = intake{
		who: "datadog", client: client, url: u.JoinPath("api/v2/logs").String(), gzip: c.Gzip, timeout: time.Duration(c.Timeout),
		header: http.Header{"Content-Type": {"application/json"}, "Dd-Api-Key": {c.APIKey.Reveal()}},
	}
	s.frame = frame{open: "[", sep: ",", shut: "]", fault: datadogFault}
	s.frame.bytes, s.frame.events = int(min(c.Common.Batch.MaxBytes, datadogBytes)), datadogEvents
	s.object = format.Object(c.Common.Format)
	s.format, _ = format.Value(c.Common.Format)
	s.head = format.String([]byte(`{"ddsource":"agentrail","service":`), c.Service)
	s.head = format.String(append(s.head, `,"hostname":`...), c.Host)
	if len(c.Tags) > 0 {
		s.head = format.String(append(s.head, `,"ddtags":`...), strings.Join(c.Tags, ","))
	}
	s.head = append(s.head, `,"timestamp":`...)
	return nil
}

// datadogFault finds an event that would be cut, which the intake does not tell.
func datadogFault(doc []byte) *WriteError {
	if len(doc) <= datadogEvent {
		return nil
	}
	return &WriteError{Kind: KindTooLarge, Code: "event_too_large", Err: fmt.Errorf("event has %d bytes and would be cut at 1 MB", len(doc))}
}

// Write sends one request.
func (s *datadog) Write(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	p, receipt, err := s.frame.fill(evs, s.encode, s.conf.Gzip)
	if err != nil {
		return receipt, err
	}
	defer p.release()
	a, err := s.in.post(ctx, p, "")
	if err != nil {
		return receipt, err
	}
	if a.status != http.StatusAccepted {
		return receipt, s.failure(a)
	}
	return receipt, nil
}

// encode appends the event as a log.
func (s *datadog) encode(dst []byte, ev *schemas.Event) []byte {
	dst = append(dst, s.head...)
	dst = strconv.AppendInt(dst, ev.When().UnixMilli(), 10)
	dst = append(dst, `,"message":`...)
	if !s.object {
		return append(s.format(dst, ev), '}')
	}
	dst = format.String(dst, inShort(ev))
	return append(s.format(append(dst, `,"agentrail":`...), ev), '}')
}

// inShort names what happened, for people who scan a list.
func inShort(ev *schemas.Event) string {
	short := make([]byte, 0, 128)
	for _, part := range []string{ev.Class.String(), ev.Action, ev.Tool, ev.Target, ev.OutcomeText} {
		if part == "" {
			continue
		}
		if len(short) > 0 {
			short = append(short, ' ')
		}
		short = append(short, part[:min(len(part), 200)]...)
	}
	return string(short)
}

// failure maps an answer. 400 speaks of the data only if the intake says so
// itself.
func (s *datadog) failure(a answer) *WriteError {
	var b struct {
		Errors []struct {
			Title  string `json:"title"`
			Detail string `json:"detail"`
		} `json:"errors"`
	}
	_ = json.Unmarshal(a.body, &b) // not JSON: the status decides
	why := ""
	if len(b.Errors) > 0 {
		why = b.Errors[0].Title + " " + b.Errors[0].Detail
	}
	e := s.in.failure(a, why)
	switch a.status {
	case http.StatusBadRequest:
		if len(b.Errors) > 0 {
			e.Kind = KindRefused
		}
	case http.StatusUnauthorized, http.StatusForbidden:
		return e.hint("check api_key and that site is that of the account")
	}
	return e
}

// Window says what becomes of old events.
func (s *datadog) Window() (past time.Duration, what string) {
	return time.Duration(s.conf.PastWindow), "Datadog does not keep older times as they are sent; the time stays in the attribute agentrail"
}

// Probe asks whether the key is valid. An intake of another URL is not asked.
func (s *datadog) Probe(ctx context.Context) error {
	if s.probe == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.in.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.probe, nil)
	if err != nil {
		return errors.New("make request: api_url is not usable")
	}
	req.Header = s.in.header.Clone()
	a, err := exchange(s.in.client, req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", req.URL.Host, err)
	}
	if a.status != http.StatusOK {
		return s.failure(a)
	}
	return nil
}

// Close drops idle connections.
func (s *datadog) Close() error {
	s.in.client.CloseIdleConnections()
	return nil
}
