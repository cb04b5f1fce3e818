package api

import (
	"net/http"
	"time"

	"github.com/agentrail/agentrail/collector/survey"
)

// Survey is what the pipeline knows about what arrives.
type Survey struct {
	// Sources returns the configured sources that the tenant may send to, and
	// what each has delivered for it.
	Sources func(tenant string) []SourceReport
	// Busiest returns the tenant's busiest keys of the minute before now.
	Busiest func(tenant string, now time.Time, n int) survey.Busiest
	// AgentName returns what the agent was last called, or "".
	AgentName func(tenant, agent string) string
}

// Doctor answers GET doctor: who asks, and what arrives for its tenant. What
// belongs to the whole pipeline is in Status.
type Doctor struct {
	Version  string         `json:"version"`
	Now      time.Time      `json:"now"`
	Started  time.Time      `json:"started"`
	Caller   Caller         `json:"caller"`
	Ready    bool           `json:"ready"`
	NotReady []string       `json:"not_ready"`
	Sources  []SourceReport `json:"sources"`
}

// Caller is the principal that asks.
type Caller struct {
	Name     string   `json:"name"`
	Tenant   string   `json:"tenant"`
	Roles    []string `json:"roles"`
	Operator bool     `json:"operator"` // of the tenant that runs the server
}

// SourceReport is one source and what it has delivered.
type SourceReport struct {
	Name       string         `json:"name"`
	Kind       string         `json:"kind,omitempty"`
	Path       string         `json:"path,omitempty"` // of an HTTP source: where records are posted
	Configured bool           `json:"configured"`     // it is in the config of the running server
	Delivered  *survey.Source `json:"delivered,omitempty"`
}

// BusiestList answers GET busiest.
type BusiestList struct {
	Agents []survey.Key `json:"agents"`
	Actors []survey.Key `json:"actors"`
	Tools  []survey.Key `json:"tools"`
}

// maxBusiest is how many keys of each dimension are told.
const maxBusiest = 50

func (a *api) doctor(w http.ResponseWriter, r *http.Request) {
	if _, err := params(r); err != nil {
		refuse(w, err)
		return
	}
	if a.o.Survey.Sources == nil {
		off(w, "a survey")
		return
	}
	p := principal(r)
	roles := []string{}
	for _, role := range p.Roles {
		roles = append(roles, string(role))
	}
	st, err := a.o.Status(r.Context())
	if err != nil {
		a.fail(w, r, "status", err)
		return
	}
	d := Doctor{
		Version: a.o.Version, Now: a.now().UTC(), Started: st.Started,
		Caller:   Caller{Name: p.Name, Tenant: p.Tenant, Roles: roles, Operator: a.operator(r)},
		NotReady: append([]string{}, a.o.Ready(r.Context())...),
		Sources:  append([]SourceReport{}, a.o.Survey.Sources(p.Tenant)...),
	}
	d.Ready = len(d.NotReady) == 0
	writeJSON(w, http.StatusOK, d)
}

func (a *api) busiest(w http.ResponseWriter, r *http.Request) {
	v, err := params(r, "limit")
	n := 0
	if err == nil {
		n, err = parseLimit(v, maxBusiest)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	if a.o.Survey.Busiest == nil {
		off(w, "a survey")
		return
	}
	b := a.o.Survey.Busiest(principal(r).Tenant, a.now(), n)
	writeJSON(w, http.StatusOK, BusiestList{
		Agents: append([]survey.Key{}, b.Agents...), Actors: append([]survey.Key{}, b.Actors...), Tools: append([]survey.Key{}, b.Tools...),
	})
}
