//go:build integration

package sinks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// openSearch is a node that is not ours. AGENTRAIL_OPENSEARCH is its URL;
// deploy/integration/opensearch.sh starts it and sets that.
type openSearch struct {
	t   *testing.T
	url string
}

func (o openSearch) ask(method, path, body string, into any) {
	o.t.Helper()
	req, err := http.NewRequestWithContext(o.t.Context(), method, o.url+path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		o.t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, text, err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if into != nil {
		if err := d.Decode(into); err != nil {
			o.t.Fatal(err)
		}
	}
}

// documents are all of the data stream, by id.
func (o openSearch) documents(stream string) map[string]any {
	o.t.Helper()
	var answer struct {
		Hits struct {
			Hits []struct {
				ID     string `json:"_id"`
				Source any    `json:"_source"`
			} `json:"hits"`
		} `json:"hits"`
	}
	o.ask(http.MethodPost, "/"+stream+"/_refresh", "", nil)
	o.ask(http.MethodPost, "/"+stream+"/_search", `{"size":10000}`, &answer)
	out := map[string]any{}
	for _, h := range answer.Hits.Hits {
		out[h.ID] = h.Source
	}
	if len(out) != len(answer.Hits.Hits) {
		o.t.Errorf("%d documents under %d ids", len(answer.Hits.Hits), len(out))
	}
	return out
}

// TestElasticIntoOpenSearch sends to a data stream, twice, and reads every
// document back; what its mapping refuses is rejected with the node's reason.
func TestElasticIntoOpenSearch(t *testing.T) {
	node := openSearch{t, os.Getenv("AGENTRAIL_OPENSEARCH")}
	if node.url == "" {
		t.Fatal("AGENTRAIL_OPENSEARCH is not set; deploy/integration/opensearch.sh starts a node and sets it")
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	node.ask(http.MethodPut, "/_index_template/agentrail", `{"index_patterns":["logs-agentrail-*"],"data_stream":{},
		"template":{"settings":{"number_of_replicas":0},"mappings":{"properties":{"ip":{"type":"ip"},"client":{"properties":{"ip":{"type":"ip"}}}}}}}`, nil)
	for name, fields := range map[string]string{"native": "gzip: true", "ecs": "gzip: false\nformat: ecs", "content": "content: true\nbatch: {max_events: 700}"} {
		dead := []uint32{11, 700, 2999}
		if name == "ecs" {
			dead = nil // the format puts nothing but addresses into client.ip
		}
		stream := "logs-agentrail-" + name
		s, fw := openTest(t, "elastic", "urls: [\""+node.url+"\"]\nindex: "+stream+"\n"+fields, nil)
		if err := s.(Prober).Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		b := testBatch(1, 3000)
		for i := range b.Events {
			b.Events[i].IP, b.Events[i].Agent = fmt.Sprintf("10.0.%d.%d", i/250, i%250), "wf-1"
		}
		for i, text := range []string{"line\nbreak", "\x00", "\u202egnirts", "\"}}\n{\"create\":{\"_id\":\"forged\"}}", "\xff\xfe", "😍"} {
			b.Events[i].Target = text
		}
		for _, i := range dead {
			b.Events[i].IP = "not-an-address"
		}
		for range 2 { // what is there already counts as delivered
			err := fw.Consume(t.Context(), []*schemas.Batch{b})
			if got := rejectedIndexes(err); !cmp.Equal(got, dead) {
				t.Fatalf("%s: rejected %v: %v", name, got, err)
			}
			if dead != nil && !strings.Contains(err.Error(), "mapper_parsing_exception") {
				t.Errorf("%s: the reason is %v", name, err)
			}
		}
		stored := 3000 - len(dead)
		if l := fw.Ledger(); l.Indexed != int64(2*stored) || l.Dead != int64(2*len(dead)) {
			t.Errorf("%s: ledger %+v", name, l)
		}
		got := node.documents(stream)
		if len(got) != stored {
			t.Errorf("%s: %d documents, want %d", name, len(got), stored)
		}
		conf := s.(*elastic).conf.Common
		f, _ := format.Lookup(conf.Format)
		for i := range b.Events {
			ev := b.Events[i]
			ev.Offset, ev.Index = b.Offset, uint32(i) //nolint:gosec // 0 to 2,999
			if !conf.Content {
				ev.Raw = nil
			}
			doc, ok := got[ev.ID.String()]
			if rejected := ev.IP == "not-an-address"; ok == rejected {
				t.Fatalf("%s: event %d is there: %t, rejected: %t", name, i, ok, rejected)
			} else if rejected {
				continue
			}
			var want any
			d := json.NewDecoder(bytes.NewReader(stampDocument(f(nil, &ev), 0, &ev)))
			d.UseNumber()
			if err := d.Decode(&want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, doc); diff != "" {
				t.Fatalf("%s: event %d (-want +got):\n%s", name, i, diff)
			}
		}
		for i, want := range map[int]bool{0: true, 11: dead == nil} {
			if found, err := s.(Finder).Find(t.Context(), &b.Events[i]); err != nil || found != want {
				t.Errorf("%s: event %d found: %t, %v", name, i, found, err)
			}
		}
	}
}
