package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// receiver is a counting receiver as a process of its own.
type receiver struct {
	*process
	url, wire string
}

// startReceiver starts one that speaks HTTP and, unless it is empty, wire.
func startReceiver(ctx context.Context, dir, wire string) (*receiver, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	r := &receiver{url: "http://" + addr}
	args := []string{self, "-siem", addr}
	if wire != "" {
		if r.wire, err = freePort(); err != nil {
			return nil, err
		}
		args = append(args, "-wire", wire+"@"+r.wire)
	}
	if r.process, err = start(filepath.Join(dir, "siem.log"), args...); err != nil {
		return nil, err
	}
	if err := waitReady(ctx, r.url+"/stats", r.process); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

// fill puts the receiver's addresses where a configuration says HTTP, WIRE and
// PORT, the last being that of WIRE.
func (r *receiver) fill(conf string) string {
	_, port, _ := net.SplitHostPort(r.wire)
	return strings.NewReplacer("HTTP", r.url, "WIRE", r.wire, "PORT", port).Replace(conf)
}

// stats returns what has come.
func (r *receiver) stats() (t counts, err error) {
	err = getJSON(r.url+"/stats", "", &t)
	return t, err
}
