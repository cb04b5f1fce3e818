package collector_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	login "github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// numbered are records without an id, so that only their places tell them
// apart.
func numbered(from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, plain(i))
	}
	return out
}

// complete checks that each of n numbered records is there once.
func (e *evidence) complete(t *testing.T, n int) (duplicates int) {
	t.Helper()
	got, duplicates := taken(e.read(t))
	want := numbered(0, n)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d records, %d of them different, want %d", len(got), len(slices.Compact(slices.Clone(got))), n)
	}
	return duplicates
}

// TestKafkaCrashBeforeCommit: what the journal had when the process died before
// it committed is read again, and is one record still, also when the second run
// cuts it into batches of another size.
func TestKafkaCrashBeforeCommit(t *testing.T) {
	for _, second := range []string{"batch: 4KiB", "batch: 1KiB"} {
		c, e := cluster(t, 1), newEvidence(t)
		produce(t, producer(t, c), numbered(0, 100)...)
		fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.CoordinatorNotAvailable, Count: -1, When: func(r kmsg.Request) bool {
			return r.(*kmsg.OffsetCommitRequest).Topics[0].Partitions[0].Offset > 0
		}})
		stop, _ := consume(t, c.ListenAddrs(), e, "batch: 4KiB")
		e.until(t, 20)
		stop()
		before := e.accepted()
		if o := committed(c, "agentrail"); o > 0 || before == 100 {
			t.Fatalf("offset %d is committed, %d records are stored", o, before)
		}
		fault.Remove()
		stop, _ = consume(t, c.ListenAddrs(), e, second)
		e.until(t, 100)
		until(t, "all is committed", func() bool { return committed(c, "agentrail") == 100 })
		stop()
		duplicates := e.complete(t, 100)
		if counted := e.metric(t, "records_total", "outcome", "duplicate"); int(counted) < before || duplicates > int(counted) {
			t.Errorf("%s: %d records were read again, %v counted as duplicates, %d of them stored", second, before, counted, duplicates)
		}
	}
}

// TestKafkaPushback: while the journal takes nothing the source waits, and then
// goes on; it commits nothing in between.
func TestKafkaPushback(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	var full atomic.Bool
	var refused atomic.Int32
	full.Store(true)
	e.fail = func(*schemas.Batch) error {
		if !full.Load() {
			return nil
		}
		refused.Add(1)
		return &journal.RetryAfter{After: 2 * time.Millisecond, Err: journal.ErrPushback}
	}
	produce(t, producer(t, c), numbered(0, 10)...)
	stop, log := consume(t, c.ListenAddrs(), e)
	until(t, "the journal refused twice", func() bool { return refused.Load() >= 2 })
	if o := committed(c, "agentrail"); o > 0 {
		t.Errorf("offset %d is committed", o)
	}
	full.Store(false)
	e.until(t, 10)
	stop()
	e.complete(t, 10)
	if log.count("records cannot be stored") != 1 {
		t.Error("the fault is not told once")
	}
}

// TestKafkaFetchFaults: errors of brokers are tried again and told once.
func TestKafkaFetchFaults(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	cl := producer(t, c)
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: 3})
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.FindCoordinator}, Err: kerr.CoordinatorNotAvailable, Count: 1})
	produce(t, cl, numbered(0, 5)...)
	stop, log := consume(t, c.ListenAddrs(), e)
	e.until(t, 5)
	stop()
	e.complete(t, 5)
	if n := log.count("cannot be read, trying again\" source=platform what=audit/0"); fault.Hits() != 3 || n != 1 {
		t.Errorf("%d faults, told %d times", fault.Hits(), n)
	}
}

// TestKafkaLeaderMoves while records flow, with three brokers, and then the
// coordinator and one broker go.
func TestKafkaLeaderMoves(t *testing.T) {
	c, e := cluster(t, 1, kfake.NumBrokers(3)), newEvidence(t)
	cl := producer(t, c)
	stop, _ := consume(t, c.ListenAddrs(), e)
	for i := range 3 {
		produce(t, cl, numbered(20*i, 20*i+20)...)
		e.until(t, 20*i+20)
		if err := c.MoveTopicPartition("audit", 0, (c.LeaderFor("audit", 0)+1)%3); err != nil {
			t.Fatal(err)
		}
	}
	c.RehashCoordinators()
	if err := c.RemoveNode(c.LeaderFor("audit", 0)); err != nil {
		t.Fatal(err)
	}
	produce(t, cl, numbered(60, 80)...)
	e.until(t, 80)
	stop()
	e.complete(t, 80)
}

