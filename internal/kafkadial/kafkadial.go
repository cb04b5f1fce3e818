// Package kafkadial connects to Kafka: how we log in, how brokers are named
// and what an operator should look at when it does not work. The source and
// the sink of that name share it.
package kafkadial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/internal/tlsconf"
)

// SASL is how we log in.
type SASL struct {
	Mechanism    string      `yaml:"mechanism"` // plain, scram-sha-256 or scram-sha-512
	Username     string      `yaml:"username"`
	Password     plug.Secret `yaml:"password"`
	PasswordFile string      `yaml:"password_file"`
}

func (s *SASL) mechanism() (sasl.Mechanism, error) {
	if s == nil {
		return nil, nil
	}
	if s.Username == "" || s.Password == "" {
		return nil, errors.New("sasl: username and password_file (or password: ${env:NAME}) are needed")
	}
	switch strings.ToLower(s.Mechanism) {
	case "plain":
		return plain.Mechanism{Username: s.Username, Password: s.Password.Reveal()}, nil
	case "scram-sha-256":
		return scram.Mechanism(scram.SHA256, s.Username, s.Password.Reveal())
	case "scram-sha-512":
		return scram.Mechanism(scram.SHA512, s.Username, s.Password.Reveal())
	}
	return nil, fmt.Errorf("sasl.mechanism %q is none of plain, scram-sha-256, scram-sha-512", s.Mechanism)
}

// Bounds of talking to brokers that are not for configuration.
const (
	clientID = "agentrail"
	timeout  = 5 * time.Second // of a connection with its handshakes

	// Refresh is how long what we know of a cluster holds.
	Refresh = 5 * time.Second
)

// Dial is a checked way to a cluster.
type Dial struct {
	tls  *tls.Config
	sasl *login // nil: none
}

// login remembers whether the latest attempt to log in has not succeeded:
// brokers may answer a wrong password by closing the connection, which looks
// as if they were dying.
type login struct {
	sasl.Mechanism
	failing atomic.Bool
}

// Start begins an attempt.
func (l *login) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	l.failing.Store(true)
	m, first, err := l.Mechanism.Start(ctx)
	return &attempt{m, l}, first, err
}

type attempt struct {
	sasl.StateMachine
	login *login
}

// Next goes on with an attempt.
func (a *attempt) Next(ctx context.Context, challenge []byte) (bool, []byte, error) {
	done, answer, err := a.StateMachine.Next(ctx, challenge)
	if done && err == nil {
		a.login.failing.Store(false)
	}
	return done, answer, err
}

// New checks the settings and reads the files; nil stands for no TLS and for
// no login.
func New(t *tlsconf.Client, as *SASL) (*Dial, error) {
	conf, tlsErr := t.Config()
	mechanism, saslErr := as.mechanism()
	if err := errors.Join(tlsErr, saslErr); err != nil {
		return nil, err
	}
	d := &Dial{tls: conf}
	if mechanism != nil {
		d.sasl = &login{Mechanism: mechanism}
	}
	return d, nil
}

// mechanism is nil, not a nil login, where there is none.
func (d *Dial) mechanism() sasl.Mechanism {
	if d.sasl == nil {
		return nil
	}
	return d.sasl
}

// Transport returns the connections of one user, who knows only these topics.
func (d *Dial) Transport(topics ...string) *kafka.Transport {
	return &kafka.Transport{ClientID: clientID, DialTimeout: timeout, MetadataTTL: Refresh, MetadataTopics: topics, TLS: d.tls, SASL: d.mechanism()}
}

// Group returns how a member of a consumer group connects.
func (d *Dial) Group() *kafka.Dialer {
	return &kafka.Dialer{ClientID: clientID, Timeout: timeout, DualStack: true, TLS: d.tls, SASLMechanism: d.mechanism()}
}

// Open reports whether the password, if any, goes over plain connections.
func (d *Dial) Open() bool { return d.sasl != nil && d.tls == nil }

// CheckBrokers returns what is wrong with a list of brokers.
func CheckBrokers(brokers []string) (faults []error) {
	if len(brokers) == 0 {
		faults = append(faults, errors.New("brokers are missing; name some as host:port"))
	}
	for _, b := range brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			faults = append(faults, fmt.Errorf("broker %q is not host:port", b))
		}
	}
	return faults
}

// CheckTopic returns what is wrong with the name of a topic.
func CheckTopic(name string) error {
	if name == "" || len(name) > 249 || strings.ContainsAny(name, "/ ,") {
		return fmt.Errorf("topic %q is no name of a topic", name)
	}
	return nil
}

// Refused reports whether the cluster does not know us or what we ask is
// forbidden: a person is needed.
func (d *Dial) Refused(err error) bool {
	if d.sasl != nil && d.sasl.failing.Load() && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		return true
	}
	for _, code := range []kafka.Error{
		kafka.SASLAuthenticationFailed, kafka.UnsupportedSASLMechanism, kafka.IllegalSASLState,
		kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// Explain adds to an error of the connection what to look at. Rights are what
// the user needs on the topic.
func (d *Dial) Explain(err error, rights string) error {
	var unknown x509.UnknownAuthorityError
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	hint := ""
	switch {
	case errors.As(err, &unknown), errors.As(err, &verify):
		hint = "check tls.ca_file and tls.server_name"
	case errors.As(err, &record):
		hint = "the listener does not speak TLS: check the port or remove tls"
	case errors.Is(err, kafka.SASLAuthenticationFailed), errors.Is(err, kafka.UnsupportedSASLMechanism), errors.Is(err, kafka.IllegalSASLState):
		hint = "check sasl.mechanism, sasl.username and the password"
	case errors.Is(err, kafka.TopicAuthorizationFailed):
		hint = "the user needs " + rights + " on the topic"
	case errors.Is(err, kafka.GroupAuthorizationFailed):
		hint = "the user needs READ on the group"
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case d.sasl != nil:
		hint = "the broker closed the connection: if it stays so, check sasl.mechanism, sasl.username and the password"
	case d.tls == nil:
		hint = "the broker closed the connection: if it stays so, the listener may want tls or sasl"
	default:
		hint = "the broker closed the connection: if it stays so, the listener may want sasl or a client certificate"
	}
	return fmt.Errorf("%w; %s", err, hint)
}
