package sinks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("syslog", openSyslog) }

// syslogConfig sends each event as one message of RFC 5424, whose structured
// data hold the event's id, position and digest. Syslog acknowledges nothing:
// an event counts as delivered when the transport has taken it. Over TCP and
// TLS that is when the other machine has acknowledged the bytes and the
// connection has stood for Settle since; what was written later than that is
// sent again when the connection is lost. What the receiver had read by then
// arrives twice, what it drops afterwards is lost. Over UDP all may be lost.
type syslogConfig struct {
	Common Common `yaml:",inline"`
	// Transport is tls, tcp (both with octet counting) or udp.
	Transport string `yaml:"transport"`
	// Address is host:port.
	Address string `yaml:"address"`
	// Facility is syslog's number, 0 to 23; 13 is log audit.
	Facility int `yaml:"facility"`
	// Host and AppName are the fields of these names in the header.
	Host    string `yaml:"host"`
	AppName string `yaml:"app_name"`
	// SDID names the structured data.
	SDID string `yaml:"sd_id"`
	// MaxMessage is how long a message may be; a longer one becomes a dead
	// letter, for receivers cut what is too long for them. Empty: 8KiB, by
	// UDP 2KiB.
	MaxMessage plug.Bytes `yaml:"max_message"`
	// Settle is how long a connection must stand after a write.
	Settle plug.Duration `yaml:"settle"`
	// Timeout of connecting, of one write, and of its acknowledgement.
	Timeout plug.Duration `yaml:"timeout"`
	TLS     TLS           `yaml:"tls"`
}

// syslog is the sink.
type syslog struct {
	conf   syslogConfig
	format format.Func
	stream *stream // nil for UDP
	udp    *datagrams
	head   []byte // HOSTNAME, APP-NAME and PROCID with spaces around
}

func openSyslog(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := syslogConfig{
		Common: DefaultCommon(), Transport: "tls", Facility: 13, AppName: "agentrail", SDID: "agentrail@32473",
		Settle: plug.Duration(500 * time.Millisecond), Timeout: plug.Duration(30 * time.Second),
	}
	conf.Host, _ = os.Hostname()
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	if conf.MaxMessage == 0 {
		conf.MaxMessage = 8 << 10
		if conf.Transport == "udp" {
			conf.MaxMessage = 2 << 10
		}
	}
	if err := conf.check(); err != nil {
		return nil, c.Errorf("%v", err)
	}
	s := &syslog{conf: conf, head: []byte(" " + conf.Host + " " + conf.AppName + " - ")}
	s.format, _ = format.Lookup(conf.Common.Format)
	dialer := &net.Dialer{Timeout: min(dialTimeout, time.Duration(conf.Timeout)), KeepAlive: 15 * time.Second, Control: refuseMetadata}
	if conf.Transport == "udp" {
		s.udp = &datagrams{dialer: dialer, address: conf.Address, timeout: time.Duration(conf.Timeout)}
		return s, nil
	}
	s.stream = &stream{dialer: dialer, address: conf.Address, settle: time.Duration(conf.Settle), timeout: time.Duration(conf.Timeout)}
	if conf.Transport == "tcp" {
		d.Log.Warn("events go over plain tcp; use tls outside the machine")
		return s, nil
	}
	secure, err := conf.TLS.Config()
	if err != nil {
		return nil, c.Errorf("%v", err)
	}
	if conf.TLS.Insecure {
		d.Log.Warn("tls.insecure: any certificate is accepted")
	}
	if secure.ServerName == "" {
		secure.ServerName, _, _ = net.SplitHostPort(conf.Address)
	}
	s.stream.tls = secure
	return s, nil
}

// headerField is what the header of a message may hold: printable ASCII.
var headerField = regexp.MustCompile(`^[!-~]+$`)

// sdName is the name of an element of structured data.
var sdName = regexp.MustCompile(`^[!#-<>-\\^-~]{1,32}$`)