// TestKafkaBrokerRestarts: the only broker goes away and comes back.
func TestKafkaBrokerRestarts(t *testing.T) {
	dir := t.TempDir()
	c, e := cluster(t, 1, kfake.DataDir(dir)), newEvidence(t)
	cl := producer(t, c)
	produce(t, cl, numbered(0, 20)...)
	stop, log := consume(t, c.ListenAddrs(), e)
	e.until(t, 20)
	until(t, "all is committed", func() bool { return committed(c, "agentrail") == 20 })
	_, port, err := net.SplitHostPort(c.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	until(t, "the fault is told", func() bool { return log.count("cannot be read, trying again") > 0 })
	var p int
	if _, err := fmt.Sscan(port, &p); err != nil {
		t.Fatal(err)
	}
	c = cluster(t, 1, kfake.DataDir(dir), kfake.Ports(p))
	produce(t, producer(t, c), numbered(20, 40)...)
	e.until(t, 40)
	stop()
	e.complete(t, 40)
}

// TestKafkaRebalance: a second member takes over part of the partitions, and
// all of them when the first one leaves.
func TestKafkaRebalance(t *testing.T) {
	c, e := cluster(t, 4), newEvidence(t)
	cl := producer(t, c)
	spread := func(from, to int) {
		for i := from; i < to; i++ {
			send(t, cl, &kgo.Record{Value: []byte(plain(i)), Partition: int32(i % 4)})
		}
	}
	members := func(n int) func() bool {
		return func() bool {
			g := c.GroupInfo("agentrail")
			if g == nil || g.State != "Stable" || len(g.Members) != n {
				return false
			}
			return !slices.ContainsFunc(g.Members, func(m kfake.GroupMember) bool { return m.NumAssigned() != 4/n })
		}
	}
	stop1, _ := consume(t, c.ListenAddrs(), e)
	spread(0, 40)
	e.until(t, 40)
	stop2, _ := consume(t, c.ListenAddrs(), e)
	spread(40, 80)
	until(t, "two members share", members(2))
	spread(80, 120)
	e.until(t, 120)
	stop1()
	until(t, "one member has all", members(1))
	spread(120, 160)
	e.until(t, 160)
	stop2()
	e.complete(t, 160)
}

// TestKafkaLateTopic: a topic that is made after the start, and partitions that
// are added to it, are found.
func TestKafkaLateTopic(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	stop, log := consume(t, c.ListenAddrs(), e, "topics: [audit, late]")
	until(t, "it waits", func() bool { return log.count("topic does not exist, waiting for it") == 1 })
	if err := c.CreateTopic("late", 1, nil); err != nil {
		t.Fatal(err)
	}
	send(t, producer(t, c), &kgo.Record{Topic: "late", Value: []byte(plain(0))}, &kgo.Record{Value: []byte(plain(1))})
	e.until(t, 2)
	stop()
	e.complete(t, 2)
}

// TestKafkaTransactions: records of aborted transactions and markers are no
// events, and leave no gap.
func TestKafkaTransactions(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	cl := producer(t, c)
	tx := producer(t, c, kgo.TransactionalID("tx"))
	transact := func(how kgo.TransactionEndTry, values ...string) {
		t.Helper()
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, tx, values[:1]...)
		produce(t, cl, values[1]) // of another producer, in between
		produce(t, tx, values[2:]...)
		if err := tx.EndTransaction(t.Context(), how); err != nil {
			t.Fatal(err)
		}
	}
	gone := `{"endpoint":"/gone"}`
	transact(kgo.TryCommit, plain(0), plain(1), plain(2))
	transact(kgo.TryAbort, gone, plain(3), gone, gone)
	transact(kgo.TryCommit, plain(4), plain(5), plain(6))
	stop, log := consume(t, c.ListenAddrs(), e)
	e.until(t, 7)
	until(t, "all is committed", func() bool { return committed(c, "agentrail") == 13 })
	transact(kgo.TryAbort, gone, plain(7), gone)
	transact(kgo.TryCommit, plain(8), plain(9), plain(10))
	e.until(t, 11)
	stop()
	e.complete(t, 11)
	if n := e.metric(t, "skipped_total", "cause", "aborted"); n != 5 {
		t.Errorf("%v records of aborted transactions", n)
	}
	if log.count("level=WARN") != 0 {
		t.Error("warnings in the log")
	}
}

