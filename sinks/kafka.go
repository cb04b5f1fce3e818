package sinks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/agentrail/agentrail/internal/kafkadial"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("kafka", openKafka) }

// kafkaConfig writes each event as one record of a topic. It counts as
// delivered when all replicas in sync have it. The headers event_id, seq (its
// place in the journal) and content-type stand beside it; the record's time is
// when the journal took the event. What is sent twice is there twice, with the
// same event_id.
type kafkaConfig struct {
	Common Common `yaml:",inline"`
	// Brokers are some of the cluster's brokers as host:port; the rest is
	// found.
	Brokers []string `yaml:"brokers"`
	// Topic must exist.
	Topic string `yaml:"topic"`
	// Key is agent or tenant: what has the same key is in the same partition
	// (as Java clients choose it), in order. An event without an agent goes
	// by its tenant.
	Key string `yaml:"key"`
	// Compression of requests: none, gzip, snappy, lz4 or zstd.
	Compression string `yaml:"compression"`
	// Timeout of one request.
	Timeout plug.Duration `yaml:"timeout"`
	// TLS encrypts the connections. An empty tls: {} trusts the system's
	// roots.
	TLS *TLS `yaml:"tls"`
	// SASL logs in.
	SASL *kafkadial.SASL `yaml:"sasl"`
}

// kafkaSink is the sink.
type kafkaSink struct {
	conf        kafkaConfig
	format      format.Func
	compression kafka.Compression
	contentType []byte
	dial        *kafkadial.Dial
	transport   *kafka.Transport
	client      kafka.Client
}

var kafkaCompressions = map[string]kafka.Compression{"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}

func openKafka(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := kafkaConfig{Common: DefaultCommon(), Key: "agent", Compression: "zstd", Timeout: plug.Duration(30 * time.Second)}
	conf.Common.Batch.MaxBytes = 900 << 10 // below what brokers take by default
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	s := &kafkaSink{conf: conf, contentType: []byte("text/plain; charset=utf-8")}
	if err := s.setup(); err != nil {
		return nil, c.Errorf("%v", err)
	}
	if s.dial.Open() {
		d.Log.Warn("the password goes over plain connections; use tls outside the machine")
	}
	if conf.TLS != nil && conf.TLS.Insecure {
		d.Log.Warn("tls.insecure: any certificate is accepted")
	}
	return s, nil
}

func (s *kafkaSink) setup() error {
	c := s.conf
	faults := append(kafkadial.CheckBrokers(c.Brokers), kafkadial.CheckTopic(c.Topic))
	if c.Key != "agent" && c.Key != "tenant" {
		faults = append(faults, fmt.Errorf("key: %q is neither agent nor tenant", c.Key))
	}
	var ok bool
	if s.compression, ok = kafkaCompressions[c.Compression]; !ok {
		faults = append(faults, fmt.Errorf("compression: %q is none of none, gzip, snappy, lz4, zstd", c.Compression))
	}
	if c.Timeout <= 0 {
		faults = append(faults, errors.New("timeout: must be positive"))
	}
	var err error
	if s.dial, err = kafkadial.New(c.TLS, c.SASL); err != nil {
		faults = append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	s.format, _ = format.Lookup(c.Common.Format)
	if format.Object(c.Common.Format) {
		s.contentType = []byte("application/json")
	}
	s.transport = s.dial.Transport(c.Topic)
	s.transport.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: refuseMetadata}).DialContext
	s.client = kafka.Client{Addr: kafka.TCP(c.Brokers...), Transport: s.transport}
	return nil
}

// kafkaAtOnce is how many partitions one write sends to at once.
const kafkaAtOnce = 8

// Write sends one request to each partition that the events belong to.
func (s *kafkaSink) Write(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.conf.Timeout))
	defer cancel()
	count, err := s.partitions(ctx)
	if err != nil {
		return Receipt{}, s.failure(ctx, err)
	}
	receipt, parts := s.divide(evs, count)
	turns := make(chan struct{}, kafkaAtOnce)
	var all sync.WaitGroup
	for _, p := range parts {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			s.produce(ctx, p, p.events, p.messages)
		})
	}
	all.Wait()
	receipt.Confirm = stored
	return receipt, kafkaOutcome(parts, receipt.Events)
}

