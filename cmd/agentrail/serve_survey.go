package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/survey"
)

// arrivals puts the sources of the config beside what the survey knows of them.
type arrivals struct {
	survey   *survey.Survey
	operator string
	sources  []api.SourceReport
}

// add notes a source of the config; of an HTTP source also where it listens.
func (a *arrivals) add(name, kind string, s collector.Source) {
	r := api.SourceReport{Name: name, Kind: kind, Configured: true}
	if hs, ok := s.(collector.HTTPSource); ok {
		for pattern := range hs.Routes() {
			if method, path, _ := strings.Cut(pattern, " "); method == http.MethodPost {
				r.Path = path
			}
		}
	}
	a.sources = append(a.sources, r)
}

// list returns the sources of a tenant: those that are posted to, those that
// the operator's tenant owns, and those that delivered and are gone since.
func (a *arrivals) list(tenant string) []api.SourceReport {
	known := a.survey.Sources(tenant)
	var out []api.SourceReport
	for _, r := range a.sources {
		at := slices.IndexFunc(known, func(s survey.Source) bool { return s.Name == r.Name })
		if at < 0 && r.Path == "" && tenant != a.operator {
			continue
		}
		if at >= 0 {
			r.Delivered = &known[at]
		}
		out = append(out, r)
	}
	for i, s := range known {
		if !slices.ContainsFunc(out, func(r api.SourceReport) bool { return r.Name == s.Name }) {
			out = append(out, api.SourceReport{Name: s.Name, Delivered: &known[i]})
		}
	}
	return out
}

func (a *arrivals) options() api.Survey {
	return api.Survey{Sources: a.list, Busiest: a.survey.Busiest, AgentName: a.survey.AgentName}
}

// offsetAt returns a function that finds the first batch that was received at
// a time or later: receipt never goes back within a shard, so it looks in
// halves.
func offsetAt(j *journal.Disk) func(context.Context, time.Time) (uint64, error) {
	return func(ctx context.Context, t time.Time) (uint64, error) {
		low, high := j.First(), j.Head()
		for low < high {
			mid := low + (high-low)/2
			next, received, err := receivedAt(ctx, j, mid)
			switch {
			case errors.Is(err, errGap) && next < high:
				low = next
			case errors.Is(err, errGap):
				high = mid
			case err != nil:
				return 0, err
			case received >= t.UnixNano():
				high = mid
			default:
				low = mid + 1
			}
		}
		return low, nil
	}
}

var errGap = errors.New("no batch can be read there")

// receivedAt returns when the batch at the offset was received. For a gap it
// returns errGap and the offset behind it.
func receivedAt(ctx context.Context, j *journal.Disk, o journal.Offset) (next journal.Offset, received int64, err error) {
	cur, err := j.Open(ctx, "", 0, journal.FromOffset(o))
	if err != nil {
		return 0, 0, err
	}
	defer cur.Close()
	b, err := cur.Next(ctx)
	if err != nil {
		return 0, 0, err
	}
	if b.Gap != nil {
		return b.Gap.To, 0, errGap
	}
	return b.Offset + 1, b.Received, nil
}
