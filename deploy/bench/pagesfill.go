package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/schemas"
)

// What a day of the journal of the pages row is made of: the sample's days
// follow one another, of the same agents and people, until there are enough
// records.
const (
	dayAgents = 200
	dayUsers  = 2000
	dayBatch  = 500 // records, as an agent sends them
)

// fillDays writes the journal of a server that has taken in n records or some
// more of the sample's days, the last of which ends now, as intake would have.
func fillDays(ctx context.Context, data string, n int) error {
	mappings, err := decode.Open(filepath.Join(data, "mappings"))
	if err != nil {
		return err
	}
	by := map[string]*decode.Mapping{}
	for _, source := range []string{sample.SourceAudit, sample.SourceWorkflowRun} {
		if by[source], err = mappings.Mapping(source); err != nil {
			return err
		}
	}
	j, err := journal.OpenDisk(ctx, journal.Options{
		Dir: filepath.Join(data, "journal"), Decode: mappings.Decode, Tick: -1, MaxBytes: 64 << 30, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	f := filler{j: j, by: by}
	for day := range makeDays(ctx, n) {
		if err := f.day(ctx, day); err != nil {
			return errors.Join(err, j.Close())
		}
	}
	return j.Close()
}

// makeDays makes the next day while the last one is written.
func makeDays(ctx context.Context, n int) <-chan *sample.Day {
	out := make(chan *sample.Day)
	go func() {
		defer close(out)
		first := sample.Generate(sample.Options{Seed: 1, World: 1, Agents: dayAgents, Users: dayUsers})
		days := 1 + n/(first.Records-first.History)
		for i := range days {
			o := first.Options
			o.Seed, o.End = uint64(1+i), first.End.AddDate(0, 0, 1+i-days)
			select {
			case out <- sample.Generate(o):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// filler appends records in batches of a source.
type filler struct {
	j    journal.Journal
	by   map[string]*decode.Mapping
	days int
}

func (f *filler) day(ctx context.Context, day *sample.Day) error {
	bodies, rows := map[string][]byte{}, map[string]int{}
	for _, dl := range day.Deliveries {
		if dl.Repeat || dl.History && f.days > 0 {
			continue
		}
		for _, r := range dl.Records {
			bodies[dl.Source] = append(append(bodies[dl.Source], withSubscription(r.Body)...), '\n')
			if rows[dl.Source]++; rows[dl.Source] == dayBatch {
				if err := f.append(ctx, dl.Source, bodies[dl.Source]); err != nil {
					return err
				}
				bodies[dl.Source], rows[dl.Source] = nil, 0
			}
		}
	}
	f.days++
	for source, body := range bodies {
		if err := f.append(ctx, source, body); err != nil {
			return err
		}
	}
	return nil
}

func (f *filler) append(ctx context.Context, source string, body []byte) error {
	if len(body) == 0 {
		return nil
	}
	b := &schemas.Batch{Header: schemas.Header{Tenant: "default", Source: source, Class: schemas.ClassActivity, ContentType: "application/x-ndjson"}, Body: body}
	switch rejects, err := f.by[source].Read(b, decode.Limits{}); {
	case err != nil:
		return err
	case len(rejects) > 0:
		return fmt.Errorf("%d records of the sample were rejected: %s", len(rejects), rejects[0].Reason)
	}
	_, err := f.j.Append(ctx, b)
	return err
}

var (
	subscribed = regexp.MustCompile(`(?i)"workflowid":"([a-z0-9]+)"`)
	ran        = regexp.MustCompile(`"RootWorkflowId":"([a-z0-9]+)"`)
)

// withSubscription adds the subscription's id to a record about it, or about a
// run of it, under the names that our executor writes: the platform's own
// records do not tell it. There is one for each agent.
func withSubscription(rec []byte) []byte {
	switch {
	case bytes.Contains(rec, []byte("agentsubscription")):
		return subscribed.ReplaceAll(rec, []byte(`"subscriptionId":"sub_$1",$0`))
	case bytes.Contains(rec, []byte(`"Feature":"AGENT"`)):
		return ran.ReplaceAll(rec, []byte(`"SubscriptionId":"sub_$1",$0`))
	}
	return rec
}
