package main

import (
	"errors"
	"io/fs"
	"net"
	"syscall"
)

// freeAddress returns addr, or the same host with port 0 if the port is taken
// or not allowed.
func freeAddress(addr string, v *upView) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return addr, l.Close()
	}
	host, port, serr := net.SplitHostPort(addr)
	why := ""
	switch {
	case serr != nil || port == "0":
	case errors.Is(err, syscall.EADDRINUSE):
		why = "is taken"
	case errors.Is(err, fs.ErrPermission):
		why = "is not allowed"
	}
	if why == "" {
		return "", hintf("name one with --listen, such as 127.0.0.1:7680, [::1]:7680 or :7680", "listen: %w", err)
	}
	v.line("listening  %s %s; using a free port instead", addr, why)
	return net.JoinHostPort(host, "0"), nil
}

// serverURL is where a client of this machine reaches a listener.
func serverURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		host = "localhost"
		if ip.To4() != nil {
			host = "127.0.0.1"
		}
		addr = net.JoinHostPort(host, port)
	}
	return "http://" + addr
}
