package collector_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// listener is a log handler that catches where a source listens.
type listener chan string

func (l listener) Enabled(context.Context, slog.Level) bool { return true }
func (l listener) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l listener) WithGroup(string) slog.Handler            { return l }
func (l listener) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(at slog.Attr) bool {
		if r.Message == "listening" && at.Key == "addr" {
			l <- at.Value.String()
		}
		return true
	})
	return nil
}

// startSyslog runs the source until the test ends and returns its address.
func startSyslog(t *testing.T, fields string, appendTo collector.AppendFunc) string {
	t.Helper()
	set, err := mappings()
	if err != nil {
		t.Fatal(err)
	}
	c, err := plug.NewConfig("syslog", "relay", "address: 127.0.0.1:0\n"+fields)
	if err != nil {
		t.Fatal(err)
	}
	said := make(listener, 1)
	s, err := collector.Open(t.Context(), c, collector.Deps{Append: appendTo, Decode: set, Log: slog.New(said), Reg: prometheus.NewRegistry(), Tenant: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case a := <-said:
		return a
	case err := <-done:
		t.Fatalf("run: %v", err)
	}
	return ""
}

// told is a journal that says what it took.
type told struct {
	memory
	records chan string // bytes of each record, "!" before one that was rejected
}

func newTold() *told { return &told{records: make(chan string, 10_000)} }

func (j *told) Append(ctx context.Context, b *schemas.Batch) (uint64, error) {
	o, err := j.memory.Append(ctx, b)
	if err != nil || b.Class != schemas.ClassActivity {
		return o, err
	}
	for _, r := range b.Records {
		text := string(b.Body[r.Start:][:r.Length])
		if r.Flags&schemas.FlagRejected != 0 {
			text = "!" + text
		}
		j.records <- text
	}
	return o, nil
}

// next returns the next n records.
func (j *told) next(t *testing.T, n int) []string {
	t.Helper()
	var out []string
	for range n {
		select {
		case r := <-j.records:
			out = append(out, r)
		case <-time.After(20 * time.Second):
			t.Fatalf("after %q nothing comes, want %d records", out, n)
		}
	}
	return out
}

func counted(messages ...string) string {
	var b strings.Builder
	for _, m := range messages {
		fmt.Fprintf(&b, "%d %s", len(m), m)
	}
	return b.String()
}

const head5424 = `<134>1 2026-08-21T09:15:02.004Z relay agents 42 audit [origin ip="10.0.0.1" x="a\]b"] `

func TestSyslogStreams(t *testing.T) {
	j := newTold()
	addr := startSyslog(t, "transport: tcp\nmax_record: 4KiB", j.Append)
	f := func(name, stream string, want ...string) {
		t.Helper()
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for piece := range slices.Chunk([]byte(stream), 1+len(stream)/3) { // messages come in pieces
			if _, err = conn.Write(piece); err != nil {
				break // a stream that cannot be read is closed from the other side
			}
		}
		if err == nil {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
		if got := j.next(t, len(want)); !slices.Equal(got, want) {
			t.Errorf("%s: %.300q, want %.300q", name, got, want)
		}
	}
	pretty := "{\n\"insertId\":\"p\"}"
	long := `{"x":"` + strings.Repeat("x", 30_000) + `"}`
	f("octet counting", counted(head5424+record("a"), head5424+"\ufeff"+record("b"), head5424+pretty), record("a"), record("b"), pretty)
	f("lines", head5424+record("c")+"\n"+head5424+record("d")+"\r\n", record("c"), record("d"))
	f("a last line without an end", head5424+record("e"), record("e"))
	f("RFC 3164", "<13>Aug 21 09:15:02 relay agents: "+record("f")+"\n", record("f"))
	f("no head", record("g")+"\n", record("g"))
	f("no records", counted(head5424+"hello", head5424+record("h")), "!hello", record("h"))
	f("nothing in it", counted(strings.TrimSuffix(head5424, " "), head5424+record("i")), record("i"))
	f("too long, counted", counted(head5424+long, head5424+record("j")), "!"+(head5424 + long)[:4096], record("j"))
	f("too long, a line", head5424+long+"\n"+head5424+record("k")+"\n", "!"+(head5424 + long)[:4096], record("k"))
	f("too large a record in a message that is not", counted(head5424+`{"x":"`+strings.Repeat("x", 5000)+`"}`, head5424+record("l")), `!{"x":"`+strings.Repeat("x", 5000)+`"}`, record("l"))
	f("broken off", counted(head5424 + record("m"))[:60], "!"+counted(head5424 + record("m"))[:60])
	f("a length that is none", counted(head5424+record("n"))+"99999999999 x", record("n"), "!99999999999 x")
	f("rubbish behind a length", "12x", "!12x")
}

func TestSyslogWaitsForTheJournal(t *testing.T) {
	j := newTold()
	refused := make(chan struct{}, 100)
	full := 3
	j.fail = func(*schemas.Batch) error {
		if full == 0 {
			return nil
		}
		full--
		refused <- struct{}{}
		return &journal.RetryAfter{Err: journal.ErrPushback, After: time.Millisecond}
	}
	addr := startSyslog(t, "transport: tcp", j.Append)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(counted(head5424 + record("a")))); err != nil {
		t.Fatal(err)
	}
	if got := j.next(t, 1); got[0] != record("a") || len(refused) != 3 {
		t.Errorf("%q after %d refusals, want the record after three", got, len(refused))
	}
}

func TestSyslogPackets(t *testing.T) {
	j := newTold()
	addr := startSyslog(t, "transport: udp", j.Append)
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, m := range []string{head5424 + record("a"), "rubbish\n", head5424 + record("b") + "\n", ""} {
		if _, err := conn.Write([]byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := j.next(t, 3), []string{record("a"), "!rubbish", record("b")}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// issuer makes certificates in a folder.
type issuer struct {
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	a := &issuer{dir: t.TempDir()}
	a.key, a.cert = a.issue(t, "ca", nil)
	return a
}

// issue writes NAME.pem and NAME.key.
func (a *issuer) issue(t *testing.T, name string, by *issuer) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IsCA: by == nil, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	parent, signer := tpl, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return key, cert
}

func TestSyslogOverTLS(t *testing.T) {
	ours, strangers := newIssuer(t), newIssuer(t)
	ours.issue(t, "server", ours)
	ours.issue(t, "sender", ours)
	strangers.issue(t, "sender", strangers)
	j := newTold()
	file := func(name string) string { return filepath.Join(ours.dir, name) }
	addr := startSyslog(t, fmt.Sprintf("tls: {cert_file: %s, key_file: %s, client_ca_file: %s}", file("server.pem"), file("server.key"), file("ca.pem")), j.Append)
	send := func(dir, m string) error {
		roots := x509.NewCertPool()
		roots.AddCert(ours.cert)
		conf := &tls.Config{RootCAs: roots}
		if dir != "" {
			pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "sender.pem"), filepath.Join(dir, "sender.key"))
			if err != nil {
				t.Fatal(err)
			}
			conf.Certificates = []tls.Certificate{pair}
		}
		conn, err := tls.Dial("tcp", addr, conf)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte(counted(head5424 + m)))
		err = errors.Join(err, conn.CloseWrite())
		if _, rerr := conn.Read(make([]byte, 1)); rerr != nil && rerr.Error() != "EOF" { // refusals of TLS 1.3 come late
			err = errors.Join(err, rerr)
		}
		return err
	}
	if err := send("", record("a")); err == nil {
		t.Error("a sender without a certificate was let in")
	}
	if err := send(strangers.dir, record("b")); err == nil {
		t.Error("a sender with a stranger's certificate was let in")
	}
	if err := send(ours.dir, record("c")); err != nil {
		t.Fatal(err)
	}
	if got := j.next(t, 1); got[0] != record("c") {
		t.Errorf("%q, want only what the known sender sent", got)
	}
}

