//go:build integration

package format_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// hostileEvents have each of the naughty texts in every field.
func hostileEvents() (evs []schemas.Event, of []string) {
	for i, text := range naughty {
		ev := schemas.Event{ID: schemas.ID{1, byte(i)}, Class: schemas.ClassActivity, Received: 1_764_000_001_000_000_000, Index: uint32(i)}
		for _, set := range texts {
			*set(&ev) = text
		}
		ev.Raw = []byte(text)
		evs = append(evs, ev)
	}
	return evs, naughty
}

// TestReadByLiblognorm has rsyslog's normalizer read lines back.
func TestReadByLiblognorm(t *testing.T) {
	normalizer, err := exec.LookPath("lognormalizer")
	if err != nil {
		t.Fatal("NOT RUN: no lognormalizer; apt-get install liblognorm-utils")
	}
	read := func(write format.Func, evs []schemas.Event, into func(line []byte)) {
		t.Helper()
		var in bytes.Buffer
		for i := range evs {
			in.Write(append(write(nil, &evs[i]), '\n'))
		}
		cmd := exec.Command(normalizer, "-r", "testdata/lognorm.rb", "-e", "json")
		cmd.Stdin = &in
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(bytes.TrimSuffix(out, []byte{'\n'}), []byte{'\n'})
		if len(lines) != len(evs) {
			t.Fatalf("%d lines for %d events", len(lines), len(evs))
		}
		for _, line := range lines {
			into(line)
		}
	}
	evs, texts := hostileEvents()
	i := 0
	read(format.CEF, evs, func(line []byte) {
		var got struct {
			CEF struct {
				Extensions map[string]string
			}
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		compareCEF(t, got.CEF.Extensions, "", &evs[i], texts[i])
		i++
	})
	i = 0
	read(format.LEEF, evs, func(line []byte) {
		var got struct{ Members []struct{ Key, Value string } }
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		members := map[string]string{}
		for _, m := range got.Members {
			members[m.Key] = unescape(m.Value, map[byte]string{'n': "\n", 'r': "\r", 'u': ""})
		}
		if members["event_id"] != evs[i].ID.String() || members["resource"] != string([]rune(texts[i])) || members["index"] != fmt.Sprint(i) {
			t.Errorf("%q arrived as %s", texts[i], line)
		}
		i++
	})
}

// compareCEF compares what a reader has made of a line.
func compareCEF(t *testing.T, got map[string]string, prefix string, ev *schemas.Event, text string) {
	t.Helper()
	for key, want := range map[string]string{"externalId": ev.ID.String(), "cs4": shown(text), "agentrailRaw": shown(text), "agentrailIndex": fmt.Sprint(ev.Index)} {
		if got[prefix+key] != want {
			t.Errorf("%s of %q arrived as %q, want %q", key, text, got[prefix+key], want)
		}
	}
}

// TestReadByVictoriaLogs has its parser of CEF read lines back.
// AGENTRAIL_VICTORIALOGS is the path of the binary that
// sinks/sinktest/victorialogs builds.
func TestReadByVictoriaLogs(t *testing.T) {
	binary := os.Getenv("AGENTRAIL_VICTORIALOGS")
	if binary == "" {
		t.Fatal("AGENTRAIL_VICTORIALOGS is not set; make integration builds the receiver and sets it")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command(binary, "-httpListenAddr="+addr, "-storageDataPath="+t.TempDir(), "-inmemoryDataFlushInterval=1s")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	base := "http://" + addr
	await(t, "receiver", func() bool {
		resp, err := http.Get(base + "/health")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	evs, texts := hostileEvents()
	cef, _ := format.Value("cef")
	var body []byte
	for i := range evs {
		body = append(append(cef(append(body, `{"_time":"0","_msg":`...), &evs[i]), '}'), '\n')
	}
	resp, err := http.Post(base+"/insert/jsonline", "application/stream+json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("insert: %s", resp.Status)
	}
	var got map[string]map[string]string
	await(t, "events", func() bool {
		resp, err := http.PostForm(base+"/select/logsql/query", url.Values{"query": {"* | unpack_syslog"}})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got = map[string]map[string]string{}
		for r := bufio.NewReader(resp.Body); ; {
			line, err := r.ReadBytes('\n')
			if err == io.EOF {
				return len(got) >= len(evs)
			}
			var row map[string]string
			if err := json.Unmarshal(line, &row); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			got[row["cef.extension.agentrailIndex"]] = row
		}
	})
	for i := range evs {
		compareCEF(t, got[fmt.Sprint(i)], "cef.extension.", &evs[i], texts[i])
	}
	if len(got) != len(evs) {
		t.Errorf("%d events arrived, want %d", len(got), len(evs))
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s did not come", what)
		}
	}
}
