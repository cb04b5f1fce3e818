package store

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// responseRow is one step of a response with the event that carried it.
type responseRow struct {
	row
	seq uint32
	doc responseStep
}

// responseStep is what the record of a step says.
type responseStep struct {
	ID     string    `json:"id"`
	Status string    `json:"status"`
	Text   string    `json:"text"`
	Action string    `json:"action"`
	Target string    `json:"target"`
	Policy string    `json:"policy"`
	Author string    `json:"author"`
	Reason string    `json:"reason"`
	Mode   string    `json:"mode"`
	Via    string    `json:"via"`
	Alert  string    `json:"alert"`
	Rule   string    `json:"rule"`
	Entity string    `json:"entity"`
	Until  time.Time `json:"until"`
}

// responseRows reads the steps of responses of a plan. A record of the same
// endpoint that is none of the executor's has no row here; it is an event like
// any other.
func responseRows(p *plan) (out []responseRow) {
	for _, part := range p.parts {
		for _, r := range p.byPart[part] {
			if r.Class != schemas.ClassActivity || !strings.HasPrefix(r.Action, "response.") || r.Flags&schemas.FlagSealed != 0 {
				continue
			}
			if s, ok := readStep(r); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

// readStep reads one record. Its id is the response's and the number of the
// step.
func readStep(r row) (responseRow, bool) {
	var doc struct {
		Payload struct {
			Step responseStep `json:"responseAction"`
		} `json:"jsonPayload"`
	}
	if json.Unmarshal(r.Raw, &doc) != nil || doc.Payload.Step.ID == "" {
		return responseRow{}, false
	}
	number, ok := strings.CutPrefix(r.SourceID, doc.Payload.Step.ID+"_")
	seq, err := strconv.ParseUint(number, 10, 32)
	return responseRow{row: r, seq: uint32(seq), doc: doc.Payload.Step}, ok && err == nil
}

func responseColumns() []column[responseRow] {
	return []column[responseRow]{
		text("tenant", func(r responseRow) string { return r.Tenant }),
		text("id", func(r responseRow) string { return r.doc.ID }),
		whole("seq", "UInt32", func(r responseRow) uint32 { return r.seq }),
		text("alert", func(r responseRow) string { return r.doc.Alert }),
		text("rule", func(r responseRow) string { return r.doc.Rule }),
		text("entity", func(r responseRow) string { return r.doc.Entity }),
		text("policy", func(r responseRow) string { return r.doc.Policy }),
		text("action", func(r responseRow) string { return r.doc.Action }),
		text("mode", func(r responseRow) string { return r.doc.Mode }),
		text("via", func(r responseRow) string { return r.doc.Via }),
		text("status", func(r responseRow) string { return r.doc.Status }),
		text("target", func(r responseRow) string { return r.doc.Target }),
		text("author", func(r responseRow) string { return r.doc.Author }),
		text("reason", func(r responseRow) string { return r.doc.Reason }),
		text("actor", func(r responseRow) string { return r.Actor }),
		text("text", func(r responseRow) string { return r.doc.Text }),
		instant("until", func(r responseRow) int64 { return nanos(r.doc.Until) }),
		instant("time", func(r responseRow) int64 { return r.Time }),
		instant("received", func(r responseRow) int64 { return r.Received }),
		whole("shard", "UInt16", func(r responseRow) uint16 { return r.Shard }),
		whole("offset", "UInt64", func(r responseRow) uint64 { return r.Offset }),
		whole("index", "UInt32", func(r responseRow) uint32 { return r.Index }),
		text("document", func(r responseRow) string { return view(r.Raw) }),
	}
}
