package sinks

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// brokers starts a cluster with the topic audit of so many partitions.
func brokers(t testing.TB, partitions int32, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(partitions, "audit")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func kafkaFields(c *kfake.Cluster, more string) string {
	if !strings.Contains(more, "topic:") {
		more = "topic: audit\n" + more
	}
	return `brokers: ["` + strings.Join(c.ListenAddrs(), `", "`) + "\"]\n" + more
}

// onTopic reads n records with a client that we did not write.
func onTopic(t *testing.T, c *kfake.Cluster, n int, opts ...kgo.Opt) (out []*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("audit"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for len(out) < n {
		got := cl.PollFetches(ctx)
		if err := got.Err(); err != nil {
			t.Fatalf("%v after %d of %d records", err, len(out), n)
		}
		out = append(out, got.Records()...)
	}
	return out
}

func recordIDs(t *testing.T, records []*kgo.Record) map[schemas.ID]int {
	t.Helper()
	out := map[schemas.ID]int{}
	for _, r := range records {
		id, err := hex.DecodeString(header(r, "event_id"))
		if err != nil || len(id) != 16 {
			t.Fatalf("event id %q", header(r, "event_id"))
		}
		out[schemas.ID(id)]++
	}
	return out
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func TestKafkaDelivers(t *testing.T) {
	for _, more := range []string{"", "compression: none", "compression: gzip", "compression: snappy", "compression: lz4", "batch: {max_bytes: 4KiB}", "format: cef", "key: tenant"} {
		c := brokers(t, 5)
		_, fw := openTest(t, "kafka", kafkaFields(c, more), nil)
		b := testBatch(3, 400)
		for i := range b.Events {
			b.Events[i].Agent = []string{"wf-1", "wf-2", "wf-ü", ""}[i%4]
		}
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		got := onTopic(t, c, 400)
		ids := recordIDs(t, got)
		sameIDs(t, wantIDs(b), ids)
		once(t, ids)
		home, last := map[string]int32{}, map[string]int64{}
		for _, r := range got {
			var shard, offset, index int
			if _, err := fmt.Sscanf(header(r, "seq"), "%d/%d/%d", &shard, &offset, &index); err != nil || offset != 3 || index >= 400 {
				t.Fatalf("seq %q", header(r, "seq"))
			}
			key := b.Events[index].Agent
			if key == "" || more == "key: tenant" {
				key = "default"
			}
			if p, ok := home[key]; string(r.Key) != key || ok && p != r.Partition || int64(index) < last[key] {
				t.Fatalf("%s: %q of event %d is in partition %d at %d, want %q in %d after %d", more, r.Key, index, r.Partition, r.Offset, key, p, last[key])
			}
			home[key], last[key] = r.Partition, int64(index)
			contentType := header(r, "content-type")
			if more == "format: cef" {
				if !bytes.HasPrefix(r.Value, []byte("CEF:")) || contentType != "text/plain; charset=utf-8" {
					t.Fatalf("%s: %s", contentType, r.Value)
				}
			} else if !json.Valid(r.Value) || contentType != "application/json" || !r.Timestamp.Equal(time.UnixMilli(1_764_000_001_000)) {
				t.Fatalf("%s at %v: %s", contentType, r.Timestamp, r.Value)
			}
		}
		if l := fw.Ledger(); l.Accepted != 400 || l.Indexed != 400 || l.Dead != 0 {
			t.Errorf("%s: ledger %+v", more, l)
		}
	}
}

// TestKafkaPartition holds our choice of a partition to that of another client.
func TestKafkaPartition(t *testing.T) {
	c := brokers(t, 7)
	_, fw := openTest(t, "kafka", kafkaFields(c, ""), nil)
	b := testBatch(1, 50)
	for i := range b.Events {
		b.Events[i].Agent = fmt.Sprintf("agent-%d", i)
	}
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	want := kgo.StickyKeyPartitioner(nil).ForTopic("audit")
	for _, r := range onTopic(t, c, 50) {
		if p := want.Partition(&kgo.Record{Key: r.Key}, 7); int(r.Partition) != p {
			t.Errorf("%s is in partition %d, others would look for it in %d", r.Key, r.Partition, p)
		}
	}
}

// TestKafkaTooLarge: what is too large together goes in parts, what is too
// large alone is a dead letter and costs its neighbours nothing.
func TestKafkaTooLarge(t *testing.T) {
	c := brokers(t, 2, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000"}))
	_, fw := openTest(t, "kafka", kafkaFields(c, "content: true"), nil)
	b := testBatch(1, 200)
	noise := make([]byte, 20_000)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	b.Events[77].Raw = []byte(`"` + hex.EncodeToString(noise) + `"`)
	for i := range b.Events {
		b.Events[i].Reason = hex.EncodeToString(noise[i*50 : i*50+200])
	}
	err := fw.Consume(t.Context(), []*schemas.Batch{b})
	rejected, ok := err.(*journal.Rejected) //nolint:errorlint // it is not wrapped
	if !ok || len(rejected.Items) != 1 || rejected.Items[0].Index != 77 || rejected.Items[0].Code != "record_too_large" {
		t.Fatalf("rejected: %v", err)
	}
	want := wantIDs(b)
	delete(want, b.Events[77].ID)
	got := recordIDs(t, onTopic(t, c, 199))
	sameIDs(t, want, got)
	once(t, got)
}

// TestKafkaOutlastsFaults: errors of single partitions and of all are tried
// again until every record is there.
func TestKafkaOutlastsFaults(t *testing.T) {
	f := func(dead int, faults ...kfake.Fault) {
		t.Helper()
		c := brokers(t, 4)
		for _, fault := range faults {
			fault.Keys = []kmsg.Key{kmsg.Produce}
			c.Fault(fault)
		}
		_, fw := openTest(t, "kafka", kafkaFields(c, ""), nil)
		b := testBatch(1, 100)
		for i := range b.Events {
			b.Events[i].Agent = strconv.Itoa(i)
		}
		if n := len(rejectedIndexes(fw.Consume(t.Context(), []*schemas.Batch{b}))); n != dead {
			t.Errorf("%d are dead letters, want %d", n, dead)
		}
		got := recordIDs(t, onTopic(t, c, 100-dead))
		if len(got) != 100-dead {
			t.Errorf("%d records arrived", len(got))
		}
		once(t, got)
		if l := fw.Ledger(); l.Indexed != int64(100-dead) || dead == 0 && l.Retries == 0 {
			t.Errorf("ledger: %+v", l)
		}
	}
	f(0, kfake.Fault{Err: kerr.NotEnoughReplicas, Count: 3})
	f(0, kfake.Fault{Err: kerr.NotLeaderForPartition, Partitions: []int32{1}, Count: 2})
	f(0, kfake.Fault{Err: kerr.LeaderNotAvailable, Count: 2}, kfake.Fault{Err: kerr.CorruptMessage, Count: 1})
	f(0, kfake.Fault{Err: kerr.TopicAuthorizationFailed, Partitions: []int32{0, 2}, Count: 4})
	f(1, kfake.Fault{Err: kerr.InvalidRecord, Count: -1, When: holds("67")})
	f(2, kfake.Fault{Err: kerr.InvalidTimestamp, Count: -1, When: holds("11")}, kfake.Fault{Err: kerr.InvalidRecord, Count: -1, When: holds("12")})
}

// holds reports whether a request has a record of the agent.
func holds(key string) func(kmsg.Request) bool {
	return func(r kmsg.Request) bool {
		for _, p := range r.(*kmsg.ProduceRequest).Topics[0].Partitions {
			var batch kmsg.RecordBatch
			if batch.ReadFrom(p.Records) != nil {
				return false
			}
			raw, err := kgo.DefaultDecompressor().Decompress(batch.Records, kgo.CompressionCodecType(batch.Attributes&7))
			if err == nil && bytes.Contains(raw, []byte(`"agent":"`+key+`"`)) {
				return true
			}
		}
		return false
	}
}

// TestKafkaLeaderMoves with every batch, and then a broker goes.
func TestKafkaLeaderMoves(t *testing.T) {
	c := brokers(t, 1, kfake.NumBrokers(3))
	_, fw := openTest(t, "kafka", kafkaFields(c, ""), nil)
	want := map[schemas.ID]bool{}
	for i := range uint64(4) {
		b := testBatch(i, 50)
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		for id := range wantIDs(b) {
			want[id] = true
		}
		if i == 2 {
			if err := c.RemoveNode(c.LeaderFor("audit", 0)); err != nil {
				t.Fatal(err)
			}
		} else if err := c.MoveTopicPartition("audit", 0, (c.LeaderFor("audit", 0)+1)%3); err != nil && i < 2 {
			t.Fatal(err)
		}
	}
	sameIDs(t, want, recordIDs(t, onTopic(t, c, 200)))
}

// TestKafkaBrokerDown: the only broker is away, comes, goes and comes back.
func TestKafkaBrokerDown(t *testing.T) {
	dir := t.TempDir()
	c := brokers(t, 1, kfake.DataDir(dir))
	_, port, err := net.SplitHostPort(c.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	p, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	_, fw := openTest(t, "kafka", kafkaFields(c, "timeout: 2s"), nil)
	first, second := testBatch(1, 20), testBatch(2, 20)
	if err := fw.Consume(t.Context(), []*schemas.Batch{first}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	done := make(chan error, 1)
	go func() { done <- fw.Consume(t.Context(), []*schemas.Batch{second}) }()
	await(t, func() bool { return fw.Ledger().Retries > 1 })
	c = brokers(t, 1, kfake.DataDir(dir), kfake.Ports(p))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(first, second), recordIDs(t, onTopic(t, c, 40)))
}

// TestKafkaHolds: a wrong password, a missing right and a missing topic hold
// the cursor and say once what to look at; a right one goes on.
func TestKafkaHolds(t *testing.T) {
	f := func(c *kfake.Cluster, fields, hint string) {
		t.Helper()
		var said atomic.Int32
		var reason atomic.Pointer[string]
		_, fw := openTest(t, "kafka", kafkaFields(c, fields), func(_ context.Context, h schemas.Health) error {
			said.Add(1)
			reason.Store(&h.Reason)
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- fw.Consume(ctx, []*schemas.Batch{testBatch(1, 3)}) }()
		await(t, func() bool { return fw.Ledger().Retries > 2 && reason.Load() != nil })
		if err := fw.Probe(t.Context()); err == nil && !strings.Contains(hint, "WRITE") {
			t.Errorf("%s: the probe says nothing", hint)
		}
		cancel()
		if err := <-done; err == nil {
			t.Errorf("%s: delivered", hint)
		}
		if text := *reason.Load(); said.Load() != 1 || !strings.Contains(text, hint) || strings.Contains(text, "wrong") {
			t.Errorf("said %d times %q, want %q", said.Load(), text, hint)
		}
	}
	login := "sasl: {mechanism: %s, username: me, password_file: " + secretFile(t, "wrong") + "}"
	for kind, mechanism := range map[string]string{"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512"} {
		c := brokers(t, 1, kfake.EnableSASL(), kfake.Superuser(mechanism, "me", "secret"))
		f(c, fmt.Sprintf(login, kind), "check sasl.mechanism, sasl.username and the password")
		_, fw := openTest(t, "kafka", kafkaFields(c, "sasl: {mechanism: "+kind+", username: me, password_file: "+secretFile(t, "secret")+"}"), nil)
		if err := fw.Consume(t.Context(), []*schemas.Batch{testBatch(1, 3)}); err != nil {
			t.Fatal(err)
		}
	}
	f(brokers(t, 1), "topic: other", "does not exist")
	c := brokers(t, 1)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	f(c, "", "the user needs WRITE and DESCRIBE on the topic")
}

// TestKafkaTLS trusts the CA of the config and shows a certificate.
func TestKafkaTLS(t *testing.T) {
	ca := newCA(t)
	conf, err := (&TLS{CAFile: ca.file, CertFile: ca.cert, KeyFile: ca.key}).Config()
	if err != nil {
		t.Fatal(err)
	}
	conf.ClientAuth, conf.ClientCAs = tls.RequireAndVerifyClientCert, conf.RootCAs
	c := brokers(t, 1, kfake.TLS(conf))
	_, fw := openTest(t, "kafka", kafkaFields(c, fmt.Sprintf("tls: {ca_file: %s, cert_file: %s, key_file: %s}", ca.file, ca.cert, ca.key)), nil)
	if err := fw.Consume(t.Context(), []*schemas.Batch{testBatch(1, 3)}); err != nil {
		t.Fatal(err)
	}
	onTopic(t, c, 3, kgo.DialTLSConfig(conf))
	s, _ := openTest(t, "kafka", kafkaFields(c, "timeout: 2s\ntls: {}"), nil)
	if err := s.(Prober).Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "check tls.ca_file") {
		t.Errorf("a broker that is not trusted: %v", err)
	}
}

func TestKafkaConfig(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		c, err := plug.NewConfig("kafka", "test", fields)
		if err == nil {
			_, _, err = Open(t.Context(), c, Deps{Log: slog.New(slog.DiscardHandler)})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", fields, err, want)
		}
	}
	f("topic: audit", "brokers are missing")
	f("brokers: [b]\ntopic: audit", "is not host:port")
	f("brokers: ['b:9092']", "is no name of a topic")
	f("brokers: ['b:9092']\ntopic: audit\nkey: actor", "neither agent nor tenant")
	f("brokers: ['b:9092']\ntopic: audit\ncompression: brotli", "none of none, gzip")
	f("brokers: ['b:9092']\ntopic: audit\nsasl: {mechanism: gssapi, username: me, password_file: "+secretFile(t, "x")+"}", "none of plain")
	f("brokers: ['b:9092']\ntopic: audit\ntls: {ca_file: /nowhere}", "tls.ca_file")
	f("brokers: ['b:9092']\ntopic: audit\ntimeout: 0s", "timeout")
}
