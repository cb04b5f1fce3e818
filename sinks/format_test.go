package sinks

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// TestEveryFormatInEverySink sends hostile events in each format, and counts
// them on the other side: JSON stays JSON, a line stays a line, and what is
// redacted is in none.
func TestEveryFormatInEverySink(t *testing.T) {
	const n = 5
	b := testBatch(1, n)
	for i, text := range []string{"a\nb", "\x00", "\u202e", `"},{"event":"forged"}`, `|=\`} {
		b.Events[i].Target, b.Events[i].Reason = text, "hunter2"
	}
	for _, name := range format.Names() {
		settings := "\nredact: [reason]\nformat: " + name
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var posted, raised [][]byte
			_, hook := openTest(t, "webhook", "secret: "+secretA+"\nurl: "+serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				mu.Lock()
				defer mu.Unlock()
				posted = append(posted, body)
			}))+settings, nil)
			_, hec := openTest(t, "splunk", "token: t\nack: false\ngzip: false\nurl: "+serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				mu.Lock()
				defer mu.Unlock()
				raised = append(raised, body)
				_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
			}))+settings, nil)
			path := filepath.Join(t.TempDir(), "events.log")
			file, fw := openTestFile(t, path, settings)
			for _, f := range []*Forwarder{hook, hec, fw} {
				if err := f.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
					t.Fatal(err)
				}
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			var array, envelopes []json.RawMessage
			for _, body := range posted {
				var part []json.RawMessage
				if err := json.Unmarshal(body, &part); err != nil {
					t.Fatal(err)
				}
				array = append(array, part...)
			}
			for dec := json.NewDecoder(bytes.NewReader(bytes.Join(raised, nil))); dec.More(); {
				var e json.RawMessage
				if err := dec.Decode(&e); err != nil {
					t.Fatal(err)
				}
				envelopes = append(envelopes, e)
			}
			written, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(array) != n || len(envelopes) != n || bytes.Count(written, []byte("\n")) != n {
				t.Errorf("%d, %d and %d events arrived, want %d", len(array), len(envelopes), bytes.Count(written, []byte("\n")), n)
			}
			for _, out := range [][]byte{bytes.Join(posted, nil), bytes.Join(raised, nil), written} {
				if bytes.Contains(out, []byte("hunter2")) || !bytes.Contains(out, []byte("sha256:")) {
					t.Errorf("reason is not redacted: %s", out)
				}
			}
		})
	}
}