// kafkaPart is what one write has for one partition, and what became of it.
type kafkaPart struct {
	id       int
	events   []int // indexes
	messages []kafka.Message
	rejected []Item
	again    []int
	failed   *WriteError // why again is not empty
}

// divide encodes as many of the events as fit into one request.
func (s *kafkaSink) divide(evs []schemas.Event, count int) (r Receipt, parts []*kafkaPart) {
	ids, byID := make([]int, count), map[int]*kafkaPart{}
	for i := range ids {
		ids[i] = i
	}
	limit := int(s.conf.Common.Batch.MaxBytes)
	buf := make([]byte, 0, min(limit+limit/8, len(evs)<<10)) // may move while it grows; what was cut from it stays
	side := make([]byte, 0, len(evs)*96)                     // keys and headers, likewise
	headers := make([]kafka.Header, 0, 3*len(evs))
	for i := range evs {
		ev, from := &evs[i], len(buf)
		buf = s.format(buf, ev)
		if len(buf) > limit && i > 0 {
			break
		}
		key := ev.Tenant
		if s.conf.Key == "agent" && ev.Agent != "" {
			key = ev.Agent
		}
		at := len(side)
		side = append(side, key...)
		m := kafka.Message{Key: side[at:len(side):len(side)], Value: buf[from:len(buf):len(buf)], Time: time.Unix(0, ev.Received)}
		side, headers = s.headers(side, headers, ev)
		m.Headers = headers[len(headers)-3 : len(headers) : len(headers)]
		id := kafka.Murmur2Balancer{Consistent: true}.Balance(m, ids...)
		p := byID[id]
		if p == nil {
			p = &kafkaPart{id: id}
			byID[id], parts = p, append(parts, p)
		}
		p.events, p.messages = append(p.events, i), append(p.messages, m)
		r.Events, r.Bytes = i+1, len(buf)
	}
	return r, parts
}

// headers appends those of an event, with their values in side.
func (s *kafkaSink) headers(side []byte, dst []kafka.Header, ev *schemas.Event) ([]byte, []kafka.Header) {
	id := len(side)
	side = appendHex(side, ev.ID)
	seq := len(side)
	side = append(strconv.AppendUint(side, uint64(ev.Shard), 10), '/')
	side = append(strconv.AppendUint(side, ev.Offset, 10), '/')
	side = strconv.AppendUint(side, uint64(ev.Index), 10)
	return side, append(dst,
		kafka.Header{Key: "event_id", Value: side[id:seq:seq]},
		kafka.Header{Key: "seq", Value: side[seq:len(side):len(side)]},
		kafka.Header{Key: "content-type", Value: s.contentType})
}

// errNoTopic needs a person as a missing right does.
var errNoTopic = errors.New("the topic does not exist; make it")

// partitions returns how many the topic has, as the cluster said within the
// last seconds.
func (s *kafkaSink) partitions(ctx context.Context) (int, error) {
	res, err := s.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{s.conf.Topic}})
	if err != nil {
		return 0, err
	}
	for _, t := range res.Topics {
		switch {
		case t.Name != s.conf.Topic:
		case errors.Is(t.Error, kafka.UnknownTopicOrPartition), t.Error == nil && len(t.Partitions) == 0:
			return 0, errNoTopic
		case t.Error != nil:
			return 0, t.Error
		default:
			return len(t.Partitions), nil
		}
	}
	return 0, errNoTopic
}

// Probe asks for the topic.
func (s *kafkaSink) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.conf.Timeout))
	defer cancel()
	if _, err := s.partitions(ctx); err != nil {
		return fmt.Errorf("ask for topic: %w", s.failure(ctx, err))
	}
	return nil
}

// Close drops the connections.
func (s *kafkaSink) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}
