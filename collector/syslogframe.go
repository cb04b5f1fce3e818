package collector

import (
	"bytes"
	"errors"
	"fmt"

	relayed "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/rfc3164"
	"github.com/leodido/go-syslog/v4/rfc5424"
)

// maxSyslogHead is what may stand before a message's text, bytes.
const maxSyslogHead = 16 << 10

// syslogFrame is a piece of a stream of syslog.
type syslogFrame struct {
	message []byte
	used    int  // bytes of the data; 0: there is no whole message in them yet
	cut     bool // the message goes on: it is too long
	skip    int  // bytes behind used that belong to it, if that is known
}

// nextFrame finds the first message in the data: by octet counting (RFC 6587,
// 3.4.1) if they begin with a digit, else up to a line feed. At the end of the
// stream an unfinished line is a message. The error says that the stream cannot
// be read any further.
func nextFrame(data []byte, most int, end bool) (syslogFrame, error) {
	if len(data) == 0 {
		return syslogFrame{}, nil
	}
	if data[0] < '1' || data[0] > '9' {
		return nextLine(data, most, end), nil
	}
	n, i := 0, 0
	for ; i < len(data) && data[i] >= '0' && data[i] <= '9'; i++ {
		if n = n*10 + int(data[i]-'0'); i == 9 {
			return syslogFrame{}, fmt.Errorf("the length of a message has more than %d digits", i)
		}
	}
	switch {
	case i == len(data) && end, i == len(data)-1 && end:
		return syslogFrame{}, errors.New("the stream breaks off behind the length of a message")
	case i == len(data):
		return syslogFrame{}, nil
	case data[i] != ' ':
		return syslogFrame{}, errors.New("a message begins with digits, but no space follows them: neither octet counting nor a line of syslog")
	}
	head := i + 1
	whole := head + n
	switch {
	case len(data) >= whole:
		return syslogFrame{message: data[head:whole], used: whole, cut: n > most}, nil
	case n > most && len(data) >= head+most:
		return syslogFrame{message: data[head : head+most], used: head + most, cut: true, skip: n - most}, nil
	case end:
		return syslogFrame{}, fmt.Errorf("the stream breaks off %d bytes before the end of a message", whole-len(data))
	}
	return syslogFrame{}, nil
}

// nextLine finds the first line.
func nextLine(data []byte, most int, end bool) syslogFrame {
	i := bytes.IndexByte(data, '\n')
	switch {
	case i >= 0:
		return syslogFrame{message: bytes.TrimRight(data[:i], "\r\x00"), used: i + 1, cut: i > most}
	case len(data) > most:
		return syslogFrame{message: data[:most], used: most, cut: true, skip: -1}
	case end:
		return syslogFrame{message: bytes.TrimRight(data, "\r\x00"), used: len(data)}
	}
	return syslogFrame{}
}

// syslogParser reads the heads of messages. It is not for concurrent use.
type syslogParser struct {
	modern, older interface {
		Parse(input []byte) (relayed.Message, error)
	}
}

func newSyslogParser() syslogParser {
	return syslogParser{rfc5424.NewParser(), rfc3164.NewParser()}
}

// text returns the text of a message, which is the record. A message whose head
// follows neither RFC 5424 nor RFC 3164 is text as a whole.
func (p syslogParser) text(message []byte) []byte {
	var text *string
	if m, err := p.modern.Parse(message); err == nil {
		text = m.(*rfc5424.SyslogMessage).Message
	} else if m, err := p.older.Parse(message); err == nil {
		text = m.(*rfc3164.SyslogMessage).Message
	} else {
		return message
	}
	if text == nil {
		return nil
	}
	return bytes.TrimPrefix([]byte(*text), []byte("\ufeff"))
}
