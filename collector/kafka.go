package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/internal/kafkadial"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/internal/tlsconf"
	"github.com/agentrail/agentrail/schemas"
)

func init() {
	Register("kafka", func(_ context.Context, c plug.Config, d Deps) (Source, error) { return openKafka(c, d) })
}

// kafkaConfig is what the source kafka can be told.
type kafkaConfig struct {
	// Brokers are some of the cluster's brokers as host:port; the rest is
	// found. Mandatory.
	Brokers []string `yaml:"brokers"`
	// Topics are read together. One that is made later is found. Mandatory.
	Topics []string `yaml:"topics"`
	// Group is the consumer group whose committed offsets say what was taken.
	// Default: agentrail.
	Group string `yaml:"group"`
	// Start is where a partition without a committed offset is read from:
	// first (all that is kept) or last (what comes from now on). Default:
	// first.
	Start string `yaml:"start"`
	// Mapping names the mapping that reads the records. Default: audit.
	Mapping string `yaml:"mapping"`
	// Log names the log within the source, as part of the identity of its
	// records. Default: none.
	Log string `yaml:"log"`
	// Tenant owns the records. Default: the tenant of the config file.
	Tenant string `yaml:"tenant"`
	// Backfill marks the records as history: alerts on them are shown but
	// never notified or acted on. Default: false.
	Backfill bool `yaml:"backfill"`
	// TLS encrypts the connections. An empty tls: {} trusts the system's
	// roots. Default: none.
	TLS *tlsconf.Client `yaml:"tls"`
	// SASL logs in. Default: none.
	SASL *kafkadial.SASL `yaml:"sasl"`
	// MaxRecord caps the value of one Kafka record; a larger one is rejected.
	// Default: 1MiB.
	MaxRecord plug.Bytes `yaml:"max_record"`
	// Batch is how many bytes go into the journal at once. Default: 1MiB.
	Batch plug.Bytes `yaml:"batch"`
	// MaxInFlight caps the bytes that are asked of all partitions at once.
	// Default: 64MiB.
	MaxInFlight plug.Bytes `yaml:"max_in_flight"`
	// MaxWait is how long a broker may wait for records before it answers.
	// Default: 500ms.
	MaxWait plug.Duration `yaml:"max_wait"`
	// SessionTimeout is after how long without a sign of life the group gives
	// our partitions to another member. Default: 30s.
	SessionTimeout plug.Duration `yaml:"session_timeout"`
}

// kafkaSource reads topics as a member of a consumer group. What it promises:
//
// Offsets are committed only after the journal has the records. After a crash
// they are read again under the same ids: those of the records themselves, or
// topic, partition, offset and the time that the topic keeps.
//
// A record's value is kept byte for byte and may hold one record, JSON lines or
// an array. What cannot be read is a dead letter and costs its neighbours
// nothing; a tombstone carries nothing and is counted.
//
// Records of transactions come when these are committed. Those of aborted
// transactions are counted and not taken: their producer took them back, and
// they would come a second time when it tries again. Until a transaction is
// finished, nothing behind its first record is read.
//
// Offsets are checked to follow one another. A hole that the topic's compaction
// explains is counted, any other is told as an event (source.gap), as is a topic
// that lost what we had read (source.reset), which is then read from its start.
// A topic that was made again and has grown past our offset already looks like
// the old one.
type kafkaSource struct {
	name    string
	cfg     kafkaConfig
	mapping *decode.Mapping
	append  AppendFunc
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time
	client  *kafkaClient
	turns   chan struct{} // what is unpacked at once

	mu     sync.Mutex
	faults map[string]string // what -> the error that was logged last
	behind map[string]int64  // partition -> records that wait
	policy map[string]topicPolicy

	counts map[string]int // topic -> its partitions, as watch saw them last
}

// kafkaTurns is how many partitions are unpacked and stored at once.
const kafkaTurns = 4

