package sinks

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

// try sends a marked event by a sink of that kind.
func try(t *testing.T, kind, fields string) (Trial, *Forwarder) {
	t.Helper()
	_, f := openTest(t, kind, fields, nil)
	ev, err := Marked("test", "acme", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	trial := f.Try(ctx, ev)
	if trial.EventID != ev.ID.String() || trial.Sink != "test" {
		t.Errorf("%s: %+v", kind, trial)
	}
	if l := f.Ledger(); l.Seen != 0 || l.Accepted != 0 {
		t.Errorf("%s: the trial is in the ledger: %+v", kind, l)
	}
	return trial, f
}

func TestTrySaysWhatTheReceiverSays(t *testing.T) {
	dir := t.TempDir()
	f := func(kind, fields, how, note string) Trial {
		t.Helper()
		got, _ := try(t, kind, fields+"\nfilter: tool == \"never\"\nclasses: [alert]\n")
		if !got.OK() || got.Accepted <= 0 || got.How != how || (got.Indexed > 0) != (how != "") || !strings.Contains(got.Note, note) {
			t.Errorf("%s: %+v", kind, got)
		}
		return got
	}
	hec := &sinktest.HEC{Token: "secret", Ack: true, AckDelay: 30 * time.Millisecond}
	if got := f("splunk", hecFields+"url: "+serve(t, hec), "confirmed", ""); got.Indexed < 30*time.Millisecond {
		t.Errorf("indexed before the receiver said so: %v", got.Indexed)
	}
	f("splunk", hecFields+"ack: false\nurl: "+serve(t, &sinktest.HEC{Token: "secret"}), "", "")
	es := &sinktest.Bulk{Stream: dataStream, Hidden: 3}
	f("elastic", elasticFields(serve(t, es), ""), "found", "")
	f("elastic", elasticFields(serve(t, &sinktest.Bulk{Stream: dataStream, Hidden: -1}), ""), "confirmed", "does not let us look")
	b := bucket()
	f("s3", s3Fields(t, serve(t, b), ""), "found", "")
	if b.Repeats() != 0 {
		t.Error("the object was written twice")
	}
	got := f("file", "path: "+filepath.Join(dir, "x", "archive.ndjson"), "confirmed", "")
	text, err := os.ReadFile(filepath.Join(dir, "x", "archive.ndjson"))
	if err != nil || !strings.Contains(string(text), `"kind":"`+KindTest+`"`) || !strings.Contains(string(text), got.EventID) || strings.Count(string(text), "\n") != 1 {
		t.Errorf("%v: %s", err, text)
	}
	for _, v := range append(append(es.Violations(), hec.Violations()...), b.Violations()...) {
		t.Errorf("not as documented: %s", v)
	}
}

func TestTrySaysWhyNot(t *testing.T) {
	f := func(kind, fields, code, reason string) {
		t.Helper()
		got, _ := try(t, kind, fields)
		if got.OK() || got.Code != code || !strings.Contains(got.Reason, reason) {
			t.Errorf("%s: %+v", kind, got)
		}
	}
	f("splunk", "token: wrong\nurl: "+serve(t, &sinktest.HEC{Token: "secret"}), "hec_4", "Invalid token")
	f("splunk", hecImpatient+"url: "+serve(t, &sinktest.HEC{Token: "secret", Ack: true, Lose: func(int) bool { return true }}), "ack_timeout", "not confirmed")
	down := &sinktest.Faulty{Next: &sinktest.HEC{Token: "secret"}, Script: func(int, *http.Request) sinktest.Fault { return sinktest.Fault{Status: 503} }}
	f("splunk", hecFields+"url: "+serve(t, down), "http_503", "503")
	if n := down.Requests(); n != 1 {
		t.Errorf("%d attempts, want one", n)
	}
	f("elastic", elasticFields(serve(t, &sinktest.Bulk{Stream: dataStream, Item: func(int, []byte) int { return 400 }}), ""), "item_400", "document_parsing_exception")
	f("tempo", "url: http://127.0.0.1:1\n", "whole", "requests of traces whole")
}

func TestTryRedacts(t *testing.T) {
	s := &fakeSink{}
	f := newTestForwarder(t, s, func(o *Options) { o.Common.Redact = hashed("target", "reason") })
	ev, err := Marked("soc", "acme", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Try(t.Context(), ev); !got.OK() || len(s.last) != 1 || !strings.HasPrefix(s.last[0].Target, "sha256:") || !strings.Contains(string(s.last[0].Raw), `"reason":"sha256:`) {
		t.Errorf("%+v, %+v", got, s.last)
	}
	if ev.Class != schemas.ClassHealth || ev.Target != "soc" {
		t.Error("the caller's event was changed")
	}
}
