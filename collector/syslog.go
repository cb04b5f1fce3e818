package collector

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/internal/plug"
)

// The source syslog takes messages over TCP, TLS (RFC 5425) or UDP whose text
// is a record, such as relays send them. Syslog acknowledges nothing: what a
// sender has written but this program has not yet read is lost with either.
func init() {
	Register("syslog", func(_ context.Context, c plug.Config, d Deps) (Source, error) { return newSyslog(c, d) })
}

// syslogConfig is what the source can be told.
type syslogConfig struct {
	// Address to listen at. Default: 127.0.0.1:6514.
	Address string `yaml:"address"`
	// Transport is tls, tcp or udp. Default: tls.
	Transport string `yaml:"transport"`
	// TLS for transport tls.
	TLS syslogTLS `yaml:"tls"`
	// From lists the networks that may send. Default: any, as far as tls asks
	// for a certificate or the address is a loopback one; else it is mandatory.
	From []netip.Prefix `yaml:"from"`
	// Mapping reads the records. Default: audit.
	Mapping string `yaml:"mapping"`
	// Log names the log within the source, as part of the identity of its
	// records. Default: none.
	Log string `yaml:"log"`
	// MaxRecord caps one message; a larger one is rejected. Default: 1MiB.
	MaxRecord plug.Bytes `yaml:"max_record"`
	// MaxConnections caps the senders at once. Default: 256.
	MaxConnections int `yaml:"max_connections"`
}

// syslogTLS names files in PEM.
type syslogTLS struct {
	CertFile     string `yaml:"cert_file"`
	KeyFile      string `yaml:"key_file"`
	ClientCAFile string `yaml:"client_ca_file"` // senders must show a certificate of it
}

// Transports.
const (
	overTLS = "tls"
	overTCP = "tcp"
	overUDP = "udp"
)

func (cfg *syslogConfig) check(c plug.Config) error {
	host, _, err := net.SplitHostPort(cfg.Address)
	addr, _ := netip.ParseAddr(host)
	switch {
	case err != nil:
		return c.Errorf("address: %q is not host:port", cfg.Address)
	case cfg.Transport != overTLS && cfg.Transport != overTCP && cfg.Transport != overUDP:
		return c.Errorf("transport is %q; use tls, tcp or udp", cfg.Transport)
	case cfg.Transport == overTLS && (cfg.TLS.CertFile == "" || cfg.TLS.KeyFile == ""):
		return c.Errorf("transport tls needs tls: {cert_file, key_file}")
	case cfg.Transport != overTLS && cfg.TLS != syslogTLS{}:
		return c.Errorf("tls is set but transport is %s", cfg.Transport)
	case cfg.From == nil && cfg.TLS.ClientCAFile == "" && !addr.IsLoopback():
		return c.Errorf("anybody could send to %s: list the networks that may under from:, or ask for certificates with tls: {client_ca_file}", cfg.Address)
	case cfg.MaxRecord < 1 || cfg.MaxRecord > 16<<20:
		return c.Errorf("max_record must lie between 1 and 16MiB")
	case cfg.MaxConnections < 1:
		return c.Errorf("max_connections must be at least 1")
	}
	return nil
}

// syslog is the source.
type syslog struct {
	name    string
	cfg     syslogConfig
	tls     *tls.Config
	tenant  string
	mapping *decode.Mapping
	append  AppendFunc
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time
}

func newSyslog(c plug.Config, d Deps) (*syslog, error) {
	cfg := syslogConfig{Address: "127.0.0.1:6514", Transport: overTLS, Mapping: "audit", MaxRecord: 1 << 20, MaxConnections: 256}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	if err := cfg.check(c); err != nil {
		return nil, err
	}
	m, err := d.Decode.Mapping(cfg.Mapping)
	if err != nil {
		return nil, c.Errorf("%v", err)
	}
	s := &syslog{name: c.Name, cfg: cfg, tenant: d.Tenant, mapping: m, append: d.Append, log: d.Log, metrics: newMetrics(d.Reg), now: d.Now}
	if cfg.Transport == overTLS {
		if s.tls, err = cfg.TLS.config(); err != nil {
			return nil, c.Errorf("tls: %v", err)
		}
	}
	return s, nil
}

func (t syslogTLS) config() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if t.ClientCAFile == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(t.ClientCAFile)
	if err != nil {
		return nil, err
	}
	conf.ClientCAs, conf.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !conf.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", t.ClientCAFile)
	}
	return conf, nil
}

// Run listens until ctx ends.
func (s *syslog) Run(ctx context.Context) error {
	if s.cfg.Transport == overUDP {
		return s.packets(ctx)
	}
	l, err := net.Listen("tcp", s.cfg.Address)
	if err != nil {
		return fmt.Errorf("listen for syslog: %w; name another address under address: of the source", err)
	}
	s.log.Info("listening", "addr", l.Addr().String(), "transport", s.cfg.Transport)
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var senders sync.WaitGroup
	defer senders.Wait()
	room := make(chan struct{}, s.cfg.MaxConnections)
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listen for syslog: %w", err)
		case err != nil: // such as too many open files: it may pass
			s.log.Warn("a sender could not be accepted", "error", err)
			wait(ctx, time.Second)
			continue
		}
		if !s.allowed(conn.RemoteAddr()) {
			s.refuse(conn, "it is in none of the networks under from:")
			continue
		}
		select {
		case room <- struct{}{}:
		default:
			s.refuse(conn, fmt.Sprintf("%d are connected, which is the most", s.cfg.MaxConnections))
			continue
		}
		senders.Go(func() {
			defer func() { <-room }()
			s.serve(ctx, conn)
		})
	}
}

func (s *syslog) refuse(conn net.Conn, why string) {
	s.log.Warn("a sender was refused", "from", conn.RemoteAddr().String(), "why", why)
	s.metrics.requests.WithLabelValues(s.name, "403").Inc()
	conn.Close()
}

// allowed reports whether the address may send.
func (s *syslog) allowed(a net.Addr) bool {
	if s.cfg.From == nil {
		return true
	}
	from, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return false
	}
	for _, p := range s.cfg.From {
		if p.Contains(from.Addr().Unmap().WithZone("")) {
			return true
		}
	}
	return false
}
