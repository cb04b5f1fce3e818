package sinks

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/schemas"
)

// TestSumoKeepsItsURL: the address is the secret, and so is in no message, log
// or printed config.
func TestSumoKeepsItsURL(t *testing.T) {
	conf := sumoConfig{URL: "https://collectors.invalid" + sumoPath}
	if s := fmt.Sprintf("%v %+v %#v", conf, conf, conf); strings.Contains(s, sumoPath) {
		t.Errorf("printed as %s", s)
	}
	for _, url := range []string{"https://collectors.invalid" + sumoPath + "#x", "ftp://x" + sumoPath, "https://%zz" + sumoPath, "http://127.0.0.1:1" + sumoPath} {
		msg := ""
		if strings.HasPrefix(url, "http://") {
			s, _ := openTest(t, "sumo", "url: "+url, nil)
			_, err := s.Write(t.Context(), testBatch(1, 1).Events)
			msg = fmt.Sprint(err)
		} else {
			msg = openFault(t, "sumo", "url: '"+url+"'")
		}
		if msg == "<nil>" || strings.Contains(msg, sumoPath) {
			t.Errorf("%s: %s", url, msg)
		}
	}
}

// TestSumoLines: an event is a line, also if it is one of CEF with line breaks
// in its fields.
func TestSumoLines(t *testing.T) {
	for _, format := range []string{"native", "cef", "leef", "ecs"} {
		s, _ := sumoRig(t, rigOptions{}).open(t, nil, "format: "+format, nil)
		b := hostileBatch()
		var out []byte
		for i := range b.Events {
			out = s.(*sumo).encode(out, &b.Events[i])
		}
		if n := bytes.Count(out, []byte("\n")); n != len(b.Events) {
			t.Errorf("%s: %d lines of %d events", format, n, len(b.Events))
		}
	}
}

// TestSumoRequestSize: one request holds what is advised, unless the config asks
// for more.
func TestSumoRequestSize(t *testing.T) {
	f := func(fields string, want int) {
		t.Helper()
		r := sumoRig(t, rigOptions{narrow: 64 << 20})
		_, fw := r.open(t, nil, "in_flight: 1\n"+fields, nil)
		b := testBatch(1, 3000)
		for i := range b.Events {
			b.Events[i].Target = strings.Repeat("x", 1000)
		}
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		sameIDs(t, wantIDs(b), r.ids(t))
		if n := r.shelf.Requests(); n != want {
			t.Errorf("%s: %d requests, want %d", fields, n, want)
		}
	}
	f("", 5)
	f("batch: {max_bytes: 8MiB}", 1)
}

func TestSumoConfig(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		if err := openFault(t, "sumo", fields); !strings.Contains(err, want) {
			t.Errorf("%s: got %q, want %q", fields, err, want)
		}
	}
	f("", "url: is missing")
	f("url: http://169.254.169.254/x", "link-local")
	f("url: https://x/y\ncategory: \"a\\nb\"", "X-Sumo-Category")
	f("url: https://x/y\nfields: {a: 'b,c=d'}", "fields")
	f("url: https://x/y\ntimeout: 0s", "timeout")
}
