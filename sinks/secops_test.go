package sinks

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/schemas"
)

func TestSecOpsURL(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		s, _ := openTest(t, "secops", "project: p1\nregion: eu\ninstance: i-1\ncredentials_file: "+serviceAccount(t, "https://oauth2.invalid/token")+"\n"+fields, nil)
		if got := s.(*secops).in.url; got != want {
			t.Errorf("%s: %s", fields, got)
		}
	}
	const at = "https://eu-chronicle.googleapis.com/"
	f("log_type: AGENTRAIL\nforwarder: f", at+"v1/"+testParent+"/logTypes/AGENTRAIL/logs:import")
	f("format: udm", at+"v1/"+testParent+"/events:import")
	f("format: udm\napi_version: v1alpha", at+"v1alpha/"+testParent+"/events:import")
}

// TestSecOpsTimes keeps the time of an entry before that of its collection,
// whatever the clocks said.
func TestSecOpsTimes(t *testing.T) {
	r := secopsRig(t, rigOptions{}, "")
	s, fw := r.open(t, nil, "", nil)
	b := testBatch(1, 4)
	b.Events[0].Time = b.Events[0].Received
	b.Events[1].Time = b.Events[1].Received + 5e9
	b.Events[2].Time = -1
	b.Events[3].Time, b.Events[3].Received = 0, 0
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), r.ids(t))
	var entry struct {
		LogEntryTime string `json:"logEntryTime"`
	}
	if err := json.Unmarshal(s.(*secops).encode(nil, &testBatch(1, 1).Events[0]), &entry); err != nil || entry.LogEntryTime != "2025-11-24T16:00:00.123000000Z" {
		t.Errorf("%v, %v", entry, err)
	}
}

func TestSecOpsAnswers(t *testing.T) {
	s := &secops{in: intake{who: "secops"}}
	f := func(status int, body string, want Kind, hint string) {
		t.Helper()
		if e := s.failure(answer{status: status, body: []byte(body)}); e.Kind != want || !strings.Contains(e.Error(), hint) {
			t.Errorf("%d %s: %v %v", status, body, e.Kind, e)
		}
	}
	said := func(word, why string) string {
		return `{"error":{"code":1,"status":"` + word + `","message":"` + why + `"}}`
	}
	f(400, said("INVALID_ARGUMENT", "Request payload size exceeds the limit: 4194304 bytes."), KindTooLarge, "4194304")
	f(400, said("INVALID_ARGUMENT", "event 3: metadata.eventType is unknown"), KindRefused, "eventType")
	f(400, said("INVALID_ARGUMENT", "log type AGENTRAIL does not exist"), KindAuth, "check project")
	f(400, said("INVALID_ARGUMENT", "forwarder not found"), KindAuth, "check project")
	f(400, said("FAILED_PRECONDITION", "instance is being made"), KindAuth, "check project")
	f(404, said("NOT_FOUND", "Requested entity was not found."), KindAuth, "check project")
	f(403, said("PERMISSION_DENIED", "denied"), KindAuth, "chronicle.events.import")
	f(429, said("RESOURCE_EXHAUSTED", "quota"), KindRetry, "quota")
	f(503, said("UNAVAILABLE", "later"), KindRetry, "later")
}

func TestSecOpsConfig(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		if err := openFault(t, "secops", fields); !strings.Contains(err, want) {
			t.Errorf("%s: got %q, want %q", fields, err, want)
		}
	}
	const base = "project: p1\nregion: eu\ninstance: i-1\n"
	f("", "project: \"\" is not a name")
	f("project: p1\nregion: eu.evil.example/\ninstance: i\n", "region:")
	f(base, "log_type: is missing")
	f(base+"log_type: A\n", "forwarder: is missing")
	f(base+"log_type: a/b\nforwarder: f\n", "log_type:")
	f(base+"format: udm\nlog_type: A\n", "with format: udm there is none")
	f(base+"format: udm\napi_version: v2\n", "api_version")
	f(base+"format: udm\ntimeout: 0s\n", "timeout")
	f(base+"format: udm\ncredentials_file: /does/not/exist\n", "credentials_file")
	f(base+"format: udm\ncredentials_file: "+secretFile(t, `{"type":"authorized_user"}`)+"\n", "not the key of a service account")
	f(base+"format: udm\ncredentials_file: "+secretFile(t, `{"type":"service_account","private_key":"x"}`)+"\n", "no private key")
	f(base+"format: udm\nendpoint: http://169.254.169.254\n", "link-local")
}
