package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// peer is a sink and the programs that send to the same receiver.
type peer struct {
	kind, wire string
	sink       string // its fields
	exporters  []exporter
}

// exporter is one of the Collector's, or the output of Filebeat.
type exporter struct {
	name, wire string
	config     string
	attribute  bool // it takes the text from the attribute message
	filebeat   bool
}

// nop is the Collector that takes records and sends nothing.
var nop = exporter{name: "nop", config: "{}"}

// peers send without compression, which costs both the same.
var peers = []peer{
	{kind: "otlp", sink: "kind: otlp, url: 'HTTP', gzip: false", exporters: []exporter{
		{name: "otlp_http", config: "{endpoint: 'HTTP', compression: none, sending_queue: QUEUE}"},
		{name: "otlp_grpc", wire: "grpc", config: "{endpoint: 'WIRE', tls: {insecure: true}, compression: none, sending_queue: QUEUE}"},
	}},
	{kind: "kafka", wire: "kafka", sink: "kind: kafka, brokers: ['WIRE'], topic: " + kafkaTopic + ", compression: none", exporters: []exporter{
		{name: "kafka", wire: "kafka", config: "{brokers: ['WIRE'], logs: {topic: " + kafkaTopic + ", encoding: raw}, producer: {compression: none, required_acks: -1}, sending_queue: QUEUE}"},
	}},
	{kind: "syslog", wire: "syslog", sink: "kind: syslog, transport: tcp, address: 'WIRE'", exporters: []exporter{
		{name: "syslog", wire: "syslog", attribute: true, config: "{endpoint: 127.0.0.1, port: PORT, network: tcp, protocol: rfc5424, enable_octet_counting: true, tls: {insecure: true}, sending_queue: QUEUE}"},
	}},
	{kind: "elastic", sink: "kind: elastic, urls: ['HTTP'], gzip: false", exporters: []exporter{
		{name: "Filebeat", filebeat: true, config: "{hosts: ['HTTP'], compression_level: 0, index: bench}"},
	}},
	{kind: "splunk", sink: "kind: splunk, url: 'HTTP', token_file: SECRET, gzip: false"},
	{kind: "datadog", sink: "kind: datadog, url: 'HTTP', api_key_file: SECRET, gzip: false"},
	{kind: "sumo", sink: "kind: sumo, url_file: URLFILE, gzip: false"},
}

// sinks compares what a sink costs with what the Collector's exporter to the
// same receiver costs, and Filebeat for Elasticsearch, whose exporter the module
// proxy does not have. Both get the same records 500 a request over HTTP: serve
// as NDJSON, which it parses, maps, hashes and syncs to its journal; the
// Collector as OTLP, ready-made, which is the cheapest way into it, once as a
// relay that never looks into a record and holds it in memory, once with serve's
// job: fields read from the JSON, a queue on disk that is synced. Filebeat reads
// them from a file. Detectors and store are off. The time to start is left out; the receiver, another process,
// checks that each record came once.
func (b *bench) sinks(ctx context.Context) error {
	text, err := otlpBodies(b.data, 500, false)
	if err != nil {
		return err
	}
	attribute, err := otlpBodies(b.data, 500, true)
	if err != nil {
		return err
	}
	bodies := map[bool][][]byte{false: text, true: attribute}
	cost := map[string]*costs{}
	run := func(name string, once func() (result, error)) error {
		r, err := once()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if r.lost != 0 {
			return fmt.Errorf("%s: %d of %d records did not arrive", name, r.lost, *events)
		}
		if cost[name] == nil {
			cost[name] = &costs{}
		}
		cost[name].add(r)
		fmt.Printf("  %-28s %6.2f µs of CPU a record, %4.0f bytes, %d doubled, peak %.0f MB\n", name, cost[name].last(), float64(r.bytes)/float64(*events), r.dup, r.peak)
		return nil
	}
	peers := slices.DeleteFunc(slices.Clone(peers), func(p peer) bool { return *only != "" && !slices.Contains(strings.Split(*only, ","), p.kind) })
	for range *reps { // by turns, so that a busy machine disturbs all alike
		errs := run("serve", func() (result, error) { return b.once(ctx, variant{}) })
		for _, p := range peers {
			if errs == nil {
				errs = run("serve, "+p.kind, func() (result, error) {
					return b.once(ctx, variant{sink: true, out: p.sink, wire: p.wire, profile: profileOf(p.kind)})
				})
			}
			for _, e := range p.exporters {
				if errs == nil {
					errs = run(e.name, func() (result, error) { return b.collect(ctx, e, false, bodies[e.attribute]) })
				}
				if errs == nil {
					errs = run(e.name+", same job", func() (result, error) { return b.collect(ctx, e, true, bodies[e.attribute]) })
				}
			}
		}
		if errs == nil {
			errs = run(nop.name, func() (result, error) { return b.collect(ctx, nop, false, text) })
		}
		if errs != nil {
			return errs
		}
	}
	table := peerTable(peers, cost)
	fmt.Print("\n" + table)
	if *readme != "" {
		return publish(*readme, table)
	}
	return nil
}

