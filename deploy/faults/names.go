package main

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
)

// names is a name server of this process, which the process itself asks: names
// are unknown until somebody tells where they lead.
type names struct {
	conn net.PacketConn
	done sync.WaitGroup

	mu    sync.Mutex
	known map[string]bool // all lead to 127.0.0.1
}

// serveNames starts the server and makes it that of the process.
func serveNames() (*names, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &names{conn: conn, known: map[string]bool{}}
	n.done.Go(n.serve)
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	return n, nil
}

// learn makes the name known.
func (n *names) learn(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[name] = true
}

func (n *names) close() error {
	err := n.conn.Close()
	n.done.Wait()
	return err
}

func (n *names) serve() {
	buf := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if answer := n.answer(buf[:size]); answer != nil {
			_, _ = n.conn.WriteTo(answer, from) // who hears nothing asks again
		}
	}
}

// Of DNS (RFC 1035): the flags of an answer, without and with the code for a
// name that does not exist, and the type of an address.
const (
	dnsHead    = 12
	dnsAnswer  = 0x8580
	dnsUnknown = 0x8583
	dnsA       = 1
)

// answer is for one question about an address; nil for what is none.
func (n *names) answer(q []byte) []byte {
	if len(q) < dnsHead {
		return nil
	}
	var labels []string
	at := dnsHead
	for at < len(q) && q[at] != 0 {
		end := at + 1 + int(q[at])
		if end > len(q) {
			return nil
		}
		labels = append(labels, string(q[at+1:end]))
		at = end
	}
	if at += 5; at > len(q) { // the root, type and class
		return nil
	}
	n.mu.Lock()
	known := n.known[strings.ToLower(strings.Join(labels, "."))]
	n.mu.Unlock()
	out := make([]byte, dnsHead, at+16)
	copy(out, q[:2])
	binary.BigEndian.PutUint16(out[2:], dnsUnknown)
	binary.BigEndian.PutUint16(out[4:], 1)
	out = append(out, q[dnsHead:at]...)
	if !known {
		return out
	}
	binary.BigEndian.PutUint16(out[2:], dnsAnswer)
	if binary.BigEndian.Uint16(q[at-4:]) != dnsA {
		return out
	}
	binary.BigEndian.PutUint16(out[6:], 1)
	return append(out, 0xc0, dnsHead, 0, dnsA, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
}
