package sinks

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("elastic", openElastic) }

// elasticConfig sends events to the bulk API of Elasticsearch, OpenSearch or
// what speaks like them. Each event is created under its own id, so that what
// is sent twice is there once; in a data stream that holds until it rolls
// over. An event counts as delivered when the receiver says that it stored it.
type elasticConfig struct {
	Common Common `yaml:",inline"`
	// URLs of nodes of one cluster, such as https://es1:9200; _bulk is added.
	// When one does not answer the next is asked.
	URLs []string `yaml:"urls"`
	// Index is the data stream or index to write to.
	Index string `yaml:"index"`
	// Pipeline is the ingest pipeline that events pass. Empty leaves it to
	// the index.
	Pipeline string `yaml:"pipeline"`
	// APIKey authenticates, as Elasticsearch prints it encoded.
	APIKey     plug.Secret `yaml:"api_key"`
	APIKeyFile string      `yaml:"api_key_file"`
	// Token authenticates as a bearer.
	Token     plug.Secret `yaml:"token"`
	TokenFile string      `yaml:"token_file"`
	// User and Password authenticate by HTTP's basic scheme.
	User         string      `yaml:"user"`
	Password     plug.Secret `yaml:"password"`
	PasswordFile string      `yaml:"password_file"`
	// Gzip compresses requests.
	Gzip bool `yaml:"gzip"`
	// Timeout of one request.
	Timeout plug.Duration `yaml:"timeout"`
	TLS     TLS           `yaml:"tls"`
}

// elastic is the sink.
type elastic struct {
	conf   elasticConfig
	client *http.Client
	log    *slog.Logger
	format format.Func
	nodes  []elasticNode
	node   atomic.Int64 // counts on with each that failed
	auth   string
	head   []byte // of an action, up to the id
}

type elasticNode struct{ bulk, probe string }

func openElastic(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := elasticConfig{Common: DefaultCommon(), Index: "logs-agentrail-default", Gzip: true, Timeout: plug.Duration(time.Minute)}
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	s := &elastic{conf: conf, log: d.Log}
	s.format, _ = format.Lookup(conf.Common.Format)
	if err := errors.Join(s.address(), s.authorize()); err != nil {
		return nil, c.Errorf("%v", err)
	}
	var err error
	if s.client, err = d.HTTP(conf.TLS, conf.Common.InFlight+1); err != nil {
		return nil, c.Errorf("%v", err)
	}
	if conf.TLS.Insecure {
		s.log.Warn("tls.insecure: any certificate is accepted")
	}
	return s, nil
}

// answerFilter keeps answers to what is read of them.
const answerFilter = "errors,items.*.status,items.*.error.type,items.*.error.reason"

func (s *elastic) address() error {
	if len(s.conf.URLs) == 0 {
		return errors.New("urls: is missing")
	}
	for _, raw := range s.conf.URLs {
		u, err := parseURL("urls", raw)
		if err != nil {
			return err
		}
		if u.Scheme == "http" {
			s.log.Warn("events and credentials go over plain http; use https outside the machine", "host", u.Host)
		}
		probe, q := u.String(), u.Query()
		u = u.JoinPath("_bulk")
		q.Set("filter_path", answerFilter)
		if s.conf.Pipeline != "" {
			q.Set("pipeline", s.conf.Pipeline)
		}
		u.RawQuery = q.Encode()
		s.nodes = append(s.nodes, elasticNode{u.String(), probe})
	}
	if err := checkIndex(s.conf.Index); err != nil {
		return err
	}
	if s.conf.Timeout <= 0 {
		return errors.New("timeout: must be positive")
	}
	s.head = append(format.String([]byte(`{"create":{"_index":`), s.conf.Index), `,"_id":"`...)
	return nil
}

// checkIndex holds a name to the rules that the receivers have in common.
func checkIndex(name string) error {
	switch {
	case name == "":
		return errors.New("index: is empty")
	case len(name) > 255, strings.ContainsAny(name, "\\/*?\"<>| ,#:\t\r\n\x00"), strings.ToLower(name) != name:
		return fmt.Errorf(`index: %q is no name; at most 255 bytes, lower case, none of \ / * ? " < > | , # : or space`, name)
	case strings.ContainsRune("-_+.", rune(name[0])):
		return fmt.Errorf("index: %q begins with %q", name, name[0])
	}
	return nil
}

