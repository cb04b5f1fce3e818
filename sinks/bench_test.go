package sinks

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// benchBatch is a batch of audit records of which half are reads.
func benchBatch(n int) *schemas.Batch {
	b := testBatch(1, n)
	for i := range b.Events {
		ev := &b.Events[i]
		ev.ActorEmail, ev.Agent, ev.Run = fmt.Sprintf("user%d@example.com", i%200), fmt.Sprintf("wf-%d", i%40), fmt.Sprintf("run-%d", i/10)
		ev.Endpoint, ev.Method, ev.Tool, ev.Target = "/rest/api/v1/executeactiontool", "POST", "jira_create_issue", "PROJ-1234"
		ev.IP, ev.UserAgent, ev.Actor, ev.SourceID = "10.1.2.3", "agent/1.0 (+https://example.com)", fmt.Sprintf("u-%d", i%200), fmt.Sprintf("ev-%011d", i)
		if i%2 == 0 {
			ev.Access = schemas.AccessRead
		}
	}
	return b
}

// BenchmarkSplunk is the way of an event from Consume to the answer of a
// collector over real HTTP; the null collector reads and drops, in the same
// process, so that its time is in the figure.
func BenchmarkSplunk(b *testing.B) {
	null := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
	})
	for _, c := range []struct{ name, fields string }{
		{"all", "gzip: false"},
		{"half", "gzip: false\nfilter: access != \"read\""},
		{"gzip", "gzip: true"},
	} {
		b.Run(c.name, func(b *testing.B) {
			_, f := openTest(b, "splunk", "ack: false\ntoken: t\nurl: "+serve(b, null)+"\n"+c.fields, nil)
			benchConsume(b, f)
		})
	}
}

// BenchmarkIntakes is the same for other receivers of logs over HTTP; the null
// receiver gives each what it waits for.
func BenchmarkIntakes(b *testing.B) {
	null := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var lines lineCount
		_, _ = io.Copy(&lines, r.Body)
		switch {
		case r.URL.Path == "/_bulk":
			_, _ = io.WriteString(w, `{"errors":false,"items":[{"create":{"status":201}}`+strings.Repeat(`,{"create":{"status":201}}`, int(lines)/2-1)+"]}")
		case strings.HasSuffix(r.URL.Path, "/token"):
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"token_type":"Bearer","access_token":"t","expires_in":3600}`)
		case strings.Contains(r.URL.Path, "/streams/"):
			w.WriteHeader(http.StatusNoContent)
		case strings.HasPrefix(r.URL.Path, "/api/v2/"):
			w.WriteHeader(http.StatusAccepted)
		case strings.HasSuffix(r.URL.Path, ":import"):
			_, _ = io.WriteString(w, "{}")
		}
	})
	url := serve(b, null)
	for name, fields := range map[string]string{
		"sentinel":   "endpoint: " + url + "\nauthority: " + url + "\nrule: " + testRule + "\nstream: Custom-A_CL\ntenant_id: d\nclient_id: c\nclient_secret: s\n",
		"secops":     "project: p\nregion: eu\ninstance: i\nlog_type: A\nforwarder: f\nendpoint: " + url + "\ncredentials_file: " + serviceAccount(b, url+"/token") + "\n",
		"secops/udm": "project: p\nregion: eu\ninstance: i\nformat: udm\nendpoint: " + url + "\ncredentials_file: " + serviceAccount(b, url+"/token") + "\n",
		"datadog":    "api_key: k\nurl: " + url + "\n",
		"sumo":       "url: " + url + "/secret\n",
		"elastic":    "urls: [\"" + url + "\"]\n",
		"otlp":       "url: " + url + "\n",
	} {
		kind, _, _ := strings.Cut(name, "/")
		for _, gzip := range []string{"false", "true"} {
			if kind == "elastic" && gzip == "true" {
				continue // the receiver counts lines
			}
			b.Run(name+"/gzip="+gzip, func(b *testing.B) {
				_, f := openTest(b, kind, fields+"gzip: "+gzip, nil)
				benchConsume(b, f)
			})
		}
	}
}

// lineCount counts the lines written to it.
type lineCount int

func (c *lineCount) Write(b []byte) (int, error) {
	*c += lineCount(bytes.Count(b, []byte{'\n'}))
	return len(b), nil
}

// BenchmarkForwarder is the same without a receiver.
func BenchmarkForwarder(b *testing.B) {
	f := newTestForwarder(b, nullSink{}, func(o *Options) { o.Common.Filter = `access != "read"` })
	benchConsume(b, f)
}

func benchConsume(b *testing.B, f journal.Consumer) {
	const n = 4096
	batches := []*schemas.Batch{benchBatch(n)}
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime()
	for i := 0; i < b.N; i += n {
		if err := f.Consume(b.Context(), batches); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what the process has used, so that a busy machine does not blur
// the figure.
func cpuTime() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkEncode is one event in the envelope of HEC.
func BenchmarkEncode(b *testing.B) {
	s, _ := openTest(b, "splunk", "ack: false\ntoken: t\nurl: http://127.0.0.1:1", nil)
	batch := benchBatch(1024)
	for i := range batch.Events {
		batch.Events[i].Raw = nil
	}
	buf := make([]byte, 0, 1<<20)
	b.ReportAllocs()
	i, cpu := 0, cpuTime()
	for b.Loop() {
		buf = s.(*splunk).encode(buf[:0], &batch.Events[i%1024])
		i++
	}
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
	b.SetBytes(int64(len(buf)))
}

type nullSink struct{}

func (nullSink) Write(_ context.Context, evs []schemas.Event) (Receipt, error) {
	return Receipt{Events: len(evs)}, nil
}
func (nullSink) Close() error { return nil }
