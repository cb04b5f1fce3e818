package sinks

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// ErrUnconfirmed is returned by Receipt.Wait when it turns out that the
// receiver does not confirm: the events count as accepted.
var ErrUnconfirmed = errors.New("receiver does not confirm deliveries")

// firstAckPause is the wait after the first question; it doubles up to
// ack_poll.
const firstAckPause = 50 * time.Millisecond

// confirm asks until the indexer says that the request is indexed. "true" is
// said once and "false" also means that the id is not known, so a lost answer
// ends in the time-out, and the events are sent again on another channel.
func (s *splunk) confirm(ctx context.Context, ch *channel, id int64) error {
	waiting, cancel := context.WithTimeout(ctx, time.Duration(s.conf.AckTimeout))
	defer cancel()
	for pause := firstAckPause; ; pause = min(pause*2, time.Duration(s.conf.AckPoll)) {
		done, err := s.askAck(waiting, ch, id)
		if done {
			s.channels.giveBack(ch)
			return nil
		}
		if we, ok := errors.AsType[*WriteError](err); ok {
			if we.Code == "hec_14" {
				s.ackOff.Store(true)
				s.sayUnacknowledged(ctx)
				return ErrUnconfirmed
			}
			if we.Kind == KindAuth {
				return err
			}
			pause = max(pause, we.RetryAfter)
		}
		if sleep(waiting, pause) == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &WriteError{
			Kind: KindRetry, Code: "ack_timeout",
			Err: fmt.Errorf("no acknowledgement within %v; sent again with the same event ids", time.Duration(s.conf.AckTimeout)),
		}
	}
}

func (s *splunk) askAck(ctx context.Context, ch *channel, id int64) (bool, error) {
	p := newPayload()
	defer p.release()
	p.buf = append(strconv.AppendInt(append(p.buf, `{"acks":[`...), id, 10), `]}`...)
	a, err := s.post(ctx, s.ackURL(ch), ch, p)
	if err != nil {
		return false, networkFailure(ctx, err)
	}
	if a.status != http.StatusOK {
		return false, hecFailure(a)
	}
	var said struct {
		Acks map[string]bool `json:"acks"`
	}
	if err := json.Unmarshal(a.body, &said); err != nil {
		return false, &WriteError{Kind: KindRetry, Code: "bad_answer", Err: fmt.Errorf("read acknowledgements: %w", err)}
	}
	return said.Acks[strconv.FormatInt(id, 10)], nil
}

// channel is a HEC data channel and the cookies that lead to the indexer behind
// a load balancer which took its last request.
type channel struct {
	id      string
	cookies []*http.Cookie
}

// keepCookies remembers what the load balancer set, for the questions about
// this request and for the next request. What it does not name again stays.
// The answers to questions are not looked at: of one that went astray the
// cookies would lead away from the indexer that made the promise.
func (ch *channel) keepCookies(h http.Header) {
	for _, c := range (&http.Response{Header: h}).Cookies() {
		ch.cookies = slices.DeleteFunc(ch.cookies, func(old *http.Cookie) bool { return old.Name == c.Name })
		if c.MaxAge >= 0 && c.Value != "" {
			ch.cookies = append(ch.cookies, c)
		}
	}
}

// cookie is the value of the header, empty without a load balancer.
func (ch *channel) cookie() string {
	var parts []string
	for _, c := range ch.cookies {
		parts = append(parts, c.Name+"="+c.Value)
	}
	return strings.Join(parts, "; ")
}

// channelPool lends channels. One whose write failed is not given back: a new
// one makes sure that no answer of the old write is taken for one of a new.
type channelPool struct {
	mu   sync.Mutex
	free []*channel
}

func (p *channelPool) lease() *channel {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		ch := p.free[n-1]
		p.free = p.free[:n-1]
		return ch
	}
	return &channel{id: newGUID()}
}

func (p *channelPool) giveBack(ch *channel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, ch)
}

// newGUID returns a random UUID, version 4.
func newGUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func appendHex(dst []byte, id schemas.ID) []byte { return hex.AppendEncode(dst, id[:]) }

// validHeader reports whether s may stand in a header field.
func validHeader(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
