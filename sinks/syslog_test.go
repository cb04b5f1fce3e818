package sinks

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

// serveSyslog starts a receiver; conf nil: without TLS.
func serveSyslog(t *testing.T, s *sinktest.Syslog, conf *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve(l) })
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
		s.Close()
	})
	return addr
}

// syslogIDs are the event ids that the receiver has read.
func syslogIDs(t *testing.T, s *sinktest.Syslog) map[schemas.ID]int {
	t.Helper()
	out := map[schemas.ID]int{}
	for _, m := range s.Messages() {
		id, err := hex.DecodeString(m.Data["event_id"])
		if err != nil || len(id) != 16 {
			t.Fatalf("event id %q", m.Data["event_id"])
		}
		out[schemas.ID(id)]++
	}
	for _, v := range s.Violations() {
		t.Errorf("not as documented: %s", v)
	}
	return out
}

func TestSyslogDelivers(t *testing.T) {
	ca := newCA(t)
	f := func(conf *tls.Config, fields string) {
		t.Helper()
		r := &sinktest.Syslog{}
		_, fw := openTest(t, "syslog", "host: h1\nsettle: 1ms\naddress: "+serveSyslog(t, r, conf)+"\n"+fields, nil)
		b := testBatch(1, 3000)
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { return len(r.Messages()) >= 3000 })
		got := syslogIDs(t, r)
		sameIDs(t, wantIDs(b), got)
		once(t, got)
		if l := fw.Ledger(); l.Accepted != 3000 || l.Indexed != 0 || r.Connections() != 1 {
			t.Errorf("%s: ledger %+v, %d connections", fields, l, r.Connections())
		}
		for i, m := range r.Messages() { // in_flight says nothing about one group
			if want := b.Events[i].ID.String(); m.Data["event_id"] != want {
				t.Fatalf("message %d is event %s, want %s", i, m.Data["event_id"], want)
			}
		}
		m := r.Messages()[2]
		want := sinktest.Message{
			Priority: 13*8 + 6, Time: b.Events[2].When().Truncate(time.Microsecond), Host: "h1", App: "agentrail", Kind: "activity", SDID: "agentrail@32473",
			Data: map[string]string{"event_id": b.Events[2].ID.String(), "tenant": "default", "shard": "0", "offset": "1", "index": "2", "digest": b.Events[2].Digest.String()}, Text: m.Text,
		}
		if diff := cmp.Diff(want, m); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(m.Text, `"action":"tool.execute"`) || strings.Contains(m.Text, "hunter2") {
			t.Errorf("text is %s", m.Text)
		}
	}
	f(nil, "transport: tcp")
	f(nil, "transport: tcp\nbatch: {max_bytes: 4KiB}")
	f(ca.server(t), "tls: {ca_file: "+ca.file+", cert_file: "+ca.cert+", key_file: "+ca.key+"}")
}

// TestSyslogOutlastsFaults meets a receiver that closes connections with
// messages unread in them, again and again, and one that never reads. What was
// in doubt comes again: nothing is lost.
func TestSyslogOutlastsFaults(t *testing.T) {
	ca := newCA(t)
	f := func(conf *tls.Config, fields string) {
		t.Helper()
		r := &sinktest.Syslog{Script: func(conn int) sinktest.Hangup {
			if conn == 1 {
				return sinktest.Hangup{Stuck: true}
			}
			return []sinktest.Hangup{{After: 100}, {After: 1}, {After: 999}, {}, {After: 50}, {}}[min(conn, 5)]
		}}
		_, fw := openTest(t, "syslog", "settle: 2s\ntimeout: 3s\nbatch: {max_events: 200}\naddress: "+serveSyslog(t, r, conf)+"\n"+fields, nil)
		b := testBatch(1, 1000)
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { return len(syslogIDs(t, r)) == 1000 })
		sameIDs(t, wantIDs(b), syslogIDs(t, r))
		if l := fw.Ledger(); l.Retries == 0 || l.Dead != 0 || r.Connections() < 4 {
			t.Errorf("ledger: %+v, %d connections", l, r.Connections())
		}
	}
	t.Run("tcp", func(t *testing.T) {
		t.Parallel()
		f(nil, "transport: tcp")
	})
	t.Run("tls", func(t *testing.T) {
		t.Parallel()
		f(ca.server(t), "tls: {ca_file: "+ca.file+", cert_file: "+ca.cert+", key_file: "+ca.key+"}")
	})
}

