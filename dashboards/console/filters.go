package console

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// savedFilter is a search of events that somebody keeps under a name.
type savedFilter struct {
	Name, Query string
	Deeds       []deed
}

// savedFilters folds the controls by which the visitor kept and dropped
// searches: each person has their own.
func (c *Console) savedFilters(ctx context.Context, f *frame) ([]savedFilter, error) {
	events, err := c.newest(ctx, api.Query{Tenant: f.User.Tenant, Class: "control", Kind: "control", Action: "filter.*", Actor: f.User.Name, Limit: maxControls})
	if err != nil {
		return nil, err
	}
	var out []savedFilter
	for _, e := range slices.Backward(events) {
		out = slices.DeleteFunc(out, func(s savedFilter) bool { return s.Name == e.Target })
		if e.Action != schemas.FilterSave {
			continue
		}
		whole, err := c.find(ctx, f.User.Tenant, e.ID, placeText(e))
		var ask schemas.Control
		if err != nil || whole.Raw == nil || json.Unmarshal([]byte(*whole.Raw), &ask) != nil {
			continue // retention has passed over it
		}
		if q, err := url.ParseQuery(ask.Args["query"]); err == nil {
			out = append(out, savedFilter{Name: e.Target, Query: q.Encode(), Deeds: deeds(f.User, "/events", deed{Verb: schemas.FilterDrop, Target: e.Target, Label: "Forget"})})
		}
	}
	return out, nil
}