func profileOf(kind string) string {
	if *prof == "" {
		return ""
	}
	return *prof + "." + kind
}

// costs are those of one row, run by run.
type costs struct {
	us    []float64 // CPU a record
	bytes float64   // a record, at the receiver
}

func (c *costs) add(r result) {
	c.us = append(c.us, 1e6*(r.user+r.system-r.before)/float64(*events))
	c.bytes = float64(r.bytes) / float64(*events)
}

func (c *costs) last() float64 { return c.us[len(c.us)-1] }

func (c *costs) median() float64 { return median(slices.Clone(c.us)) }

// peerTable sets them side by side. Alone is the difference to the same program
// that takes the records and sends nothing.
func peerTable(peers []peer, cost map[string]*costs) string {
	var t strings.Builder
	t.WriteString("| sink | serve with it, events per CPU-second | the sink alone, µs | peer | as a relay, events per CPU-second | its exporter alone, µs | the same job, events per CPU-second | serve : relay | serve : same job | bytes an event |\n|" + strings.Repeat("---|", 10) + "\n")
	k := func(us float64) string { return fmt.Sprintf("%.0f,000", 1000/us) }
	for _, p := range peers {
		whole := cost["serve, "+p.kind]
		alone := whole.median() - cost["serve"].median()
		if len(p.exporters) == 0 {
			fmt.Fprintf(&t, "| `%s` | %s | %.1f | none could be had | | | | | | %.0f |\n", p.kind, k(whole.median()), alone, whole.bytes)
		}
		for _, e := range p.exporters {
			relay, same := cost[e.name], cost[e.name+", same job"]
			who, its := "Filebeat", ""
			if !e.filebeat {
				who, its = "Collector, `"+e.name+"`", fmt.Sprintf("%.1f", relay.median()-cost[nop.name].median())
			}
			fmt.Fprintf(&t, "| `%s` | %s | %.1f | %s | %s | %s | %s | %.1f | %.1f | %.0f : %.0f |\n", p.kind, k(whole.median()), alone,
				who, k(relay.median()), its, k(same.median()), relay.median()/whole.median(), same.median()/whole.median(), whole.bytes, relay.bytes)
		}
	}
	return t.String()
}

// collect runs a peer over the records and waits until everything came through.
func (b *bench) collect(ctx context.Context, e exporter, sameJob bool, bodies [][]byte) (result, error) {
	b.runs++
	dir := filepath.Join(b.dir, fmt.Sprint(b.runs))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return result{}, err
	}
	siem, err := startReceiver(ctx, dir, e.wire)
	if err != nil {
		return result{}, err
	}
	defer siem.stop()
	e.config = siem.fill(e.config)
	var p *process
	var feed func() error
	if e.filebeat {
		p, feed, err = b.startFilebeat(ctx, dir, e, sameJob)
	} else {
		p, feed, err = b.startCollector(ctx, dir, e, sameJob, bodies)
	}
	if err != nil {
		return result{}, err
	}
	defer p.stop()
	userBefore, systemBefore, _ := p.usage()
	began := time.Now()
	if err := feed(); err != nil {
		return result{}, err
	}
	want := *events
	if e.name == nop.name {
		want = 0
	}
	var t counts
	for deadline := time.Now().Add(3 * time.Minute); t.Distinct < want; time.Sleep(20 * time.Millisecond) {
		if t, err = siem.stats(); err != nil {
			return result{}, err
		}
		if time.Now().After(deadline) {
			return result{}, fmt.Errorf("%d of %d records at the receiver after 3 min", t.Distinct, want)
		}
	}
	r := result{wall: time.Since(began).Seconds(), dup: t.Duplicate, bytes: t.Bytes, before: userBefore + systemBefore}
	r.user, r.system, r.peak = p.usage()
	return r, nil
}

const (
	peersBegin = "<!-- made by make bench BENCHFLAGS=\"-rows sinks -readme README.md\" -->\n"
	peersEnd   = "<!-- end of sinks -->\n"
)

// publish writes the table into the file, between the marks.
func publish(path, table string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	head, rest, ok := strings.Cut(string(text), peersBegin)
	_, tail, ok2 := strings.Cut(rest, peersEnd)
	if !ok || !ok2 {
		return fmt.Errorf("publish: %s has no place for the table: %q to %q", path, peersBegin, peersEnd)
	}
	return os.WriteFile(path, []byte(head+peersBegin+table+peersEnd+tail), 0o600)
}
