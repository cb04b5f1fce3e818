package sinktest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Message is one message of RFC 5424.
type Message struct {
	Priority        int
	Time            time.Time
	Host, App, Kind string            // Kind is the MSGID
	Data            map[string]string // of the one element SDID
	SDID            string
	Text            string
}

// Hangup is what a syslog receiver does to a connection. The zero value reads
// on.
type Hangup struct {
	After int  // close after so many messages; what else has come is not read
	Stuck bool // never read
}

// Syslog receives RFC 5424 with octet counting, as RFC 6587 and 5425 have it.
// It takes nothing that is not as these say.
type Syslog struct {
	Script func(conn int) Hangup // nil: reads on

	mu         sync.Mutex
	conns      int
	got        []Message
	violations []string
	open       sync.WaitGroup
	live       map[net.Conn]bool
	down       bool
}

// Serve accepts until the listener is closed.
func (s *Syslog) Serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		n := s.conns
		s.conns++
		if s.live == nil {
			s.live = map[net.Conn]bool{}
		}
		s.live[conn] = true
		if s.down {
			_ = conn.Close()
		}
		s.open.Add(1)
		s.mu.Unlock()
		go func() {
			defer s.open.Done()
			s.read(n, conn)
		}()
	}
}

// Close ends all connections.
func (s *Syslog) Close() {
	s.mu.Lock()
	s.down = true
	for c := range s.live {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.open.Wait()
}

func (s *Syslog) read(n int, conn net.Conn) {
	var h Hangup
	if s.Script != nil {
		h = s.Script(n)
	}
	if h.Stuck {
		return // Close ends it
	}
	defer conn.Close()
	if t, ok := conn.(*tls.Conn); ok && t.Handshake() != nil {
		return
	}
	in := bufio.NewReaderSize(conn, 64)
	for i := 0; h.After == 0 || i < h.After; i++ {
		frame, err := readFrame(in)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				var ne net.Error
				if !errors.As(err, &ne) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed) {
					s.violate("frame: %v", err)
				}
			}
			return
		}
		s.Take(frame)
	}
}

// readFrame reads LENGTH SP MESSAGE.
func readFrame(in *bufio.Reader) (string, error) {
	head, err := in.ReadString(' ')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(head, " "))
	if err != nil || n < 1 || n > 1<<20 || head[0] == '0' {
		return "", fmt.Errorf("length %q", head)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(in, b)
	return string(b), err
}

// Take reads one message, as it came in a frame or a datagram.
func (s *Syslog) Take(text string) {
	m, err := ParseSyslog(text)
	if err != nil {
		s.violate("%v in %.300q", err, text)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, m)
}

func (s *Syslog) violate(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

var (
	syslogHead = regexp.MustCompile(`^<(0|[1-9][0-9]{0,2})>1 ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) \[([!#-<>-\\^-~]{1,32})`)
	syslogPair = regexp.MustCompile(`^ ([!#-<>-\\^-~]{1,32})="((?:[^"\\\]]|\\["\\\]])*)"`)
	unescape   = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\]`, `]`)
)

// ParseSyslog reads a message with exactly one element of structured data.
func ParseSyslog(text string) (Message, error) {
	h := syslogHead.FindStringSubmatch(text)
	if h == nil {
		return Message{}, errors.New("no header")
	}
	m := Message{Host: h[3], App: h[4], Kind: h[6], SDID: h[7], Data: map[string]string{}}
	var err error
	if m.Priority, err = strconv.Atoi(h[1]); err != nil || m.Priority > 191 {
		return Message{}, errors.New("priority")
	}
	if m.Time, err = time.Parse(time.RFC3339, h[2]); err != nil {
		return Message{}, err
	}
	rest := text[len(h[0]):]
	for {
		p := syslogPair.FindStringSubmatch(rest)
		if p == nil {
			break
		}
		if _, twice := m.Data[p[1]]; twice || !utf8.ValidString(p[2]) {
			return Message{}, fmt.Errorf("parameter %s", p[1])
		}
		m.Data[p[1]] = unescape.Replace(p[2])
		rest = rest[len(p[0]):]
	}
	var ok bool
	if m.Text, ok = strings.CutPrefix(rest, "] "); !ok {
		return Message{}, errors.New("structured data")
	}
	if !utf8.ValidString(m.Text) || strings.ContainsAny(text, "\n\r\x00") {
		return Message{}, errors.New("text")
	}
	return m, nil
}

// Messages returns what came, in order.
func (s *Syslog) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Message(nil), s.got...)
}

// Connections returns how many connections were made.
func (s *Syslog) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// Violations returns what senders did that is not as documented.
func (s *Syslog) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.violations...)
}