func (s *elastic) authorize() error {
	c, ways := s.conf, 0
	if c.APIKey != "" {
		ways, s.auth = ways+1, "ApiKey "+c.APIKey.Reveal()
	}
	if c.Token != "" {
		ways, s.auth = ways+1, "Bearer "+c.Token.Reveal()
	}
	if c.User != "" || c.Password != "" {
		ways, s.auth = ways+1, "Basic "+base64.StdEncoding.EncodeToString([]byte(c.User+":"+c.Password.Reveal()))
	}
	switch {
	case ways > 1:
		return errors.New("give one of api_key, token, and user with password")
	case c.User != "" && c.Password == "", c.User == "" && c.Password != "", strings.Contains(c.User, ":"):
		return errors.New("user and password go together, and a user's name has no colon")
	case !validHeader(s.auth):
		return errors.New("api_key or token: holds a character that cannot stand in a header")
	}
	return nil
}

// Write sends one bulk request.
func (s *elastic) Write(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	p, receipt, err := fill(evs, s.encode, s.conf.Common.Batch.MaxBytes, s.conf.Gzip)
	if err != nil {
		return receipt, err
	}
	defer p.release()
	turn := s.node.Load()
	a, err := s.post(ctx, s.nodes[int(turn%int64(len(s.nodes)))].bulk, p)
	if err != nil || a.status >= http.StatusBadGateway {
		s.node.CompareAndSwap(turn, turn+1)
	}
	if err != nil {
		return receipt, networkFailure(ctx, err)
	}
	if err := bulkOutcome(a, receipt.Events); err != nil {
		if we := asWriteError(err); we.Kind == KindPartial {
			receipt.Confirm = stored
		}
		return receipt, err
	}
	receipt.Confirm = stored
	return receipt, nil
}

// stored confirms at once: an item's answer comes after it was written to the
// logs of the primary and its replicas.
func stored(context.Context) error { return nil }

// encode appends the action and the document.
func (s *elastic) encode(dst []byte, ev *schemas.Event) []byte {
	dst = append(dst, s.head...)
	dst = appendHex(dst, ev.ID)
	dst = append(dst, "\"}}\n"...)
	from := len(dst)
	dst = s.format(dst, ev)
	return append(stampDocument(dst, from, ev), '\n')
}

// stampDocument makes what begins at from a document with the member
// @timestamp, which data streams want: a JSON object gets it in front unless
// it begins with it, a line of text becomes the member message.
func stampDocument(dst []byte, from int, ev *schemas.Event) []byte {
	const key = `{"@timestamp":"`
	if bytes.HasPrefix(dst[from:], []byte(key)) {
		return dst
	}
	var room [64]byte
	stamp := append(ev.When().AppendFormat(append(room[:0], key...), time.RFC3339Nano), `",`...)
	if len(dst) > from && dst[from] == '{' {
		return slices.Insert(dst, from+1, stamp[1:]...)
	}
	line := string(dst[from:])
	dst = append(append(dst[:from], stamp...), `"message":`...)
	return append(format.String(dst, line), '}')
}

// bulkAnswerLimit is enough for 4,096 items with a long reason each.
const bulkAnswerLimit = 8 << 20

func (s *elastic) post(ctx context.Context, to string, p *payload) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.conf.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, nil)
	if err != nil {
		return answer{}, errors.New("make request: url is not usable")
	}
	req.Body, req.ContentLength = p.body(), int64(len(p.buf))
	req.Header.Set("Content-Type", "application/x-ndjson")
	if s.conf.Gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	if s.auth != "" {
		req.Header.Set("Authorization", s.auth)
	}
	return exchangeUpTo(s.client, req, bulkAnswerLimit)
}

// Close drops idle connections.
func (s *elastic) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Probe asks the nodes until one is there and knows us.
func (s *elastic) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.conf.Timeout))
	defer cancel()
	var errs []error
	for _, n := range s.nodes {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.probe, nil)
		if err != nil {
			return errors.New("make request: url is not usable")
		}
		if s.auth != "" {
			req.Header.Set("Authorization", s.auth)
		}
		a, err := exchange(s.client, req)
		if err == nil && a.status != http.StatusOK {
			err = bulkFailure(a)
		}
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("ask %s: %w", req.URL.Host, err))
	}
	return errors.Join(errs...)
}