// TestSyslogNoticesHangup learns that the receiver has left before it writes
// again.
func TestSyslogNoticesHangup(t *testing.T) {
	r := &sinktest.Syslog{Script: func(conn int) sinktest.Hangup {
		if conn == 0 {
			return sinktest.Hangup{After: 1}
		}
		return sinktest.Hangup{}
	}}
	s, _ := openTest(t, "syslog", "transport: tcp\nsettle: 10s\naddress: "+serveSyslog(t, r, nil), nil)
	b := testBatch(1, 2)
	receipt, err := s.Write(t.Context(), b.Events[:1])
	if err != nil {
		t.Fatal(err)
	}
	if err := receipt.Wait(t.Context()); asWriteError(err).Kind != KindRetry {
		t.Errorf("got %v, want an error: the receiver left while the write was in doubt", err)
	}
	if _, err := s.Write(t.Context(), b.Events); err != nil {
		t.Errorf("the next write does not make a new connection: %v", err)
	}
	await(t, func() bool { return len(r.Messages()) == 3 })
}

func TestSyslogTrust(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	f := func(fields string) {
		t.Helper()
		r := &sinktest.Syslog{}
		s, _ := openTest(t, "syslog", "settle: 5s\naddress: "+serveSyslog(t, r, ca.server(t))+"\n"+fields, nil)
		receipt, err := s.Write(t.Context(), testBatch(1, 1).Events)
		if err == nil {
			err = receipt.Wait(t.Context()) // TLS 1.3 refuses a client after the handshake
		}
		if we := asWriteError(err); we.Kind != KindAuth || we.Code != "tls" {
			t.Errorf("%s: got %v", fields, err)
		}
		if len(r.Messages()) != 0 {
			t.Errorf("%s: a message went through", fields)
		}
	}
	f("tls: {ca_file: " + other.file + ", cert_file: " + ca.cert + ", key_file: " + ca.key + "}")
	f("tls: {ca_file: " + ca.file + ", cert_file: " + other.cert + ", key_file: " + other.key + "}")
	f("tls: {ca_file: " + ca.file + "}")
	f("tls: {ca_file: " + ca.file + ", cert_file: " + ca.cert + ", key_file: " + ca.key + ", server_name: elsewhere}")
}

func TestSyslogUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	for _, fields := range []string{"transport: tcp\naddress: " + closed, "transport: tls\naddress: " + closed, "transport: tcp\naddress: syslog.invalid:514", "transport: udp\naddress: syslog.invalid:514"} {
		s, _ := openTest(t, "syslog", fields, nil)
		if _, err := s.Write(t.Context(), testBatch(1, 1).Events); asWriteError(err).Kind != KindRetry {
			t.Errorf("%s: got %v", fields, err)
		}
	}
}

// TestSyslogUDP sends datagrams, and refuses what a datagram would not carry.
func TestSyslogUDP(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, fw := openTest(t, "syslog", "transport: udp\naddress: "+conn.LocalAddr().String(), nil)
	b := testBatch(1, 20)
	b.Events[7].Target = strings.Repeat("x", 3000)
	err = fw.Consume(t.Context(), []*schemas.Batch{b})
	if got := rejectedIndexes(err); !cmp.Equal(got, []uint32{7}) {
		t.Errorf("rejected %v, %v", got, err)
	}
	r := &sinktest.Syslog{}
	buf := make([]byte, 1<<16)
	for range 19 {
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		r.Take(string(buf[:n]))
	}
	want := wantIDs(b)
	delete(want, b.Events[7].ID)
	sameIDs(t, want, syslogIDs(t, r))
}

