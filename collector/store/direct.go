package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/agentrail/agentrail/collector/store/engine"
)

// direct inserts into the embedded engine over its socket. Rows go out while
// they are encoded; the driver would hold them in memory three times over.
type direct struct {
	client *http.Client
	key    string
}

func newDirect(e *engine.Supervisor) *direct {
	return &direct{key: e.Secret(engine.UserWriter), client: &http.Client{Transport: &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Dial(ctx) },
		MaxIdleConnsPerHost:   2,
		WriteBufferSize:       64 << 10,
		ResponseHeaderTimeout: 5 * time.Minute,
	}}}
}

func (d *direct) close() { d.client.CloseIdleConnections() }

// insert sends what encode writes as the data of an INSERT. It returns nil once
// the engine has the rows on disk. The engine takes the data whole or not at
// all: a body that breaks off is no insert.
func (d *direct) insert(ctx context.Context, sql string, settings map[string]any, mem *scratch, encode func(*encoder)) error {
	q := url.Values{"query": {sql + " FORMAT Native"}}
	for name, value := range settings {
		q.Set(name, fmt.Sprint(value))
	}
	body, w := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine/?"+q.Encode(), body)
	if err != nil {
		return err
	}
	req.SetBasicAuth(engine.UserWriter, d.key)
	encoded := make(chan struct{})
	go func() {
		defer close(encoded)
		_ = w.CloseWithError(mem.write(w, encode))
	}()
	resp, err := d.client.Do(req)
	_ = body.Close() // ends the encoder where the engine did not want everything
	<-encoded
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	switch err = errors.Join(err, resp.Body.Close()); {
	case err != nil:
		return fmt.Errorf("read the engine's answer: %w", err)
	case resp.StatusCode != http.StatusOK || len(text) > 0: // an INSERT answers nothing
		return fmt.Errorf("engine: %s: %s", resp.Status, text)
	}
	return nil
}

// write encodes into w through a buffer that is used again.
func (s *scratch) write(w io.Writer, encode func(*encoder)) error {
	if s.buf == nil {
		s.buf = make([]byte, 0, nativeBuffer)
	}
	e := &encoder{w: w, buf: s.buf}
	encode(e)
	return e.flush()
}
