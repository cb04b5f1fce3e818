package alerting_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/agentrail/agentrail/schemas"
)

// mailbox is an SMTP server that keeps what it is given.
type mailbox struct {
	mu    sync.Mutex
	mails []string // envelope and data
}

func (b *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{b: b}, nil }

func (b *mailbox) all() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.mails, "\n----\n")
}

type session struct {
	b        *mailbox
	envelope string
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.envelope = "from " + from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.envelope += " to " + to
	return nil
}

func (s *session) Data(r io.Reader) error {
	doc, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.mails = append(s.b.mails, s.envelope+"\n"+string(doc))
	return nil
}

func (s *session) Reset()        { s.envelope = "" }
func (s *session) Logout() error { return nil }

// TestMail sends by real SMTP what Alertmanager's own template makes of it.
func TestMail(t *testing.T) {
	box := &mailbox{}
	srv := smtp.NewServer(box)
	srv.Domain = "mail.test"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-served })
	r := newRig(t, t.TempDir(), `
global: {smtp_smarthost: '`+l.Addr().String()+`', smtp_from: agentrail@example.com, smtp_require_tls: false}
route: {receiver: soc, group_by: ['...'], group_wait: 20ms, group_interval: 100ms, repeat_interval: 1h}
receivers: [{name: soc, email_configs: [{to: soc@example.com, send_resolved: true, headers: {Subject: '{{ .CommonAnnotations.title }}: {{ .CommonAnnotations.reason }}'}}]}]
`, nil)
	r.transition("bot", schemas.TransitionOpen, func(a *schemas.Alert) { a.Title = "Burst\r\nBcc: everybody@example.com" })
	await(t, box.all, func() bool { return strings.Count(box.all(), "from agentrail@example.com to soc@example.com") == 1 })
	for _, want := range []string{"30 tool executions in 5 min", "entity_id", "ana@example.com", "https://agentrail.example/alerts/abot"} {
		if !strings.Contains(unfolded(box.all()), want) {
			t.Errorf("the mail has no %q:\n%s", want, box.all())
		}
	}
	if strings.Contains(box.all(), "\nBcc:") {
		t.Errorf("a title became a header, or looks like one:\n%s", box.all())
	}
	r.transition("bot", schemas.TransitionResolve, nil)
	await(t, box.all, func() bool { return strings.Count(box.all(), "from agentrail@example.com to soc@example.com") == 2 })
}

// unfolded takes out the line ends of quoted-printable.
func unfolded(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "=\r\n", ""), "=\n", "")
}