// TestSyslogEventOnTheWire sends hostile text in every field; an event of 1 MB
// becomes a dead letter, or arrives where the config allows it.
func TestSyslogEventOnTheWire(t *testing.T) {
	f := func(fields string, dead []uint32) {
		t.Helper()
		r := &sinktest.Syslog{}
		_, fw := openTest(t, "syslog", "transport: tcp\nsettle: 1ms\ncontent: true\nbatch: {max_bytes: 4MiB}\naddress: "+serveSyslog(t, r, nil)+"\n"+fields, nil)
		b := hostileBatch()
		kept := b.Events[:0]
		for _, ev := range b.Events {
			if len(ev.Actor) < 10_000 {
				kept = append(kept, ev)
			}
		}
		b.Events = append(kept, schemas.Event{ID: testID(99, 0), Class: schemas.ClassAlert, Target: strings.Repeat("x", 1<<20-1000)})
		err := fw.Consume(t.Context(), []*schemas.Batch{b})
		if dead != nil {
			dead = []uint32{uint32(len(b.Events) - 1)}
		}
		if got := rejectedIndexes(err); !cmp.Equal(got, dead) {
			t.Errorf("rejected %v, %v", got, err)
		}
		await(t, func() bool { return len(r.Messages()) >= len(b.Events)-len(dead) })
		want := wantIDs(b)
		if dead != nil {
			delete(want, b.Events[len(b.Events)-1].ID)
		}
		sameIDs(t, want, syslogIDs(t, r))
		for i, m := range r.Messages() {
			var doc map[string]any
			if err := json.Unmarshal([]byte(m.Text), &doc); err != nil {
				t.Fatal(err)
			}
			if got, _ := doc["actor"].(string); got != strings.ToValidUTF8(b.Events[i].Actor, "\ufffd\ufffd") {
				t.Errorf("actor %q arrived as %q", b.Events[i].Actor, got)
			}
		}
	}
	f("", []uint32{0})
	f("max_message: 1MiB", nil)
}

func FuzzSyslogMessage(f *testing.F) {
	for _, s := range []string{"", `a"]\`, "\x00\n", "\xff", "\u202e", "] forged"} {
		f.Add(s, int64(0), uint64(1))
	}
	s := &syslog{conf: syslogConfig{Facility: 23, SDID: "x@1", MaxMessage: 1 << 20}, head: []byte(" h a - ")}
	s.format = func(dst []byte, _ *schemas.Event) []byte { return append(dst, "{}"...) }
	f.Fuzz(func(t *testing.T, tenant string, at int64, offset uint64) {
		ev := schemas.Event{Tenant: tenant, Time: at, Offset: offset, Class: schemas.ClassControl}
		if m, err := sinktest.ParseSyslog(string(s.message(nil, &ev))); err != nil || m.Text != "{}" {
			t.Errorf("%q: %v: %+v", tenant, err, m)
		}
	})
}

func TestSyslogConfig(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		if err := openFault(t, "syslog", fields); !strings.Contains(err, want) {
			t.Errorf("%s: got %q, want %q", fields, err, want)
		}
	}
	f("", "address:")
	f("address: h:1\ntransport: sctp", "transport:")
	f("address: 169.254.169.254:80", "link-local")
	f("address: h:1\nfacility: 24", "facility:")
	f("address: h:1\nhost: a b", "host:")
	f("address: h:1\napp_name: "+strings.Repeat("x", 49), "app_name:")
	f("address: h:1\nsd_id: a=b", "sd_id:")
	f("address: h:1\nmax_message: 100KiB\ntransport: udp", "max_message:")
	f("address: h:1\ntimeout: 0s", "timeout")
	f("address: h:1\ntls: {ca_file: /nowhere}", "ca_file")
}

// TestSyslogStuck gives up when it is told to, though the receiver never reads.
func TestSyslogStuck(t *testing.T) {
	r := &sinktest.Syslog{Script: func(int) sinktest.Hangup { return sinktest.Hangup{Stuck: true} }}
	s, _ := openTest(t, "syslog", "transport: tcp\nmax_message: 1MiB\nbatch: {max_bytes: 64MiB}\naddress: "+serveSyslog(t, r, nil), nil)
	b := testBatch(1, 40)
	for i := range b.Events {
		b.Events[i].Target = strings.Repeat("x", 1_000_000)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		await(t, func() bool { return r.Connections() > 0 })
		cancel()
	}()
	receipt, err := s.Write(ctx, b.Events)
	if err == nil {
		err = receipt.Wait(ctx)
	}
	if err == nil || errors.Is(err, ErrUnconfirmed) {
		t.Errorf("got %v", err)
	}
}
