package collector

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
)

const (
	syslogBatch     = 4 << 20 // bytes of the messages of one batch
	syslogHandshake = 10 * time.Second
	packetLinger    = 50 * time.Millisecond // for more packets of one batch
	maxPacket       = 64 << 10
)

// serve reads one sender until it closes or ctx ends. While the journal takes
// nothing nothing is read, so that the sender waits.
func (s *syslog) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	from := conn.RemoteAddr().String()
	if s.tls != nil {
		secure := tls.Server(conn, s.tls)
		hctx, done := context.WithTimeout(ctx, syslogHandshake)
		err := secure.HandshakeContext(hctx)
		done()
		if err != nil {
			s.log.Warn("a sender was refused", "from", from, "why", err)
			s.metrics.requests.WithLabelValues(s.name, "403").Inc()
			return
		}
		conn = secure
	}
	s.metrics.requests.WithLabelValues(s.name, "200").Inc()
	r := &syslogReader{syslog: s, parser: newSyslogParser(), from: from}
	if err := r.read(ctx, conn); err != nil && ctx.Err() == nil {
		s.log.Warn("a sender's stream ended", "from", from, "why", err)
	}
}

// syslogReader makes batches of what one sender writes.
type syslogReader struct {
	*syslog
	parser syslogParser
	from   string
	data   []byte // read, not yet taken
	skip   int    // bytes to pass over; -1: up to a line feed
	batch  delivery
}

// read takes all messages that are there whenever something has come.
func (r *syslogReader) read(ctx context.Context, conn io.Reader) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		r.data = append(r.data, buf[:n]...)
		end := err != nil
		if broken := r.take(ctx, end); broken != nil {
			return broken
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// take takes all whole messages of the data and stores them.
func (r *syslogReader) take(ctx context.Context, end bool) error {
	most := int(r.cfg.MaxRecord) + maxSyslogHead
	var broken error
	used := 0
	for {
		used += r.pass(r.data[used:])
		if r.skip != 0 {
			break
		}
		f, err := nextFrame(r.data[used:], most, end)
		if err != nil {
			broken = err
			rest := r.data[used:]
			r.tooBad(ctx, rest, decode.CodeTruncated, err.Error())
			used = len(r.data)
			break
		}
		if f.used == 0 {
			break
		}
		used += f.used
		r.skip = f.skip
		switch {
		case f.cut:
			r.tooBad(ctx, f.message, decode.CodeTooLarge, fmt.Sprintf("the message has more than %d bytes", most))
		default:
			r.message(ctx, f.message)
		}
	}
	r.data = append(r.data[:0], r.data[used:]...)
	r.flush(ctx)
	return errors.Join(broken, ctx.Err())
}

// pass returns how many bytes of the data belong to a message that was cut.
func (r *syslogReader) pass(data []byte) int {
	n := 0
	switch {
	case r.skip < 0:
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return len(data)
		}
		n, r.skip = i+1, 0
	case r.skip > 0:
		n = min(r.skip, len(data))
		r.skip -= n
	}
	return n
}

// message adds one message to the batch. Empty ones, which some senders write
// to see whether somebody is there, hold nothing.
func (r *syslogReader) message(ctx context.Context, m []byte) {
	text := r.parser.text(m)
	if len(bytes.TrimSpace(text)) == 0 {
		r.metrics.skip(r.name, "empty", 1)
		return
	}
	r.batch.add("", text)
	if len(r.batch.body) >= syslogBatch || len(r.batch.ends) >= maxLines {
		r.flush(ctx)
	}
}

// flush stores the batch, however long that takes.
func (r *syslogReader) flush(ctx context.Context) {
	if len(r.batch.ends) == 0 {
		return
	}
	d := r.batch
	r.batch = delivery{}
	_ = insist(ctx, r.log, func() error {
		b := newBatch(r.tenant, r.name, r.cfg.Log, typeJSON, r.now(), d.body)
		rejects, err := r.mapping.Read(b, decode.Limits{RecordBytes: int(r.cfg.MaxRecord), Ends: d.ends})
		if len(b.Records) == 0 { // cannot be: a part without a record is one that is rejected
			r.log.Error("messages are lost", "messages", len(d.ends), "error", err)
			return nil
		}
		for i := range rejects {
			rejects[i].Reason = r.from + ": " + rejects[i].Reason
		}
		b.ID = batchID(b, "")
		k, err := keep(ctx, r.append, b, rejects)
		if err == nil {
			r.metrics.count(r.name, k, len(d.body), rejects)
		}
		return err
	})
}

// tooBad keeps what cannot be read as a dead letter, in its order among the
// messages.
func (r *syslogReader) tooBad(ctx context.Context, raw []byte, code, why string) {
	r.flush(ctx)
	raw = bytes.Clone(raw[:min(len(raw), int(r.cfg.MaxRecord))])
	if len(raw) == 0 {
		return
	}
	_ = insist(ctx, r.log, func() error {
		b := newBatch(r.tenant, r.name, r.cfg.Log, typeJSON, r.now(), raw)
		rejects := r.mapping.Refuse(b, decode.Limits{}, code, fmt.Sprintf("%s: %s; %d bytes of it are kept", r.from, why, len(raw)))
		b.ID = batchID(b, "")
		k, err := keep(ctx, r.append, b, rejects)
		if err == nil {
			r.metrics.count(r.name, k, len(raw), rejects)
		}
		return err
	})
}

// packets reads UDP: each packet is one message.
func (s *syslog) packets(ctx context.Context) error {
	pc, err := net.ListenPacket("udp", s.cfg.Address)
	if err != nil {
		return fmt.Errorf("listen for syslog: %w; name another address under address: of the source", err)
	}
	s.log.Info("listening", "addr", pc.LocalAddr().String(), "transport", s.cfg.Transport)
	defer pc.Close()
	defer context.AfterFunc(ctx, func() { pc.Close() })()
	r := &syslogReader{syslog: s, parser: newSyslogParser(), from: "udp"}
	buf := make([]byte, maxPacket)
	for {
		n, from, err := pc.ReadFrom(buf)
		switch {
		case ctx.Err() != nil:
			r.flush(context.WithoutCancel(ctx))
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listen for syslog: %w", err)
		case err != nil: // nothing came for a moment, or a packet was bad
			r.flush(ctx)
			_ = pc.SetReadDeadline(time.Time{})
			continue
		case !s.allowed(from):
			s.metrics.requests.WithLabelValues(s.name, "403").Inc()
			continue
		}
		if len(r.batch.ends) == 0 {
			_ = pc.SetReadDeadline(time.Now().Add(packetLinger))
		}
		r.message(ctx, bytes.TrimRight(buf[:n], "\r\n\x00"))
		if len(r.batch.ends) == 0 {
			_ = pc.SetReadDeadline(time.Time{})
		}
	}
}
