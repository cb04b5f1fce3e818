package main

import (
	"time"

	"github.com/agentrail/agentrail/deploy/sample"
)

// world is one way to vary the sample's tenant.
type world struct {
	name    string
	options sample.Options
	weeks   bool // as they happen, instead of a day
}

// ends is when the days end: on a working day, in the tenant's afternoon.
var ends = time.Date(2026, 11, 19, 17, 0, 0, 0, time.UTC)

// evening is when the weeks end.
var evening = time.Date(2026, 11, 20, 23, 0, 0, 0, time.UTC)

// worlds returns the ordinary world and its weeks, then those that the limits
// were not made with: other sizes, other amounts of ordinary traffic, other times.
func worlds() []world {
	vary := func(name string, change func(o *sample.Options)) world {
		o := sample.Options{End: ends, Agents: 40, Users: 200}
		change(&o)
		return world{name: name, options: o}
	}
	size := func(by float64) func(*sample.Options) {
		return func(o *sample.Options) { o.Agents, o.Users = int(by*40), int(by*200) }
	}
	rate := func(by float64) func(*sample.Options) { return func(o *sample.Options) { o.Rate = by } }
	strength := func(by float64) func(*sample.Options) {
		return func(o *sample.Options) { o.Strength = by }
	}
	return []world{
		vary("as made: 40 agents, 200 users", func(*sample.Options) {}),
		{name: "15 days as they happen", options: sample.Options{End: evening}, weeks: true},
		vary("12 agents, 60 users", size(0.3)),
		vary("20 agents, 100 users", size(0.5)),
		vary("80 agents, 400 users", size(2)),
		vary("160 agents, 800 users", size(4)),
		vary("half the traffic", rate(0.5)),
		vary("twice the traffic", rate(2)),
		vary("three times the traffic", rate(3)),
		vary("incidents three quarters as large", strength(0.75)),
		vary("incidents half as large", strength(0.5)),
		vary("incidents twice as large", strength(2)),
		vary("ends on a Monday night", func(o *sample.Options) { o.End = time.Date(2026, 11, 17, 4, 0, 0, 0, time.UTC) }),
		vary("a Saturday, people rest", func(o *sample.Options) { o.End, o.Weekends = time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC), true }),
		vary("all events as BigQuery rows", func(o *sample.Options) { o.LowerCase = 1 }),
	}
}
