package brake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// message is one server-sent event.
type message struct {
	name string
	data string
	id   uint64 // of the batch that is at its end with this message
	last bool   // there is an id
}

// maxLine is the longest line of a stream, bytes.
const maxLine = 16 << 20

// parse calls yield for each message of a stream, and for each id that comes
// without one, until the stream ends, which is an error, or yield returns one.
func parse(r io.Reader, alive func(), yield func(message) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxLine)
	var m message
	for sc.Scan() {
		alive()
		line := sc.Text()
		if line == "" {
			if m.name != "" || m.last {
				if err := yield(m); err != nil {
					return err
				}
			}
			m = message{}
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			m.name = value
		case "data":
			m.data += value
		case "id":
			if id, err := strconv.ParseUint(value, 10, 63); err == nil {
				m.id, m.last = id, true
			}
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	return io.ErrUnexpectedEOF
}

// errSilent says that nothing came although the server says something each
// second: the connection is dead, and what may still come out of it is old.
var errSilent = errors.New("the server is silent")

// read opens the stream at an offset and calls yield for each message.
func (b *Brake) read(ctx context.Context, client *http.Client, from uint64, yield func(message) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(b.o.Silence, func() { cancel(errSilent) })
	defer silence.Stop()
	classes := "control"
	if b.o.OnAlert != nil {
		classes = "control,alert"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/agentrail/v1/stream?class=%s&position=1s&from=%d", b.o.Server, classes, from), nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+b.o.Token)
	resp, err := client.Do(req)
	if err == nil {
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
			return fmt.Errorf("open stream: server answered %s: %s; the token needs the role executor", resp.Status, text)
		}
		err = parse(resp.Body, func() { silence.Reset(b.o.Silence) }, yield)
	}
	if why := context.Cause(ctx); errors.Is(why, errSilent) {
		return fmt.Errorf("follow stream: %w", why)
	}
	if err != nil {
		return fmt.Errorf("follow stream: %w", err)
	}
	return nil
}