func openKafka(c plug.Config, d Deps) (*kafkaSource, error) {
	cfg := kafkaConfig{
		Group: "agentrail", Start: "first", Mapping: "audit", Tenant: d.Tenant, MaxRecord: 1 << 20, Batch: 1 << 20, MaxInFlight: 64 << 20,
		MaxWait: plug.Duration(500 * time.Millisecond), SessionTimeout: plug.Duration(30 * time.Second),
	}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	faults := cfg.faults()
	client, err := newKafkaClient(&cfg)
	if err != nil {
		faults = append(faults, err)
	}
	m, err := d.Decode.Mapping(cfg.Mapping)
	switch {
	case err != nil:
		faults = append(faults, err)
	case m.Table():
		faults = append(faults, fmt.Errorf("mapping %q reads tables; records of a topic are JSON", cfg.Mapping))
	}
	for i, f := range faults {
		faults[i] = c.Errorf("%v", f)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return &kafkaSource{
		name: c.Name, cfg: cfg, mapping: m, append: d.Append, log: d.Log, metrics: newMetrics(d.Reg), now: d.Now, client: client,
		turns: make(chan struct{}, kafkaTurns), faults: map[string]string{}, policy: map[string]topicPolicy{},
	}, nil
}

// faults returns all that is wrong with the config.
func (cfg *kafkaConfig) faults() (out []error) {
	fault := func(bad bool, format string, args ...any) {
		if bad {
			out = append(out, fmt.Errorf(format, args...))
		}
	}
	out = append(out, kafkadial.CheckBrokers(cfg.Brokers)...)
	fault(len(cfg.Topics) == 0, "topics are missing")
	for i, t := range cfg.Topics {
		if err := kafkadial.CheckTopic(t); err != nil {
			out = append(out, err)
		}
		fault(slices.Contains(cfg.Topics[:i], t), "topic %q is named twice", t)
	}
	fault(cfg.Group == "", "group is missing")
	fault(cfg.Start != "first" && cfg.Start != "last", "start %q is neither first nor last", cfg.Start)
	fault(cfg.Tenant == "", "tenant is missing")
	fault(cfg.MaxRecord < 1 || cfg.MaxRecord > 16<<20, "max_record must lie between 1 and 16MiB")
	fault(cfg.Batch < 1 || cfg.Batch > 16<<20, "batch must lie between 1 and 16MiB")
	fault(cfg.MaxInFlight < cfg.Batch || cfg.MaxInFlight > 1<<30, "max_in_flight must lie between batch and 1GiB")
	fault(cfg.MaxWait < plug.Duration(time.Millisecond) || cfg.MaxWait > plug.Duration(time.Minute), "max_wait must lie between 1ms and 1m")
	fault(cfg.SessionTimeout < plug.Duration(time.Second) || cfg.SessionTimeout > plug.Duration(time.Hour), "session_timeout must lie between 1s and 1h")
	return out
}

// Run reads until ctx ends: one generation of the group after the other, that
// is, one division of the partitions among its members.
func (s *kafkaSource) Run(ctx context.Context) error {
	start := kafka.FirstOffset
	if s.cfg.Start == "last" {
		start = kafka.LastOffset
	}
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: s.cfg.Group, Brokers: s.cfg.Brokers, Topics: s.cfg.Topics, Dialer: s.client.dial.Group(), StartOffset: start,
		SessionTimeout:    time.Duration(s.cfg.SessionTimeout),
		HeartbeatInterval: time.Duration(s.cfg.SessionTimeout) / 10,
		RebalanceTimeout:  10 * time.Second,
		JoinGroupBackoff:  time.Second,
	})
	if err != nil {
		return fmt.Errorf("join group %s: %w", s.cfg.Group, err)
	}
	defer s.client.forget()
	defer group.Close() // waits for the generation
	for {
		gen, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.fault("group", err)
		default:
			s.well("group")
			s.begin(ctx, gen)
		}
	}
}

// begin starts a reader for each partition that is ours in this generation.
func (s *kafkaSource) begin(ctx context.Context, gen *kafka.Generation) {
	n := 0
	for _, partitions := range gen.Assignments {
		n += len(partitions)
	}
	s.mu.Lock()
	s.behind = map[string]int64{}
	s.mu.Unlock()
	s.lag("", 0)
	s.log.Info("partitions assigned", "group", gen.GroupID, "generation", gen.ID, "partitions", n)
	size := max(min(int(s.cfg.Batch), int(s.cfg.MaxInFlight)/max(n, 1)), 64<<10)
	gen.Start(func(ctx context.Context) { s.watch(ctx) })
	for topic, partitions := range gen.Assignments {
		for _, p := range partitions {
			r := &kafkaPartition{
				kafkaSource: s, run: ctx, topic: topic, id: p.ID, next: p.Offset, fetchSize: size,
				commit: func(next int64) error {
					return gen.CommitOffsets(map[string]map[int]int64{topic: {p.ID: next}})
				},
			}
			gen.Start(r.read)
		}
	}
}

// watch returns, which ends the generation, when a topic has got another number
// of partitions, so that the new ones are given to a member.
func (s *kafkaSource) watch(ctx context.Context) {
	for ctx.Err() == nil {
		now, err := s.client.partitions(ctx, s.cfg.Topics)
		before := s.counts
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.fault("cluster", err)
		default:
			s.well("cluster")
			s.counts = now
		}
		for t, n := range now {
			if n == 0 && (before == nil || before[t] > 0) {
				s.log.Warn("topic does not exist, waiting for it", "topic", t)
			}
		}
		if err == nil && before != nil && !maps.Equal(before, now) {
			s.log.Info("topics have other numbers of partitions", "before", before, "now", now)
			return
		}
		wait(ctx, kafkadial.Refresh)
	}
}

// fault logs a fault once, until it changes.
func (s *kafkaSource) fault(what string, err error) {
	err = s.client.explain(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if text := err.Error(); s.faults[what] != text {
		s.faults[what] = text
		s.log.Warn("kafka cannot be read, trying again", "what", what, "error", err)
	}
}

// well notes that a fault is over.
func (s *kafkaSource) well(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults[what] != "" {
		delete(s.faults, what)
		s.log.Info("kafka can be read again", "what", what)
	}
}

// lag notes how many records of a partition wait.
func (s *kafkaSource) lag(partition string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if partition != "" {
		s.behind[partition] = n
	}
	sum := int64(0)
	for _, n := range s.behind {
		sum += n
	}
	s.metrics.lag.WithLabelValues(s.name).Set(float64(sum))
}

// Reread implements Rereader.
func (s *kafkaSource) Reread(ctx context.Context, tenant string, record []byte) error {
	return reread(ctx, s.mapping.Read, s.append, s.newBatch(tenant, record), int(s.cfg.MaxRecord))
}

func (s *kafkaSource) newBatch(tenant string, body []byte) *schemas.Batch {
	b := newBatch(tenant, s.name, s.cfg.Log, typeNDJSON, s.now(), body)
	if s.cfg.Backfill {
		b.Flags |= schemas.BatchBackfill
	}
	return b
}