// TestKafkaRetention: records that the topic's retention removed before they
// were read are told as a gap.
func TestKafkaRetention(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	cl := producer(t, c)
	produce(t, cl, numbered(0, 5)...)
	stop, _ := consume(t, c.ListenAddrs(), e)
	e.until(t, 5)
	until(t, "all is committed", func() bool { return committed(c, "agentrail") == 5 })
	stop()
	produce(t, cl, "{}", "{}", "{}")
	produce(t, cl, numbered(5, 7)...)
	if err := c.DeleteRecords("audit", 0, 8); err != nil {
		t.Fatal(err)
	}
	stop, _ = consume(t, c.ListenAddrs(), e)
	e.until(t, 7)
	stop()
	e.complete(t, 7)
	e.told(t, "source.gap", 5, 8, "retention")
	if n := e.metric(t, "skipped_total", "cause", "retention"); n != 3 {
		t.Errorf("%v records counted", n)
	}
}

// told checks that one health event was appended.
func (e *evidence) told(t *testing.T, kind string, from, to uint64, reason string) {
	t.Helper()
	got := own[schemas.Health](t, e.read(t), "health")
	if len(got) != 1 {
		t.Fatalf("health events: %+v", got)
	}
	h := got[0]
	if h.Kind != kind || h.From != from || h.To != to || !strings.Contains(h.Reason, reason) || !strings.HasPrefix(h.Reason, "audit/0 ") || h.Consumer != "platform" || h.Tenant != "acme" {
		t.Errorf("health event %+v", h)
	}
}

// TestKafkaTopicMadeAgain while it is read: the new one is read from its start,
// and its records are not those of the old one although they have their offsets.
func TestKafkaTopicMadeAgain(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	produce(t, producer(t, c), numbered(0, 5)...)
	stop, _ := consume(t, c.ListenAddrs(), e)
	e.until(t, 5)
	if err := c.DeleteTopic("audit"); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateTopic("audit", 1, nil); err != nil {
		t.Fatal(err)
	}
	produce(t, producer(t, c), numbered(5, 8)...)
	e.until(t, 8)
	stop()
	e.complete(t, 8)
	e.told(t, "source.reset", 5, 0, "made again")
}

// TestKafkaCompaction leaves holes that are counted and not told.
func TestKafkaCompaction(t *testing.T) {
	c, e := cluster(t, 1, kfake.SeedTopics(1, "other")), newEvidence(t)
	if err := c.DeleteTopic("audit"); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateTopic("audit", 1, map[string]string{"cleanup.policy": "compact"}); err != nil {
		t.Fatal(err)
	}
	cl := producer(t, c)
	keyed := func(key string, n int) *kgo.Record { return &kgo.Record{Key: []byte(key), Value: []byte(plain(n))} }
	send(t, cl, keyed("a", 100), keyed("x", 0), keyed("b", 101), keyed("y", 1))
	send(t, cl, keyed("a", 102))
	send(t, cl, keyed("a", 2))
	send(t, cl, keyed("b", 3))
	send(t, cl, keyed("last", 4))
	c.Compact()
	stop, log := consume(t, c.ListenAddrs(), e)
	e.until(t, 5)
	stop()
	e.complete(t, 5)
	if n := e.metric(t, "skipped_total", "cause", "compacted"); n != 3 {
		t.Errorf("%v records were compacted away", n)
	}
	if log.count("level=WARN") != 0 {
		t.Error("warnings in the log")
	}
}