func TestSyslogNetworks(t *testing.T) {
	j := newTold()
	addr := startSyslog(t, "transport: tcp\nfrom: [10.0.0.0/8]", j.Append)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes, want to be refused", n)
	}
	f := func(fields, want string) {
		t.Helper()
		_, err := openIn(t, t.TempDir(), "syslog", fields, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", fields, err, want)
		}
	}
	f("transport: tcp\naddress: 0.0.0.0:6514", "anybody could send")
	f("transport: tcp\naddress: x", "host:port")
	f("transport: sctp", "use tls, tcp or udp")
	f("", "cert_file")
	f("transport: tcp\ntls: {cert_file: x}", "transport is tcp")
	f("transport: tcp\nmapping: nothing", "nothing")
	f("transport: tcp\nmax_record: 64MiB", "max_record")
	f("transport: tcp\nmax_connections: 0", "max_connections")
	f("transport: tls\ntls: {cert_file: /none, key_file: /none}", "no such file")
}

// FuzzSyslog sends a stream in two pieces: wherever it is cut, the same records
// come of it, up to where it cannot be read any further, and nothing panics.
func FuzzSyslog(f *testing.F) {
	f.Add([]byte(counted(head5424+record("a"), "x")), 10)
	f.Add([]byte(head5424+record("a")+"\n<13>x\n"), 3)
	f.Add([]byte("5 abc"), 2)
	f.Add([]byte("123456789012 x"), 5)
	set, err := mappings()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		cut = max(0, min(cut, len(stream)))
		run := func(pieces ...[]byte) []string {
			j := &memory{}
			c, err := plug.NewConfig("syslog", "relay", "transport: tcp\nmax_record: 64")
			if err != nil {
				t.Fatal(err)
			}
			s, err := collector.Open(t.Context(), c, collector.Deps{Append: j.Append, Decode: set, Log: slog.New(slog.DiscardHandler), Reg: prometheus.NewRegistry(), Tenant: "acme"})
			if err != nil {
				t.Fatal(err)
			}
			broken := collector.TakeSyslog(t.Context(), s, pieces...)
			var out []string
			for _, b := range j.activity() {
				for _, r := range b.Records {
					out = append(out, fmt.Sprintf("%v %s", r.Flags&schemas.FlagRejected != 0, bytes.Clone(b.Body[r.Start:][:r.Length])))
				}
			}
			if broken != nil { // how much of the rest has come is chance
				out = out[:len(out)-1]
			}
			return out
		}
		if whole, pieces := run(stream), run(stream[:cut], stream[cut:]); !slices.Equal(whole, pieces) {
			t.Errorf("%q in one piece, %q in two", whole, pieces)
		}
	})
}
