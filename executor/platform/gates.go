package platform

import (
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/internal/rest"
)

// Gates is the rules that the gates go by.
type Gates struct {
	File        string         `json:"file"` // where they stand; empty: nothing but reads and confirmed writes
	Gates       []string       `json:"gates"`
	Writes      []Write        `json:"writes"`
	Destructive []Exception    `json:"destructive"`
	APIKeys     []string       `json:"api_keys"`
	Policies    []string       `json:"policies"`
	Users       map[string]int `json:"users"` // how many tools each may use; empty: all that are offered
	Bounds      []Bound        `json:"bounds"`
}

// Write is an entry of the admin's allow-list.
type Write struct {
	Tool         string              `json:"tool"`
	Destinations map[string][]string `json:"destinations"`
}

// Exception lets a destructive operation run without confirmation.
type Exception struct {
	Tool     string `json:"tool"`
	Reviewer string `json:"reviewer"`
	Reason   string `json:"reason"`
	Rollback string `json:"rollback"`
	Expires  string `json:"expires"`
}

// gates answers with the rules in force.
func (p *platform) gates(w http.ResponseWriter, r *http.Request) {
	rules := p.o.Rules()
	out := Gates{
		File: rules.File, Gates: []string{}, Writes: []Write{}, Destructive: []Exception{}, APIKeys: append([]string{}, rules.APIKeys...),
		Policies: append([]string{}, rules.Policies...), Users: map[string]int{}, Bounds: bounds(rules.Bounds),
	}
	for _, v := range gate.Full(rules).Answers(r.Context(), gate.Action{}) {
		out.Gates = append(out.Gates, v.Gate)
	}
	for _, a := range rules.Writes {
		d := map[string][]string{}
		maps.Copy(d, a.Destinations)
		out.Writes = append(out.Writes, Write{Tool: a.Tool, Destinations: d})
	}
	for _, e := range rules.Destructive {
		out.Destructive = append(out.Destructive, Exception{Tool: e.Tool, Reviewer: e.Reviewer, Reason: e.Reason, Rollback: e.Rollback, Expires: e.Expires})
	}
	for user, tools := range rules.Users {
		out.Users[user] = len(tools)
	}
	rest.Write(w, http.StatusOK, out)
}

func bounds(b gate.Bounds) []Bound {
	n := func(name string, v int) Bound { return Bound{name, strconv.Itoa(v)} }
	return []Bound{
		n("calls a run", b.Calls), n("items changed a run", b.Items), n("calls a minute", b.Rate), n("calls at once", b.Concurrency),
		{"timeout of a run", time.Duration(b.Timeout).String()},
		{"timeout of a call", time.Duration(b.CallTimeout).String()},
		{"bytes of an answer", strconv.Itoa(int(b.Result))},
	}
}
