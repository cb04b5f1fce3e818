package collector

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/agentrail/agentrail/internal/plug"
)

// kafkaSASL is how we log in.
type kafkaSASL struct {
	Mechanism    string      `yaml:"mechanism"` // plain, scram-sha-256 or scram-sha-512
	Username     string      `yaml:"username"`
	Password     plug.Secret `yaml:"password"`
	PasswordFile string      `yaml:"password_file"`
}

func (s *kafkaSASL) mechanism() (sasl.Mechanism, error) {
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
	kafkaDial    = 5 * time.Second
	kafkaAnswer  = 30 * time.Second // for a broker beyond max_wait
	kafkaRefresh = 5 * time.Second  // of what we know of the cluster
)

// kafkaClient talks to the cluster, except for the group's own connection. It
// is safe for concurrent use.
type kafkaClient struct {
	kafka.Client
	transport *kafka.Transport
	dialer    *kafka.Dialer // for the group
	maxWait   time.Duration
	secured   bool // by TLS
	login     bool
}

func newKafkaClient(cfg *kafkaConfig) (*kafkaClient, error) {
	conf, tlsErr := cfg.TLS.config()
	mechanism, saslErr := cfg.SASL.mechanism()
	if err := errors.Join(tlsErr, saslErr); err != nil {
		return nil, err
	}
	t := &kafka.Transport{
		ClientID: "agentrail", DialTimeout: kafkaDial, MetadataTTL: kafkaRefresh, MetadataTopics: cfg.Topics, TLS: conf, SASL: mechanism,
	}
	return &kafkaClient{
		Client:    kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Transport: t},
		transport: t,
		dialer:    &kafka.Dialer{ClientID: "agentrail", Timeout: kafkaDial, DualStack: true, TLS: conf, SASLMechanism: mechanism},
		maxWait:   time.Duration(cfg.MaxWait),
		secured:   conf != nil,
		login:     mechanism != nil,
	}, nil
}

// forget drops connections and what is known of the cluster, so that the next
// request asks anew who leads.
func (c *kafkaClient) forget() { c.transport.CloseIdleConnections() }

// fetch asks for records from an offset on, and waits for some. Only records of
// finished transactions come; the answer names those that were aborted.
func (c *kafkaClient) fetch(ctx context.Context, topic string, id int, from int64, size int) (*fetchedPartition, error) {
	ctx, cancel := context.WithTimeout(ctx, c.maxWait+kafkaAnswer)
	defer cancel()
	m, err := c.transport.RoundTrip(ctx, c.Addr, &fetchRequest{
		ReplicaID: -1, MaxWaitTime: int32(c.maxWait.Milliseconds()), MinBytes: 1, MaxBytes: int32(size), IsolationLevel: int8(kafka.ReadCommitted),
		SessionID: 0, SessionEpoch: -1,
		Topics: []fetchTopic{{Topic: topic, Partitions: []fetchPartition{{
			Partition: int32(id), CurrentLeaderEpoch: -1, FetchOffset: from, LogStartOffset: -1, PartitionMaxBytes: int32(size),
		}}}},
	})
	if err != nil {
		return nil, err
	}
	res := m.(*fetchResponse)
	switch {
	case res.ErrorCode != 0:
		return nil, kafka.Error(res.ErrorCode)
	case len(res.Topics) != 1 || len(res.Topics[0].Partitions) != 1:
		return nil, errors.New("the answer is not about the one partition that was asked for")
	}
	p := &res.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		return nil, kafka.Error(p.ErrorCode)
	}
	slices.SortFunc(p.AbortedTransactions, func(a, b abortedFrom) int { return int(min(max(a.FirstOffset-b.FirstOffset, -1), 1)) })
	return p, nil
}

// bounds returns the first offset that the partition still has and the one
// behind its last.
func (c *kafkaClient) bounds(ctx context.Context, topic string, id int) (first, end int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, kafkaAnswer)
	defer cancel()
	res, err := c.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {kafka.FirstOffsetOf(id), kafka.LastOffsetOf(id)}},
	})
	if err != nil {
		return 0, 0, err
	}
	for _, p := range res.Topics[topic] {
		if p.Partition == id {
			return p.FirstOffset, p.LastOffset, p.Error
		}
	}
	return 0, 0, errors.New("the answer is not about the partition that was asked for")
}

// compacted reports whether the topic's cleanup policy lets records go that a
// later one with the same key replaces.
func (c *kafkaClient) compacted(ctx context.Context, topic string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, kafkaAnswer)
	defer cancel()
	res, err := c.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{"cleanup.policy"},
	}}})
	if err != nil {
		return false, err
	}
	for _, r := range res.Resources {
		if r.Error != nil {
			return false, r.Error
		}
		for _, e := range r.ConfigEntries {
			if e.ConfigName == "cleanup.policy" {
				return strings.Contains(e.ConfigValue, "compact"), nil
			}
		}
	}
	return false, errors.New("the broker does not say")
}

// partitions returns how many partitions each topic has; 0 if there is none.
func (c *kafkaClient) partitions(ctx context.Context, topics []string) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, kafkaAnswer)
	defer cancel()
	res, err := c.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, t := range res.Topics {
		out[t.Name] = len(t.Partitions)
	}
	return out, nil
}

// explain adds to an error of the connection what to look at.
func (c *kafkaClient) explain(err error) error {
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
		hint = "the user needs READ and DESCRIBE on the topic"
	case errors.Is(err, kafka.GroupAuthorizationFailed):
		hint = "the user needs READ on the group"
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case c.login:
		hint = "the broker closed the connection: if it stays so, check sasl.mechanism, sasl.username and the password"
	case !c.secured:
		hint = "the broker closed the connection: if it stays so, the listener may want tls or sasl"
	default:
		hint = "the broker closed the connection: if it stays so, the listener may want sasl or a client certificate"
	}
	return fmt.Errorf("%w; %s", err, hint)
}
