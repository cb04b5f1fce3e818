package response

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// answerLimit is how much of an answer is read.
const answerLimit = 256 << 10

// newClient makes a client that never follows a redirect, uses no proxy and
// refuses to connect to link-local addresses, where clouds serve credentials.
// Private addresses are allowed: the operator wrote the URL.
func newClient() *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return err
		}
		host, _, _ = strings.Cut(host, "%")
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return fmt.Errorf("parse address: %w", err)
		}
		if ip = ip.Unmap(); ip.IsLinkLocalUnicast() || ip.IsMulticast() {
			return errors.New("address is link-local, where clouds serve credentials; refused")
		}
		return nil
	}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: laneWidth, IdleConnTimeout: 90 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// exchange makes one request and returns the status and what may be read of
// the answer. Errors hold neither the URL nor a header: both may be secret.
func exchange(ctx context.Context, client *http.Client, timeout time.Duration, method, target string, header http.Header, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return 0, nil, errors.New("make request: method or url is not usable")
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return 0, nil, fmt.Errorf("call platform: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	if err != nil {
		return 0, nil, fmt.Errorf("read answer of platform: %w", err)
	}
	if len(answer) > answerLimit {
		return 0, nil, fmt.Errorf("answer of platform is larger than %d bytes", answerLimit)
	}
	return resp.StatusCode, answer, nil
}

// statusError says what a status asks for: nothing, another try, or a person.
func statusError(status int) error {
	switch {
	case status/100 == 2:
		return nil
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusConflict, status >= 500:
		return fmt.Errorf("platform answers %d %s", status, http.StatusText(status))
	case status/100 == 3:
		return fmt.Errorf("%w: platform answers %d to another place, which is not followed", ErrRefused, status)
	}
	return fmt.Errorf("%w: platform answers %d %s", ErrRefused, status, http.StatusText(status))
}

// checkURL checks the URL of a platform.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return errors.New("url: is missing")
	case err != nil:
		return errors.New("url: is not a URL") // the text may hold a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return errors.New("url: write http or https and a host")
	case u.User != nil || u.Fragment != "":
		return errors.New("url: holds a user name, password or fragment")
	}
	return nil
}

// said is the state in an answer {"state": "in_force"}. Anything else is
// unknown.
func said(answer []byte) State {
	var doc struct {
		State State `json:"state"`
	}
	if err := json.Unmarshal(answer, &doc); err != nil || doc.State != InForce && doc.State != Active {
		return Unknown
	}
	return doc.State
}
