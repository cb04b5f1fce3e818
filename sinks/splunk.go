package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("splunk", openSplunk) }

// splunkConfig sends events to Splunk's HTTP Event Collector. Each event
// carries its id as the indexed field event_id, by which searches can remove
// the repeats that a lost acknowledgement leaves.
type splunkConfig struct {
	Common Common `yaml:",inline"`
	// URL of the collector, such as https://splunk:8088. The path is added.
	URL string `yaml:"url"`
	// Token of the collector.
	Token     plug.Secret `yaml:"token"`
	TokenFile string      `yaml:"token_file"`
	// Index to write to. Empty leaves it to the token.
	Index string `yaml:"index"`
	// SourceType, Source and Host are Splunk's fields of these names.
	SourceType string `yaml:"sourcetype"`
	Source     string `yaml:"source"`
	Host       string `yaml:"host"`
	// Gzip compresses requests.
	Gzip bool `yaml:"gzip"`
	// Ack waits until the indexer confirms, where the token has
	// acknowledgement enabled. Off, an event counts as delivered when the
	// collector has accepted it.
	Ack bool `yaml:"ack"`
	// AckTimeout is how long to wait before the events are sent again.
	AckTimeout plug.Duration `yaml:"ack_timeout"`
	// AckPoll is the longest pause between two questions.
	AckPoll plug.Duration `yaml:"ack_poll"`
	// Timeout of one request.
	Timeout plug.Duration `yaml:"timeout"`
	TLS     TLS           `yaml:"tls"`
}

// splunk is the sink. Requests go out on channels, each leased to one write
// until that is confirmed: acknowledgement ids start at 0 on every indexer, so
// behind a load balancer an id means something only together with the channel
// and the cookie that leads to its indexer.
type splunk struct {
	conf     splunkConfig
	client   *http.Client
	log      *slog.Logger
	health   HealthFunc
	format   format.Func
	events   string // URLs
	acks     string
	probe    string
	auth     string
	head     []byte // between time and event of each event
	channels channelPool
	ackOff   atomic.Bool // the receiver said that it does not acknowledge
	ackSaid  atomic.Bool
}

func openSplunk(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := splunkConfig{
		Common: DefaultCommon(), SourceType: "agentrail:event", Source: "agentrail", Gzip: true, Ack: true,
		AckTimeout: plug.Duration(5 * time.Minute), AckPoll: plug.Duration(time.Second), Timeout: plug.Duration(30 * time.Second),
	}
	conf.Host, _ = os.Hostname()
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	s := &splunk{conf: conf, log: d.Log, health: d.Health, auth: "Splunk " + conf.Token.Reveal()}
	s.format, _ = format.Value(conf.Common.Format)
	if err := s.setup(d.HTTP); err != nil {
		return nil, c.Errorf("%v", err)
	}
	return s, nil
}

func (s *splunk) setup(newClient ClientFactory) error {
	u, err := parseURL("url", s.conf.URL)
	if err != nil {
		return err
	}
	if s.conf.Token == "" {
		return errors.New("token: is missing; set token_file or token")
	}
	if !validHeader(s.conf.Token.Reveal()) {
		return errors.New("token: holds a character that cannot stand in a header")
	}
	if u.Path != "" && u.Path != "/" {
		return fmt.Errorf("url: has the path %q; give scheme, host and port only", u.Path)
	}
	if s.conf.Timeout <= 0 || s.conf.AckTimeout <= 0 || s.conf.AckPoll <= 0 {
		return errors.New("timeout, ack_timeout and ack_poll must be positive")
	}
	if u.Scheme == "http" {
		s.log.Warn("token and events go over plain http; use https outside the machine")
	}
	if s.conf.TLS.Insecure {
		s.log.Warn("tls.insecure: any certificate is accepted")
	}
	s.events = u.JoinPath("services/collector/event").String()
	s.acks = u.JoinPath("services/collector/ack").String()
	s.probe = u.JoinPath("services/collector/health").String()
	s.head = s.envelope()
	s.client, err = newClient(s.conf.TLS, s.conf.Common.InFlight+1)
	return err
}

func (s *splunk) envelope() []byte {
	b := format.String([]byte(`,"host":`), s.conf.Host)
	b = format.String(append(b, `,"source":`...), s.conf.Source)
	b = format.String(append(b, `,"sourcetype":`...), s.conf.SourceType)
	if s.conf.Index != "" {
		b = format.String(append(b, `,"index":`...), s.conf.Index)
	}
	return append(b, `,"event":`...)
}

// Write sends one request.
func (s *splunk) Write(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	p, receipt, err := fill(evs, s.encode, s.conf.Common.Batch.MaxBytes, s.conf.Gzip)
	if err != nil {
		return receipt, err
	}
	defer p.release()
	ch := s.channels.lease()
	a, err := s.post(ctx, s.events, ch, p)
	if err != nil {
		return receipt, networkFailure(ctx, err)
	}
	id, err := s.accepted(a)
	if err != nil {
		return receipt, err
	}
	ch.keepCookies(a.header)
	if !s.conf.Ack || s.ackOff.Load() || id == nil {
		s.channels.giveBack(ch)
		if s.conf.Ack && id == nil {
			s.sayUnacknowledged(ctx)
		}
		return receipt, nil
	}
	receipt.Confirm = func(ctx context.Context) error { return s.confirm(ctx, ch, *id) }
	return receipt, nil
}

// Close drops idle connections.
func (s *splunk) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Probe asks the collector whether it is well and knows the token.
func (s *splunk) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.conf.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.probe, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", s.auth)
	a, err := exchange(s.client, req)
	if err != nil {
		return fmt.Errorf("ask the health of %s: %w", req.URL.Host, err)
	}
	if a.status != http.StatusOK {
		return hecFailure(a)
	}
	return nil
}

