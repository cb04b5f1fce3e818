package collector

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/agentrail/agentrail/internal/kafkadial"
)

// kafkaAnswer bounds how long a broker may take beyond max_wait.
const kafkaAnswer = 30 * time.Second

// kafkaClient talks to the cluster, except for the group's own connection. It
// is safe for concurrent use.
type kafkaClient struct {
	kafka.Client
	transport *kafka.Transport
	dial      *kafkadial.Dial
	maxWait   time.Duration
}

func newKafkaClient(cfg *kafkaConfig) (*kafkaClient, error) {
	dial, err := kafkadial.New(cfg.TLS, cfg.SASL)
	if err != nil {
		return nil, err
	}
	t := dial.Transport(cfg.Topics...)
	return &kafkaClient{Client: kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Transport: t}, transport: t, dial: dial, maxWait: time.Duration(cfg.MaxWait)}, nil
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
func (c *kafkaClient) explain(err error) error { return c.dial.Explain(err, "READ and DESCRIBE") }