func (c *syslogConfig) check() error {
	host, port, err := net.SplitHostPort(c.Address)
	var largest plug.Bytes = 1 << 20
	if c.Transport == "udp" {
		largest = 65_000
	}
	switch {
	case c.Transport != "tls" && c.Transport != "tcp" && c.Transport != "udp":
		return fmt.Errorf("transport: %q is none of tls, tcp and udp", c.Transport)
	case err != nil || host == "" || port == "":
		return fmt.Errorf("address: %q is not host:port", c.Address)
	case linkLocal(host):
		return fmt.Errorf("address: %w", errMetadata)
	case c.Facility < 0 || c.Facility > 23:
		return fmt.Errorf("facility: %d is not between 0 and 23", c.Facility)
	case len(c.Host) > 255 || !headerField.MatchString(c.Host):
		return fmt.Errorf("host: %q is not printable ASCII of at most 255 bytes", c.Host)
	case len(c.AppName) > 48 || !headerField.MatchString(c.AppName):
		return fmt.Errorf("app_name: %q is not printable ASCII of at most 48 bytes", c.AppName)
	case !sdName.MatchString(c.SDID):
		return fmt.Errorf(`sd_id: %q is not printable ASCII of at most 32 bytes without = ] "`, c.SDID)
	case c.MaxMessage < 480 || c.MaxMessage > largest:
		return fmt.Errorf("max_message: %d is not between 480 and %d", c.MaxMessage, largest)
	case c.Settle < 0 || c.Timeout <= 0:
		return errors.New("settle must not be negative, timeout must be positive")
	}
	return nil
}

func linkLocal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && metadata(ip)
}

// Write sends as many messages as go into one batch.
func (s *syslog) Write(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	p := newPayload()
	defer p.release()
	var ends []int // of each message in p.buf
	var msg []byte
	for i := range evs {
		msg = s.message(msg[:0], &evs[i])
		if len(msg) > int(s.conf.MaxMessage) {
			if i == 0 {
				return Receipt{Events: 1}, &WriteError{Kind: KindTooLarge, Code: "too_large", Err: fmt.Errorf("message of %d bytes is longer than max_message, %d", len(msg), s.conf.MaxMessage)}
			}
			break
		}
		if i > 0 && len(p.buf)+len(msg) > int(s.conf.Common.Batch.MaxBytes) {
			break
		}
		if s.stream != nil {
			p.buf = append(strconv.AppendInt(p.buf, int64(len(msg)), 10), ' ')
		}
		p.buf = append(p.buf, msg...)
		ends = append(ends, len(p.buf))
	}
	receipt := Receipt{Events: len(ends), Bytes: len(p.buf)}
	if s.udp != nil {
		return receipt, s.udp.write(ctx, p.buf, ends)
	}
	var err error
	receipt.Confirm, err = s.stream.write(ctx, p.buf)
	return receipt, err
}

// Close ends the connection.
func (s *syslog) Close() error {
	if s.udp != nil {
		return s.udp.close()
	}
	return s.stream.close()
}

// Probe connects. By UDP there is nobody to ask.
func (s *syslog) Probe(ctx context.Context) error {
	if s.udp != nil {
		return nil
	}
	return s.stream.probe(ctx)
}

// message appends one message. Its text is the sink's format, which holds no
// line break or control character.
func (s *syslog) message(dst []byte, ev *schemas.Event) []byte {
	dst = append(dst, '<')
	dst = strconv.AppendInt(dst, int64(s.conf.Facility*8+severity(ev)), 10)
	dst = append(dst, ">1 "...)
	dst = ev.When().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	dst = append(dst, s.head...)
	dst = append(dst, ev.Class.String()...)
	dst = append(append(dst, " ["...), s.conf.SDID...)
	dst = appendHex(append(dst, ` event_id="`...), ev.ID)
	dst = appendParam(append(dst, `" tenant="`...), ev.Tenant)
	dst = strconv.AppendUint(append(dst, `" shard="`...), uint64(ev.Shard), 10)
	dst = strconv.AppendUint(append(dst, `" offset="`...), ev.Offset, 10)
	dst = strconv.AppendUint(append(dst, `" index="`...), uint64(ev.Index), 10)
	dst = append(append(dst, `" digest="`...), ev.Digest.String()...)
	dst = append(dst, `"] `...)
	return s.format(dst, ev)
}

// Severities of syslog.
const (
	severityWarning = 4
	severityNotice  = 5
	severityInfo    = 6
)

func severity(ev *schemas.Event) int {
	switch {
	case ev.Class == schemas.ClassAlert, ev.Class == schemas.ClassHealth:
		return severityWarning
	case ev.Class == schemas.ClassControl:
		return severityNotice
	}
	return severityInfo
}

// maxParam bounds one value of the structured data.
const maxParam = 256

var paramEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

func appendParam(dst []byte, s string) []byte {
	return append(dst, paramEscaper.Replace(format.Plain(s, maxParam))...)
}
