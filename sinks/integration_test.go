//go:build integration

package sinks

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// TestSplunkIntoVictoriaLogs sends to a collector that is not ours and reads
// back by its own query language. AGENTRAIL_VICTORIALOGS is the path of the
// binary that sinks/sinktest/victorialogs builds.
func TestSplunkIntoVictoriaLogs(t *testing.T) {
	base := startVictoriaLogs(t)
	for _, fields := range []string{"gzip: true", "gzip: false\ncontent: true"} {
		_, fw := openTest(t, "splunk", "token: any\nhost: h1\nindex: "+t.Name()+"\nbatch: {max_events: 700}\nurl: "+base+"\n"+fields, nil)
		b := testBatch(uint64(len(fields)), 3000)
		for i, text := range []string{"line\nbreak", "\x00", "\u202egnirts", "\"},{\"event\":\"forged\"}", "\xff\xfe", "😍"} {
			b.Events[i].Target = text
		}
		now := time.Now().UnixNano()
		for i := range b.Events {
			b.Events[i].Time, b.Events[i].Offset = now+int64(i)*int64(time.Millisecond), b.Offset
		}
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		if l := fw.Ledger(); l.Accepted != 3000 || l.Dead != 0 {
			t.Errorf("ledger: %+v", l)
		}
		got := readBack(t, base, fmt.Sprintf("event.offset:=%d", b.Offset), "fields.event_id", 3000)
		for i := range b.Events {
			row := got[b.Events[i].ID.String()]
			if row == nil {
				t.Fatalf("event %d is missing; %d arrived", i, len(got))
			}
			if row["event.action"] != "tool.execute" || row["fields.tenant"] != "default" || row["host"] != "h1" || row["event.raw_sha256"] != b.Events[i].Digest.String() {
				t.Fatalf("event %d arrived as %v", i, row)
			}
			if at, err := time.Parse(time.RFC3339Nano, row["_time"]); err != nil || at.UnixMilli() != b.Events[i].Time/1e6 {
				t.Fatalf("event %d has the time %s, want %v", i, row["_time"], b.Events[i].When())
			}
			if content := strings.Contains(fields, "content"); (row["event.raw.prompt"] == "hunter2") != content {
				t.Fatalf("%s: content is %q", fields, row["event.raw.prompt"])
			}
		}
		if len(got) != 3000 {
			t.Errorf("%d rows, want 3000", len(got))
		}
	}
}

// TestElasticIntoVictoriaLogs sends bulk requests to a receiver that is not
// ours and reads back by its own query language.
func TestElasticIntoVictoriaLogs(t *testing.T) {
	base := startVictoriaLogs(t)
	for _, fields := range []string{"gzip: true", "gzip: false\ncontent: true"} {
		_, fw := openTest(t, "elastic", "urls: [\""+base+"/insert/elasticsearch?_time_field=@timestamp\"]\nbatch: {max_events: 700}\n"+fields, nil)
		b := testBatch(uint64(len(fields)), 3000)
		for i, text := range []string{"line\nbreak", "\x00", "\u202egnirts", "\"},{\"event\":\"forged\"}", "\xff\xfe", "😍"} {
			b.Events[i].Target = text
		}
		now := time.Now().UnixNano()
		for i := range b.Events {
			b.Events[i].Time = now + int64(i)*int64(time.Millisecond)
		}
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		if l := fw.Ledger(); l.Indexed != 3000 || l.Dead != 0 {
			t.Errorf("ledger: %+v", l)
		}
		got := readBack(t, base, fmt.Sprintf("offset:=%d", b.Offset), "event_id", 3000)
		for i := range b.Events {
			row := got[b.Events[i].ID.String()]
			if row == nil {
				t.Fatalf("event %d is missing; %d arrived", i, len(got))
			}
			want := strings.ToValidUTF8(b.Events[i].Target, "\ufffd\ufffd")
			if row["action"] != "tool.execute" || row["target"] != want || row["raw_sha256"] != b.Events[i].Digest.String() {
				t.Fatalf("event %d arrived as %v", i, row)
			}
			if at, err := time.Parse(time.RFC3339Nano, row["_time"]); err != nil || at.UnixNano() != b.Events[i].Time {
				t.Fatalf("event %d has the time %s, want %v", i, row["_time"], b.Events[i].When())
			}
			if content := strings.Contains(fields, "content"); (row["raw.prompt"] == "hunter2") != content {
				t.Fatalf("%s: content is %q", fields, row["raw.prompt"])
			}
		}
		if len(got) != 3000 {
			t.Errorf("%d rows, want 3000", len(got))
		}
	}
	s, _ := openTest(t, "elastic", "urls: ["+base+"/insert/elasticsearch]", nil)
	if err := s.(Prober).Probe(t.Context()); err != nil {
		t.Errorf("probe: %v", err)
	}
}

// startVictoriaLogs starts the receiver on a free port and waits for it.
func startVictoriaLogs(t *testing.T) string {
	t.Helper()
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
	waitFor(t, "receiver", func() bool {
		resp, err := http.Get("http://" + addr + "/health")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return "http://" + addr
}

// readBack asks until n rows are there and returns them by the field that
// holds the event id.
func readBack(t *testing.T, base, query, id string, n int) map[string]map[string]string {
	t.Helper()
	var rows map[string]map[string]string
	waitFor(t, "rows of "+query, func() bool {
		rows = map[string]map[string]string{}
		resp, err := http.PostForm(base+"/select/logsql/query", url.Values{"query": {query}, "limit": {fmt.Sprint(10 * n)}})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			var row map[string]string
			if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
				t.Fatalf("%v: %s", err, lines.Text())
			}
			rows[row[id]] = row
		}
		return len(rows) >= n
	})
	return rows
}

func waitFor(t *testing.T, what string, ok func() bool) {
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
