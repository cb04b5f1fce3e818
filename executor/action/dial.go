package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// errForbidden says that an address is not one that calls are made to.
var errForbidden = errors.New("the address is link-local or of a metadata service; calls never go there")

// metadata are addresses of metadata services that are not link-local.
var metadata = []netip.Addr{netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"), netip.MustParseAddr("168.63.129.16"), netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254")}

// nat64 is the prefix behind which the last four bytes are an IPv4 address.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// forbidden reports whether the host is an address that is never called.
func forbidden(host string) bool {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	a = a.WithZone("").Unmap()
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	return a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || slices.Contains(metadata, a)
}

// newTransport calls no forbidden address, whatever a name resolves to, follows
// no proxy, and holds few connections.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return err
		}
		if forbidden(host) {
			return fmt.Errorf("dial %s: %w", host, errForbidden)
		}
		return nil
	}}
	return &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true,
		MaxIdleConns: 16, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
}

// newClient follows no redirect: a credential goes where the operator said.
func newClient(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// limited is a body that fails with ErrTooLarge past so many bytes, and says so.
type limited struct {
	io.ReadCloser
	left int
	over func()
	done func() // called by Close
}

func (l *limited) Close() error {
	defer l.done()
	return l.ReadCloser.Close()
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		n, err := l.ReadCloser.Read(make([]byte, 1))
		if n == 0 {
			return 0, err
		}
		l.over()
		return 0, ErrTooLarge
	}
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
