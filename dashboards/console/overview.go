package console

import (
	"net/http"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// overview is the first page.
type overview struct {
	*frame
	Pipeline *pipeline // nil: not for this tenant
	Alerts   []schemas.Alert
	Open     int // alerts in all
	Evicted  int
	Events   []api.Event
	Cards    []card
	Away     string // why the executor says nothing
	Charts   []*chart
	Address  string // of this server, for the line to copy
}

const (
	overviewAlerts = 12
	overviewEvents = 12
)

func (c *Console) overview(r *http.Request, f *frame) (view, error) {
	f.Title, f.Nav = "Overview", "overview"
	o := overview{frame: f, Address: addressOf(r), Evicted: c.o.Evicted(f.User.Tenant)}
	if c.o.Operator == "" || f.User.Tenant == c.o.Operator {
		o.Pipeline = c.pipeline(r.Context())
	}
	o.Alerts, o.Open = c.openAlerts(f.User.Tenant, overviewAlerts)
	for _, ch := range []*chart{c.trafficChart(r.Context(), f.User.Tenant), c.alertChart(f.User.Tenant)} {
		if ch != nil {
			o.Charts = append(o.Charts, ch)
		}
	}
	o.Cards, o.Away = c.cards(r, f, o.Open)
	err := c.o.Recent.Events(r.Context(), api.Query{Tenant: f.User.Tenant, Class: "activity", Limit: overviewEvents}, func(e api.Event) error {
		o.Events = append(o.Events, e)
		return nil
	})
	return view{template: "overview.html", fragments: []string{"cards", "overview-charts", "pipeline", "open-alerts", "latest-events"}, data: o}, err
}

// addressOf is how the visitor reached the server.
func addressOf(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}