// craft makes a record batch of format 2 that ends at the offset last.
func craft(base, last int64, attributes int16, values ...string) []byte {
	var records []byte
	for i, v := range values {
		r := kmsg.NewRecord()
		r.OffsetDelta, r.Value = int32(i), []byte(v)
		r.Length = int32(len(r.AppendTo(nil)) - 1) // a length of 0 is one byte
		records = r.AppendTo(records)
	}
	b := kmsg.NewRecordBatch()
	b.FirstOffset, b.LastOffsetDelta, b.Magic, b.Attributes = base, int32(last-base), 2, attributes
	b.FirstTimestamp, b.MaxTimestamp, b.ProducerID = 1_700_000_000_000, 1_700_000_000_500, -1
	b.NumRecords, b.Records = int32(len(values)), records
	return seal(b.AppendTo(nil))
}

// seal makes length and checksum of a batch right.
func seal(raw []byte) []byte {
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// serveBatches makes the cluster answer each fetch with these batches, from the
// one on that holds the offset asked for, and no more than so many at once.
func serveBatches(c *kfake.Cluster, atOnce int, batches ...[]byte) {
	last := func(b []byte) int64 {
		if b[16] != 2 {
			return int64(binary.BigEndian.Uint64(b))
		}
		return int64(binary.BigEndian.Uint64(b)) + int64(binary.BigEndian.Uint32(b[23:]))
	}
	c.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		f := req.(*kmsg.FetchRequest)
		end := last(batches[len(batches)-1]) + 1
		p := kmsg.NewFetchResponseTopicPartition()
		p.HighWatermark, p.LastStableOffset = end, end
		i := slices.IndexFunc(batches, func(b []byte) bool { return last(b) >= f.Topics[0].Partitions[0].FetchOffset })
		if i < 0 {
			c.SleepControl(func() { <-time.After(time.Duration(f.MaxWaitMillis) * time.Millisecond) })
		} else {
			p.RecordBatches = slices.Concat(batches[i:min(len(batches), i+atOnce)]...)
		}
		out := f.ResponseKind().(*kmsg.FetchResponse)
		out.Topics = []kmsg.FetchResponseTopic{{Topic: f.Topics[0].Topic, Partitions: []kmsg.FetchResponseTopicPartition{p}}}
		return out, nil, true
	})
}

// TestKafkaGap: a hole in a topic that is not compacted is told.
func TestKafkaGap(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	serveBatches(c, 9, craft(0, 1, 0, plain(0), plain(1)), craft(4, 4, 0, plain(2)))
	stop, _ := consume(t, c.ListenAddrs(), e)
	e.until(t, 3)
	stop()
	e.complete(t, 3)
	e.told(t, "source.gap", 2, 4, "not compacted")
	if n := e.metric(t, "skipped_total", "cause", "missing"); n != 2 {
		t.Errorf("%v records are missing", n)
	}
}

// TestKafkaGapInBatch: records that are missing inside a batch are told, too.
func TestKafkaGapInBatch(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	serveBatches(c, 9, craft(0, 5, 0, plain(0), plain(1)), craft(6, 6, 0, plain(2)))
	stop, _ := consume(t, c.ListenAddrs(), e)
	e.until(t, 3)
	stop()
	e.complete(t, 3)
	e.told(t, "source.gap", 0, 6, "4 records are missing")
}

// TestKafkaHugeBatch: a batch that is larger than what is kept of an answer is a
// dead letter.
func TestKafkaHugeBatch(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	huge := craft(1, 4, 0, strings.Repeat("x", 65<<20), "", "", "")
	serveBatches(c, 1, craft(0, 0, 0, plain(0)), huge, craft(5, 5, 0, plain(1)))
	stop, _ := consume(t, c.ListenAddrs(), e)
	e.until(t, 2)
	stop()
	e.complete(t, 2)
	if l := own[schemas.DeadLetter](t, e.read(t), "dead_letter"); len(l) != 1 || l[0].Code != "batch_too_large" || !strings.HasPrefix(l[0].Reason, "audit/0 offset 1: ") {
		t.Errorf("%+v", l)
	}
}

// TestKafkaGapUnknownPolicy: a hole is told as well if the broker does not say
// whether the topic is compacted.
func TestKafkaGapUnknownPolicy(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	serveBatches(c, 9, craft(0, 0, 0, plain(0)), craft(9, 9, 0, plain(1)))
	stop, _ := consume(t, c.ListenAddrs(), e)
	e.until(t, 2)
	stop()
	e.told(t, "source.gap", 1, 9, "not known")
}

