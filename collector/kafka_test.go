package collector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// cluster starts brokers with the topic audit of so many partitions.
func cluster(t testing.TB, partitions int32, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(1), kfake.SeedTopics(partitions, "audit"), kfake.GroupMinSessionTimeout(100 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func producer(t testing.TB, c *kfake.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.DefaultProduceTopic("audit"), kgo.MetadataMinAge(10 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// produce sends each value as one record of partition 0, each in a batch of its
// own.
func produce(t testing.TB, cl *kgo.Client, values ...string) {
	t.Helper()
	for _, v := range values {
		send(t, cl, &kgo.Record{Value: []byte(v)})
	}
}

// send sends records together.
func send(t testing.TB, cl *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// evidence is a journal on disk, and what was appended to it by this process.
type evidence struct {
	dir  string
	set  *decode.Set
	disk *journal.Disk
	fail func(b *schemas.Batch) error // asked before each append
	then func(b *schemas.Batch)       // told after each append, before the source is

	mu      sync.Mutex
	last    uint64
	records int // of class activity that are neither rejected nor duplicates
	batches int
	reg     *prometheus.Registry
}

func newEvidence(t testing.TB) *evidence {
	t.Helper()
	set, err := mappings()
	if err != nil {
		t.Fatal(err)
	}
	e := &evidence{dir: t.TempDir(), set: set, reg: prometheus.NewRegistry()}
	e.open(t)
	t.Cleanup(func() { e.disk.Close() })
	return e
}

func (e *evidence) open(t testing.TB) {
	t.Helper()
	d, err := journal.OpenDisk(context.Background(), journal.Options{
		Dir: e.dir, Decode: e.set.Decode, Own: decode.Own, ReserveBytes: -1, SegmentBytes: 8 << 20, Tick: -1, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	e.disk = d
}

func (e *evidence) Append(ctx context.Context, b *schemas.Batch) (uint64, error) {
	if e.fail != nil {
		if err := e.fail(b); err != nil {
			return 0, err
		}
	}
	o, err := e.disk.Append(ctx, b)
	if err != nil {
		return 0, err
	}
	e.mu.Lock()
	e.last = max(e.last, o)
	e.batches++
	if b.Class == schemas.ClassActivity && b.Self != (schemas.Digest{}) {
		for _, r := range b.Records {
			if r.Flags&(schemas.FlagRejected|schemas.FlagDuplicate) == 0 {
				e.records++
			}
		}
	}
	e.mu.Unlock()
	if e.then != nil {
		e.then(b)
	}
	return o, nil
}

func (e *evidence) accepted() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.records
}

// read closes the journal, opens it again and returns what is on disk.
func (e *evidence) read(t testing.TB) (out []*schemas.Batch) {
	t.Helper()
	if err := e.disk.Close(); err != nil {
		t.Fatal(err)
	}
	e.open(t)
	cur, err := e.disk.Open(t.Context(), "", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	for e.batches > 0 {
		b, err := cur.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if b.Gap != nil {
			t.Fatalf("a gap in the journal: %+v", b.Gap)
		}
		out = append(out, b)
		if b.Offset >= e.last {
			break
		}
	}
	return out
}

// taken returns the bytes of the records that count, sorted, and how many
// records are flagged as duplicates.
func taken(batches []*schemas.Batch) (records []string, duplicates int) {
	for _, b := range batches {
		if b.Class != schemas.ClassActivity {
			continue
		}
		for _, r := range b.Records {
			switch {
			case r.Flags&schemas.FlagRejected != 0:
			case r.Flags&schemas.FlagDuplicate != 0:
				duplicates++
			default:
				records = append(records, string(b.Body[r.Start:][:r.Length]))
			}
		}
	}
	slices.Sort(records)
	return records, duplicates
}

// own returns our own documents of a kind.
func own[T any](t testing.TB, batches []*schemas.Batch, kind string) (out []T) {
	t.Helper()
	for _, b := range batches {
		if b.Log != kind || b.Class != schemas.ClassHealth {
			continue
		}
		for _, r := range b.Records {
			var doc T
			if err := json.Unmarshal(b.Body[r.Start:][:r.Length], &doc); err != nil {
				t.Fatal(err)
			}
			out = append(out, doc)
		}
	}
	return out
}

// seen are the lines of a log.
type seen struct {
	mu   sync.Mutex
	text strings.Builder
	to   io.Writer
}

func (s *seen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	return s.to.Write(p)
}

func (s *seen) count(sub string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.text.String(), sub)
}

// consume starts a source and returns what stops it, and its log.
func consume(t testing.TB, brokers []string, e *evidence, more ...string) (stop func(), log *seen) {
	t.Helper()
	fields := fmt.Sprintf("brokers: [%s]\nmax_wait: 20ms\nsession_timeout: 1s\n%s", strings.Join(brokers, ", "), strings.Join(more, "\n"))
	if !strings.Contains(fields, "topics: ") {
		fields += "\ntopics: [audit]"
	}
	c, err := plug.NewConfig("kafka", "platform", fields)
	if err != nil {
		t.Fatal(err)
	}
	log = &seen{to: t.Output()}
	s, err := collector.Open(t.Context(), c, collector.Deps{
		Append: e.Append, Decode: e.set, Log: slog.New(slog.NewTextHandler(log, nil)), Reg: e.reg, Tenant: "acme", DataDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop, log
}

func (e *evidence) until(t testing.TB, n int) {
	t.Helper()
	until(t, fmt.Sprintf("%d records", n), func() bool { return e.accepted() >= n })
}

// metric returns the value of a counter or gauge of the source.
func (e *evidence) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := e.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "agentrail_collector_"+name {
			continue
		}
	metrics:
		for _, m := range f.Metric {
			for i := 0; i < len(labels); i += 2 {
				if !slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == labels[i] && l.GetValue() == labels[i+1] }) {
					continue metrics
				}
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return 0
}

// committed returns the group's offset in partition 0 of audit, -1 if none.
func committed(c *kfake.Cluster, group string) int64 {
	info := c.GroupInfo(group)
	if info == nil {
		return -1
	}
	if o, ok := info.Commits["audit"][0]; ok {
		return o.Offset
	}
	return -1
}

func TestKafka(t *testing.T) {
	c, e := cluster(t, 3), newEvidence(t)
	want := []string{}
	for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		cl := producer(t, c, kgo.ProducerBatchCompression(codec))
		var batch []*kgo.Record
		for n := range 200 {
			v := record(fmt.Sprintf("%d-%d", i, n))
			if n%2 == 1 {
				v = plain(1000*i + n) // without an id
			}
			want = append(want, v)
			batch = append(batch, &kgo.Record{Value: []byte(v), Key: []byte("k"), Partition: int32(n % 3), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}})
		}
		send(t, cl, batch...)
	}
	stop, log := consume(t, c.ListenAddrs(), e, "log: prod")
	e.until(t, len(want))
	until(t, "lag is 0", func() bool { return e.metric(t, "lag_records", "source", "platform") == 0 })
	stop()
	got, duplicates := taken(e.read(t))
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || duplicates != 0 {
		t.Errorf("%d duplicates, (-want +got):\n%s", duplicates, diff)
	}
	for _, b := range e.read(t) {
		if b.Source != "platform" || b.Log != "prod" || b.Tenant != "acme" || !b.Live() {
			t.Errorf("header %+v", b.Header)
		}
	}
	if n := e.metric(t, "records_total", "outcome", "accepted"); n != float64(len(want)) {
		t.Errorf("%v records counted", n)
	}
	if log.count("level=WARN") != 0 {
		t.Error("warnings in the log")
	}
}

// A second source of the group goes on where the first one stopped.
func TestKafkaGoesOn(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	cl := producer(t, c)
	produce(t, cl, plain(0), plain(1))
	stop, _ := consume(t, c.ListenAddrs(), e)
	e.until(t, 2)
	stop()
	produce(t, cl, plain(2))
	stop, _ = consume(t, c.ListenAddrs(), e)
	e.until(t, 3)
	stop()
	if got, duplicates := taken(e.read(t)); len(got) != 3 || duplicates != 0 {
		t.Errorf("%d records, %d duplicates", len(got), duplicates)
	}
}

// TestKafkaStartLast: what was there is not read, and where it began is known
// after a restart although nothing was read in between.
func TestKafkaStartLast(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	cl := producer(t, c)
	produce(t, cl, plain(0), plain(1))
	stop, _ := consume(t, c.ListenAddrs(), e, "start: last", "backfill: true")
	until(t, "the start is committed", func() bool { return committed(c, "agentrail") == 2 })
	stop()
	produce(t, cl, plain(2))
	stop, _ = consume(t, c.ListenAddrs(), e, "start: last", "backfill: true")
	e.until(t, 1)
	stop()
	batches := e.read(t)
	if got, _ := taken(batches); !slices.Equal(got, []string{plain(2)}) || batches[0].Live() {
		t.Errorf("%q, live %v", got, batches[0].Live())
	}
}

// TestKafkaBadValues: what cannot be read costs its neighbours nothing, in one
// batch of the topic as in many.
func TestKafkaBadValues(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	cl := producer(t, c)
	large := `{"a":"` + strings.Repeat("x", 3000) + `"}`
	values := []string{
		record("a"), "{", record("b"), "[1,", `{"a":"`, record("c") + "\n" + record("d") + "\nnonsense\n", "[" + record("e") + "," + record("f") + "]", "", large, record("g"),
		"{\n  \"endpoint\": \"/x\"\n}",
	}
	var together []*kgo.Record
	for _, v := range values {
		together = append(together, &kgo.Record{Value: []byte(v)})
	}
	together = append(together, &kgo.Record{Key: []byte("k"), Value: nil}, &kgo.Record{Value: []byte(record("h"))})
	send(t, cl, together...)
	produce(t, cl, "{", record("i"))
	stop, _ := consume(t, c.ListenAddrs(), e, "max_record: 2KiB")
	e.until(t, 10)
	until(t, "all is committed", func() bool { return committed(c, "agentrail") == 15 })
	stop()
	batches := e.read(t)
	want := []string{}
	for id := range strings.SplitSeq("abcdefghi", "") {
		want = append(want, record(id))
	}
	want = append(want, values[10])
	slices.Sort(want)
	if got, _ := taken(batches); cmp.Diff(want, got) != "" {
		t.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
	}
	var got []string
	for _, l := range own[schemas.DeadLetter](t, batches, "dead_letter") {
		reason, _, _ := strings.Cut(strings.TrimPrefix(l.Reason, "audit/0 offset "), ":")
		got = append(got, reason+" "+strconv.Itoa(l.Line)+" "+l.Code)
		if l.Consumer != "platform" || l.Tenant != "acme" || !strings.HasPrefix(l.Reason, "audit/0 offset ") {
			t.Errorf("letter %+v", l)
		}
		rec := batches[l.Offset].Records[l.Index]
		if kept := string(batches[l.Offset].Body[rec.Start:][:rec.Length]); kept != string(l.Bytes) || rec.Flags&schemas.FlagRejected == 0 {
			t.Errorf("letter %s points at %q", l.Bytes, kept)
		}
	}
	letters := []string{"1 1 truncated", "3 1 not_an_object", "3 1 truncated", "4 1 truncated", "5 3 bad_json", "7 1 empty", "8 1 record_too_large", "13 1 truncated"}
	if diff := cmp.Diff(letters, got); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
	if n := e.metric(t, "skipped_total", "cause", "tombstone"); n != 1 {
		t.Errorf("%v tombstones", n)
	}
	if n := e.metric(t, "rejected_total", "code", "record_too_large"); n != 1 {
		t.Errorf("%v records were too large", n)
	}
}

// A rejected record is taken again with the mapping of today.
func TestKafkaReread(t *testing.T) {
	j := &memory{}
	s := open(t, "kafka", "brokers: [localhost:1]\ntopics: [audit]\nbackfill: true", j.Append).(collector.Rereader)
	if err := s.Reread(t.Context(), "acme", []byte(record("a"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Reread(t.Context(), "acme", []byte("{")); err == nil {
		t.Error("what is no record is taken")
	}
	if len(j.batches) != 1 || j.batches[0].Live() || j.batches[0].Source != "kafka" {
		t.Errorf("%+v", j.batches)
	}
}

// TestKafkaManyRecordsInAValue: a value with more records than a batch of the
// journal takes is cut, and the values around it are not.
func TestKafkaManyRecordsInAValue(t *testing.T) {
	c, e := cluster(t, 1), newEvidence(t)
	cl := producer(t, c, kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	many := strings.Repeat("{}\n", 100_005)
	send(t, cl, &kgo.Record{Value: []byte(plain(1))}, &kgo.Record{Value: []byte(many)}, &kgo.Record{Value: []byte(plain(2))})
	stop, _ := consume(t, c.ListenAddrs(), e)
	e.until(t, 100_002)
	until(t, "all is committed", func() bool { return committed(c, "agentrail") == 3 })
	stop()
	letters := own[schemas.DeadLetter](t, e.read(t), "dead_letter")
	if len(letters) != 1 || letters[0].Code != decode.CodeTooManyRecords || !strings.HasPrefix(letters[0].Reason, "audit/0 offset 1: ") {
		t.Errorf("%+v", letters)
	}
}

func TestKafkaConfig(t *testing.T) {
	f := func(fields string, want ...string) {
		t.Helper()
		_, err := openIn(t, t.TempDir(), "kafka", fields, (&memory{}).Append)
		if err == nil {
			t.Errorf("%q is taken", fields)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %q is not in %v", fields, w, err)
			}
		}
	}
	f("", "brokers are missing", "topics are missing")
	f("brokers: [a]\ntopics: [x, x, 'a/b']\nstart: now\nmapping: none\nmax_record: 0\ngroup: ''\nsasl: {mechanism: plain}\ntls: {ca_file: /none}",
		`"a" is not host:port`, `"x" is named twice`, `"a/b" is no name`, `start "now"`, `no mapping "none"`, "max_record", "group is missing", "sasl: username", "tls.ca_file")
	f("brokers: [a:1]\ntopics: [x]\nmapping: csv", `mapping "csv" reads tables`)
	f("brokers: [a:1]\ntopics: [x]\nsasl: {mechanism: gssapi, username: u, password: p}", "none of plain, scram-sha-256, scram-sha-512")
	f("brokers: [a:1]\ntopics: [x]\ntls: {cert_file: c}", "go together")
	f("brokers: [a:1]\ntopics: [x]\nbatch: 64MiB\nmax_in_flight: 1KiB\nmax_wait: 0s\nsession_timeout: 1ms", "batch must", "max_in_flight must", "max_wait must", "session_timeout must")
	f("brokers: [a:1]\ntopic: [x]", `did you mean "topics"`)
	f("brokers: [a:1]\ntopics: [x]\nsasl: {mechanism: plain, username: u, password: '${env:AGENTRAIL_NOT_SET}'}", "AGENTRAIL_NOT_SET is not set")
}
