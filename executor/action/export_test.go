package action

import (
	"context"
	"net"
	"strings"
)

// Dial connects as every call does.
func Dial(ctx context.Context, host string) error {
	if !strings.Contains(host, ":") || strings.Count(host, ":") > 1 {
		host = net.JoinHostPort(host, "80")
	}
	c, err := newTransport().DialContext(ctx, "tcp", host)
	if err != nil {
		return err
	}
	return c.Close()
}

// Fill fills a path and a body, for the fuzzer.
func Fill(d Call, raw []byte) (path string, err error) {
	args, err := d.arguments(raw)
	if err != nil {
		return "", err
	}
	return fillPath(d.URL, args)
}

// ReadAnswer reads a chat completion, for the fuzzer.
var ReadAnswer = readAnswer
