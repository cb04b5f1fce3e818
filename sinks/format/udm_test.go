package format_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// udmEvent has what is used of the Unified Data Model, by the names of its
// JSON form (UDM field list, public documentation).
type udmEvent struct {
	Metadata struct {
		EventTimestamp, CollectedTimestamp, EventType, VendorName, ProductName, ProductEventType, ProductLogID, Description string
	}
	Principal, Target struct {
		Application, URL string
		IP               []string
		User             *struct {
			UserID         string
			EmailAddresses []string
		}
		Resource *struct{ ProductObjectID, Name, ResourceSubtype string }
	}
	Network struct {
		SessionID string
		HTTP      struct {
			Method, UserAgent string
			ResponseCode      int32
		}
	}
	SecurityResult []struct {
		Severity, Summary, Description, RuleID, RuleName string
		Action                                           []string
	}
	Additional map[string]any
}

// TestUDM holds events to the fields of the model and to what its types
// require: a noun, and of a user's access a user and a resource.
func TestUDM(t *testing.T) {
	_, evs := examples()
	for _, text := range naughty {
		for class := schemas.ClassActivity; class <= schemas.ClassHealth; class++ {
			for _, action := range []string{"tool.execute", "subscription.edit", "agent.delete", "agent.list"} {
				for only := -1; only < len(texts); only++ {
					ev := schemas.Event{Class: class, Outcome: schemas.OutcomeError}
					for i, set := range texts {
						if only < 0 || only == i {
							*set(&ev) = text
						}
					}
					ev.Action = action
					evs = append(evs, ev)
				}
			}
		}
	}
	for i := range evs {
		line := format.UDM(nil, &evs[i])
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		var got udmEvent
		if err := dec.Decode(&got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch got.Metadata.EventType {
		case "GENERIC_EVENT":
			if p := got.Principal; p.User == nil && p.IP == nil && p.Resource == nil && p.Application == "" {
				t.Fatalf("no principal: %s", line)
			}
		case "USER_RESOURCE_ACCESS", "USER_RESOURCE_CREATION", "USER_RESOURCE_UPDATE_CONTENT", "USER_RESOURCE_DELETION":
			if got.Principal.User == nil || got.Target.Resource == nil {
				t.Fatalf("no user or no resource: %s", line)
			}
		default:
			t.Fatalf("type %q: %s", got.Metadata.EventType, line)
		}
	}
}