// encode appends one event in HEC's envelope. Events stand back to back.
func (s *splunk) encode(dst []byte, ev *schemas.Event) []byte {
	dst = append(dst, `{"time":`...)
	dst = appendSeconds(dst, ev)
	dst = append(dst, s.head...)
	dst = s.format(dst, ev)
	dst = append(dst, `,"fields":{"event_id":"`...)
	dst = appendHex(dst, ev.ID)
	dst = append(dst, `","tenant":`...)
	dst = format.String(dst, ev.Tenant)
	dst = append(dst, `,"class":"`...)
	dst = append(dst, ev.Class.String()...)
	return append(dst, `"}}`...)
}

// appendSeconds writes Splunk's time, which is not before 1970; the event
// itself holds the time as it is.
func appendSeconds(dst []byte, ev *schemas.Event) []byte {
	t := ev.Time
	if t < 0 {
		t = max(ev.Received, 0)
	}
	ms := t / int64(time.Millisecond)
	dst = strconv.AppendInt(dst, ms/1000, 10)
	rest := ms % 1000
	return append(dst, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
}

func (s *splunk) post(ctx context.Context, to string, ch *channel, p *payload) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.conf.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, nil)
	if err != nil {
		return answer{}, fmt.Errorf("make request: %w", err)
	}
	req.Body, req.ContentLength = p.body(), int64(len(p.buf))
	req.Header.Set("Authorization", s.auth)
	req.Header.Set("Content-Type", "application/json") // some receivers drop anything else and say success
	req.Header.Set("X-Splunk-Request-Channel", ch.id)
	if to == s.events && s.conf.Gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	if cookie := ch.cookie(); cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	return exchange(s.client, req)
}

// hecAnswer is what a collector says.
type hecAnswer struct {
	Text    string `json:"text"`
	Code    *int   `json:"code"`
	AckID   *int64 `json:"ackId"`
	Invalid *int   `json:"invalid-event-number"`
}

// accepted returns the acknowledgement id of a request that was taken.
func (s *splunk) accepted(a answer) (*int64, error) {
	if a.status != http.StatusOK {
		return nil, hecFailure(a)
	}
	var h hecAnswer
	if json.Unmarshal(a.body, &h) != nil || h.Code == nil {
		return nil, &WriteError{Kind: KindRetry, Code: "bad_answer", Err: errors.New("receiver answers 200 with something that is not from a HEC; is there a proxy in between?")}
	}
	if *h.Code != 0 {
		return nil, hecFailure(a)
	}
	return h.AckID, nil
}

// hecFailure maps an answer to what is to be done. Only codes that speak of
// the data can lead to dead letters; whatever else is final needs a person.
func hecFailure(a answer) *WriteError {
	var h hecAnswer
	_ = json.Unmarshal(a.body, &h) // not JSON: the status decides
	e := &WriteError{Code: "http_" + strconv.Itoa(a.status), RetryAfter: retryAfter(a.header, time.Now())}
	text := http.StatusText(a.status)
	if h.Code != nil {
		e.Code = "hec_" + strconv.Itoa(min(max(*h.Code, 0), 99))
		text = format.Plain(h.Text, 200)
	}
	e.Err = fmt.Errorf("splunk answers %d: %s (%s)", a.status, text, e.Code)
	switch {
	case a.status == http.StatusRequestEntityTooLarge:
		e.Kind = KindTooLarge
	case a.status == http.StatusTooManyRequests, a.status == http.StatusRequestTimeout, a.status >= 500:
		e.Kind = KindRetry
	case h.Code != nil && a.status == http.StatusBadRequest:
		e.Kind = hecKind(*h.Code)
	case a.status/100 == 3:
		e.Kind = KindAuth
		e.Err = fmt.Errorf("splunk answers %d to another place, which is not followed; correct url", a.status)
	default:
		e.Kind = KindAuth
	}
	if e.Kind == KindRefused && h.Invalid != nil {
		e.Rejected = []Item{{Index: *h.Invalid, Code: e.Code, Reason: text}}
	}
	return e
}

// hecKind is for the codes that come with status 400.
func hecKind(code int) Kind {
	switch code {
	case 5, 6, 12, 13, 15: // no data, invalid data, event missing, event blank, bad indexed fields
		return KindRefused
	case 10, 11, 14: // channel missing, channel invalid, no acknowledgement: another channel may do
		return KindRetry
	}
	return KindAuth // 7 is a wrong index, the same for every event: a fault in the config
}

func tooLarge(limit plug.Bytes) *WriteError {
	return &WriteError{Kind: KindTooLarge, Code: "too_large", Err: fmt.Errorf("event is larger than one request may be: %d bytes, by batch.max_bytes or by the receiver", limit)}
}

// sayUnacknowledged tells once that deliveries are not confirmed.
func (s *splunk) sayUnacknowledged(ctx context.Context) {
	if !s.ackSaid.CompareAndSwap(false, true) {
		return
	}
	const reason = "the token has indexer acknowledgement disabled: events count as delivered when the collector accepts them; enable it in Splunk, or set ack: false"
	s.log.Warn("deliveries are not confirmed", "reason", reason)
	if err := s.health(ctx, schemas.Health{Kind: "sink.ack_disabled", Reason: reason}); err != nil {
		s.log.Warn("health event not appended", "error", err)
	}
}

func (s *splunk) ackURL(ch *channel) string {
	return s.acks + "?channel=" + url.QueryEscape(ch.id)
}
