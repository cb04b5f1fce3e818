// Package receivers has one receiver for each kind of sink, in the process and
// as strict as the real one, behind listeners that can go wrong: for the table
// of sinks under faults and for tests that go through all kinds.
package receivers

import (
	"fmt"
	"net"
	"net/http"
	"slices"
)

// Refusal is what a receiver answers to a request in place of taking it, in the
// words of its own protocol.
type Refusal uint8

// Refusals. The zero value is none.
const (
	Taken    Refusal = iota
	Outage           // 500
	Busy             // 429, again in a second
	Absurd           // 429, again in some centuries, or before now, or never
	TooLarge         // 413
	Denied           // 401
	Garbled          // it is taken, and half an answer comes
)

// Options of one receiver.
type Options struct {
	Listener net.Listener           // Mandatory. Where it listens; it is closed with the receiver
	Dir      string                 // Mandatory. For files of the sink
	Refuse   func(n int) Refusal    // what becomes of request n, from 0; nil: all are taken
	Poison   func(doc []byte) bool  // events that are refused as data; nil: none
	Lose     func(request int) bool // requests that are accepted and lost; nil: none
}

// Receiver is one that runs.
type Receiver struct {
	// Fields are the sink's own for the config, with the address that it is to
	// connect to and, unless that is empty, TLS by the authority in caFile.
	Fields func(address, caFile string) string
	// Events returns how often each event id is there.
	Events func() (map[string]int, error)
	// Violations says what the sink did that is not as documented.
	Violations func() []string

	stop []func()
}

// Close ends it.
func (r *Receiver) Close() {
	for _, v := range slices.Backward(r.stop) {
		v()
	}
}

// Kind is one kind of sink with a receiver for it.
type Kind struct {
	Name    string // otlp over grpc
	Sink    string // kind in the config
	Unique  bool   // the receiver knows ids: nothing may be there twice
	Blames  bool   // it looks into events and refuses bad ones
	Tells   bool   // it tells when it has lost what it accepted
	Reads   bool   // what it answers beside the status matters
	Dumb    bool   // it never answers
	Longest int    // bytes of the longest event that goes through by default; 0: 1 MB and more
	HTTP    bool   // it speaks HTTP
	ALPN    string // what TLS must agree on
	// Refuses are the refusals that its protocol can say.
	Refuses []Refusal

	open func(o Options) (*Receiver, error)
}

// Open starts a receiver.
func (k Kind) Open(o Options) (*Receiver, error) {
	r, err := k.open(o)
	if err != nil {
		return nil, fmt.Errorf("open receiver %s: %w", k.Name, err)
	}
	if r.Violations == nil {
		r.Violations = func() []string { return nil }
	}
	return r, nil
}

// Can reports whether its protocol can say that.
func (k Kind) Can(r Refusal) bool {
	return slices.Contains(k.Refuses, r)
}

// all that HTTP can say.
var all = []Refusal{Outage, Busy, Absurd, TooLarge, Denied, Garbled}

// Kinds are all kinds of sinks that have a receiver on the network.
func Kinds() []Kind {
	return []Kind{
		{Name: "splunk", Sink: "splunk", HTTP: true, Blames: true, Tells: true, Reads: true, Refuses: all, open: openSplunk},
		{Name: "elastic", Sink: "elastic", HTTP: true, Unique: true, Blames: true, Tells: true, Reads: true, Refuses: all, open: openElastic},
		{Name: "sentinel", Sink: "sentinel", HTTP: true, Blames: true, Longest: 64 << 10, Refuses: all, open: openSentinel},
		{Name: "secops", Sink: "secops", HTTP: true, Blames: true, Longest: 750_000, Refuses: all, open: openSecOps},
		{Name: "datadog", Sink: "datadog", HTTP: true, Blames: true, Longest: 1_000_000, Refuses: all, open: openDatadog},
		{Name: "sumo", Sink: "sumo", HTTP: true, Refuses: all, open: openSumo},
		{Name: "syslog", Sink: "syslog", Dumb: true, Longest: 8 << 10, open: openSyslog},
		{Name: "kafka", Sink: "kafka", Reads: true, Refuses: []Refusal{Outage, TooLarge, Denied}, open: openKafka},
		{Name: "otlp http", Sink: "otlp", HTTP: true, Blames: true, Refuses: all, open: openOTLPOverHTTP},
		{Name: "otlp grpc", Sink: "otlp", Blames: true, Reads: true, ALPN: "h2", Refuses: []Refusal{Outage, Busy, Absurd, TooLarge, Denied}, open: openOTLPOverGRPC},
		{Name: "s3", Sink: "s3", HTTP: true, Unique: true, Refuses: all, open: openS3},
		{Name: "security_lake", Sink: "s3", HTTP: true, Unique: true, Refuses: all, open: openLake},
		{Name: "webhook", Sink: "webhook", HTTP: true, Blames: true, Refuses: all, open: openWebhook},
	}
}

// refusal returns what becomes of request n.
func (o Options) refusal(n int) Refusal {
	if o.Refuse == nil {
		return Taken
	}
	return o.Refuse(n)
}

// refused reports whether the document is refused as data.
func (o Options) refused(doc []byte) bool { return o.Poison != nil && o.Poison(doc) }

// absurd are ways to say when to come back that nobody should follow.
var absurd = []string{"99999999999999999999", "-1", "soon", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", ""}

func absurdHeader(n int) http.Header { return http.Header{"Retry-After": {absurd[n%len(absurd)]}} }
