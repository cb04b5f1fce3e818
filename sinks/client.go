package sinks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/agentrail/agentrail/internal/tlsconf"
)

// ClientFactory makes the HTTP client of one sink, for up to conns requests at
// once.
type ClientFactory func(t TLS, conns int) (*http.Client, error)

// TLS says how a sink trusts its receiver and shows itself.
type TLS = tlsconf.Client

// Limits of one exchange with a receiver.
const (
	dialTimeout   = 10 * time.Second
	answerLimit   = 256 << 10 // bytes of an answer that are read
	maxRetryAfter = 5 * time.Minute
)

// NewClient makes a client that never follows a redirect, uses no proxy and
// refuses to connect to link-local addresses, where clouds serve credentials.
// Private addresses are allowed: the operator wrote the URL.
func NewClient(t TLS, conns int) (*http.Client, error) {
	conf, err := t.Config()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: refuseMetadata}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         dialer.DialContext,
			TLSClientConfig:     conf,
			TLSHandshakeTimeout: dialTimeout,
			MaxIdleConns:        conns,
			MaxIdleConnsPerHost: conns,
			IdleConnTimeout:     90 * time.Second,
			WriteBufferSize:     64 << 10,
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// errMetadata is never cured by a retry, yet it is tried again: names move.
var errMetadata = errors.New("address is link-local, where clouds serve credentials; refused")

// refuseMetadata looks at the address that a name resolved to, so that no
// change of DNS gets round it.
func refuseMetadata(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	host, _, _ = strings.Cut(host, "%")
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return fmt.Errorf("parse address: %w", err)
	}
	if metadata(ip) {
		return errMetadata
	}
	return nil
}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour  = netip.MustParsePrefix("2002::/16")
	awsIMDSv6  = netip.MustParseAddr("fd00:ec2::254")
	alibabaMDS = netip.MustParseAddr("100.100.100.200")
)

func metadata(ip netip.Addr) bool {
	ip = ip.Unmap()
	switch b := ip.As16(); {
	case nat64.Contains(ip):
		ip = netip.AddrFrom4([4]byte(b[12:]))
	case sixToFour.Contains(ip):
		ip = netip.AddrFrom4([4]byte(b[2:6]))
	}
	return ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip == awsIMDSv6 || ip == alibabaMDS
}

// parseURL checks a receiver's URL as far as that goes without resolving it.
func parseURL(key, raw string) (*url.URL, error) {
	if raw == "" {
		return nil, fmt.Errorf("%s: is missing", key)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: is not a URL", key) // the text may hold a password
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%s: scheme %q is neither http nor https", key, u.Scheme)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%s: names no host", key)
	case u.User != nil:
		return nil, fmt.Errorf("%s: holds a user name or password; use the secret's own key", key)
	case u.Fragment != "":
		return nil, fmt.Errorf("%s: has a fragment", key)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && metadata(ip) {
		return nil, fmt.Errorf("%s: %w", key, errMetadata)
	}
	return u, nil
}

// answer is what a receiver said.
type answer struct {
	status int
	header http.Header
	body   []byte // at most as much as was asked for
}

// exchange sends the request and reads the answer. An error is one of the
// network, without the URL, which may be a secret.
func exchange(c *http.Client, req *http.Request) (answer, error) {
	return exchangeUpTo(c, req, answerLimit)
}

// exchangeUpTo is exchange for answers of up to limit bytes; of a longer one
// the beginning is returned.
func exchangeUpTo(c *http.Client, req *http.Request, limit int64) (answer, error) {
	resp, err := c.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err != nil {
		return answer{}, fmt.Errorf("read answer: %w", err)
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

// retryAfter reads the header of that name, in seconds or as a date, capped at
// five minutes. 0 means that it says nothing usable.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if digits := strings.TrimLeft(v, "0123456789"); digits == "" {
		s, err := strconv.ParseInt(v, 10, 32)
		if err != nil {
			return maxRetryAfter // more seconds than fit
		}
		return min(time.Duration(s)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// networkFailure is the WriteError of a request that got no answer: a timeout if
// a deadline has passed, ours or the request's; cancelled if nobody waits for it.
func networkFailure(ctx context.Context, err error) *WriteError {
	code := "network"
	var ne net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		code = "timeout"
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		code = "cancelled"
	}
	return &WriteError{Kind: KindRetry, Code: code, Err: err}
}