// TestKafkaBadBatches: a batch that cannot be read is a dead letter, whether it
// comes alone or among others, and its neighbours are taken.
func TestKafkaBadBatches(t *testing.T) {
	codec := craft(1, 3, 5, "?", "?", "?")
	sum := craft(5, 6, 0, "{}", "{}")
	sum[len(sum)-1] ^= 1
	old := craft(8, 8, 0, "{}")
	old[16] = 1
	torn := craft(10, 12, 0, plain(5), plain(7), "{}")
	torn = seal(torn[:len(torn)-6])
	packed := craft(14, 14, 1, "not gzip")
	batches := [][]byte{
		craft(0, 0, 0, plain(0)), codec, craft(4, 4, 0, plain(1)), sum, craft(7, 7, 0, plain(2)), old, craft(9, 9, 0, plain(3)), torn,
		craft(13, 13, 0, plain(4)), packed, craft(15, 15, 0, plain(6)),
	}
	for _, atOnce := range []int{1, len(batches)} {
		c, e := cluster(t, 1), newEvidence(t)
		serveBatches(c, atOnce, batches...)
		stop, _ := consume(t, c.ListenAddrs(), e)
		e.until(t, 8)
		until(t, "all is committed", func() bool { return committed(c, "agentrail") == 16 })
		stop()
		e.complete(t, 8)
		var got []string
		for _, l := range own[schemas.DeadLetter](t, e.read(t), "dead_letter") {
			at, _, _ := strings.Cut(strings.TrimPrefix(l.Reason, "audit/0 offset "), ":")
			got = append(got, at+" "+l.Code)
		}
		want := []string{"1 unknown_codec", "5 bad_checksum", "8 unknown_format", "12 bad_batch", "14 bad_batch"}
		if !slices.Equal(got, want) {
			t.Errorf("%d at once: %q, want %q", atOnce, got, want)
		}
		if n := len(own[schemas.Health](t, e.read(t), "health")); n > 0 {
			t.Errorf("%d health events", n)
		}
	}
}

var errNoTLS = errors.New("no certificate")

// authority makes a CA and a certificate of it for 127.0.0.1.
func authority(t *testing.T) (caFile string, server tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	write(t, caFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return caFile, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestKafkaTLS with a CA of our own, and without it.
func TestKafkaTLS(t *testing.T) {
	ca, cert := authority(t)
	c, e := cluster(t, 1, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})), newEvidence(t)
	pool := x509.NewCertPool()
	text, err := os.ReadFile(ca)
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatal(errors.Join(err, errNoTLS))
	}
	produce(t, producer(t, c, kgo.DialTLSConfig(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})), numbered(0, 3)...)
	f := func(field, hint string) {
		t.Helper()
		stop, log := consume(t, c.ListenAddrs(), e, field)
		until(t, hint, func() bool { return log.count(hint) > 0 })
		stop()
	}
	f("tls: {}", "check tls.ca_file")
	f("", "the listener may want tls or sasl")
	stop, _ := consume(t, c.ListenAddrs(), e, "tls: {ca_file: "+ca+"}")
	e.until(t, 3)
	stop()
	e.complete(t, 3)
}

// TestKafkaSASL logs in, and says what to check when it may not.
func TestKafkaSASL(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	write(t, file, "secret\n")
	for kind, mechanism := range map[string]string{"scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512", "plain": "PLAIN"} {
		c, e := cluster(t, 1, kfake.EnableSASL(), kfake.Superuser(mechanism, "me", "secret"), kfake.Superuser("PLAIN", "other", "other")), newEvidence(t)
		produce(t, producer(t, c, kgo.SASL(login.Auth{User: "other", Pass: "other"}.AsMechanism())), numbered(0, 3)...)
		as := "sasl: {mechanism: " + kind + ", username: me, "
		stop, log := consume(t, c.ListenAddrs(), e, as+"password: wrong}")
		until(t, "the hint", func() bool { return log.count("check sasl.mechanism, sasl.username and the password") > 0 })
		stop()
		if log.count("wrong") > 0 {
			t.Error("the password is in the log")
		}
		stop, _ = consume(t, c.ListenAddrs(), e, as+"password_file: "+file+"}")
		e.until(t, 3)
		stop()
		e.complete(t, 3)
	}
}
