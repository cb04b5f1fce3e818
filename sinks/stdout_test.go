package sinks

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/agentrail/agentrail/schemas"
)

// openPipe opens the sink on one end of a pipe.
func openPipe(t *testing.T) (*os.File, *Forwarder, *stdout) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newStdout(stdoutConfig{Common: DefaultCommon()}, w)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { r.Close() })
	return r, newTestForwarder(t, s, func(o *Options) { o.Common = DefaultCommon() }), s
}

// TestStdoutIntoGzip pipes events into a program that is not ours and reads them
// back from what it made of them.
func TestStdoutIntoGzip(t *testing.T) {
	zip, unzip := exec.Command("gzip", "-c"), exec.Command("gzip", "-dc")
	r, fw, s := openPipe(t)
	zip.Stdin = r
	var err error
	if unzip.Stdin, err = zip.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := unzip.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*exec.Cmd{unzip, zip} {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
	}
	b := testBatch(1, 3000)
	b.Events[5].Tool, b.Events[6].Tool = "line\nbreak\r\n\x00", "\"}\u2028{"
	go func() {
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	got := map[string]string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var doc struct {
			ID   string `json:"event_id"`
			Tool string `json:"tool"`
		}
		if err := json.Unmarshal(lines.Bytes(), &doc); err != nil {
			t.Fatalf("%v: %q", err, lines.Text())
		}
		got[doc.ID] = doc.Tool
	}
	if err := errors.Join(unzip.Wait(), zip.Wait()); err != nil {
		t.Error(err)
	}
	for i := range b.Events {
		if tool, ok := got[b.Events[i].ID.String()]; !ok || tool != b.Events[i].Tool {
			t.Fatalf("event %d: arrived is %v, with tool %q", i, ok, tool)
		}
	}
	if len(got) != 3000 {
		t.Errorf("%d lines, want 3000", len(got))
	}
}

// TestStdoutReaderLeft holds the cursor; it neither drops nor ends the process.
func TestStdoutReaderLeft(t *testing.T) {
	r, _, s := openPipe(t)
	r.Close()
	_, err := s.Write(t.Context(), testBatch(1, 1).Events)
	if we := asWriteError(err); we.Kind != KindAuth || we.Code != "pipe" {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestStdoutReaderStuck gives up when it is told to, not when the reader reads.
func TestStdoutReaderStuck(t *testing.T) {
	r, _, s := openPipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		one := make([]byte, 1)
		if _, err := r.Read(one); err != nil { // the pipe is being filled
			t.Error(err)
		}
		cancel()
	}()
	if _, err := s.Write(ctx, testBatch(1, 1000).Events); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Write(ctx, testBatch(1, 1).Events); !errors.Is(err, context.Canceled) {
		t.Errorf("second write: got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	r.Close() // frees the write
	s.turn <- struct{}{}
	if err := s.f.Close(); err != nil {
		t.Error(err)
	}
}
