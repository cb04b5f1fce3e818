package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/agentrail/agentrail/sinks/sinktest/receivers"
)

// Of each cell of the table.
const (
	cellBatches = 40
	cellSize    = 50
	cellTime    = 3 * time.Minute // after which the promise counts as broken
	cellsAtOnce = 6
)

// Time in a cell is scaled: an hour's outage is ten seconds, and so are the
// longest pause after a failure (a minute) and the longest that a receiver may
// ask for (five).
const (
	hourScaled       = 10 * time.Second
	maxBackoff       = time.Minute / (time.Hour / hourScaled)
	maxRetryAfter    = 5 * time.Minute / (time.Hour / hourScaled)
	firstBackoff     = 20 * time.Millisecond
	briefRequests    = 3
	expiresAtRequest = 3
)

// misfortune is a row of the table: what happens until the healthy sink beside
// has all events, and to the first few requests in any case.
type misfortune struct {
	name    string
	refuse  receivers.Refusal
	trouble receivers.Trouble
	from    int           // the request with which it begins
	brief   bool          // the first few requests only
	down    bool          // connections are refused
	least   time.Duration // how long it lasts at least
	unknown bool          // the name is not known
	lose    bool          // some requests are accepted and lost
	poison  bool          // the receiver refuses one event for ever
	big     bool          // one event has 1 MB
	hostile bool          // every field holds text that breaks naive formats
	batches int           // 0: cellBatches
}

var misfortunes = []misfortune{
	{name: "500", refuse: receivers.Outage},
	{name: "429, Retry-After 1 s", refuse: receivers.Busy},
	{name: "429, absurd Retry-After", refuse: receivers.Absurd},
	{name: "413", refuse: receivers.TooLarge, brief: true}, // for ever, it is an event that is too large
	{name: "wrong token", refuse: receivers.Denied},
	{name: "token expires mid-stream", refuse: receivers.Denied, from: expiresAtRequest},
	{name: "connection refused", down: true},
	{name: "an hour's outage, 360:1", down: true, least: hourScaled},
	{name: "read, never answered", trouble: receivers.Mute},
	{name: "half open: never read", trouble: receivers.Stuck},
	{name: "read a byte at a time", trouble: receivers.Drip, brief: true},
	{name: "reset in the body", trouble: receivers.Cut},
	{name: "taken, then reset", trouble: receivers.Swallow},
	{name: "taken, half an answer", refuse: receivers.Garbled},
	{name: "TLS: a stranger's", trouble: receivers.Stranger},
	{name: "DNS: no such name", unknown: true},
	{name: "accepted and lost", lose: true},
	{name: "1 of 10,000 refused", poison: true, batches: 10_000 / cellSize},
	{name: "an event of 1 MB", big: true, batches: 2},
	{name: "hostile text", hostile: true, batches: 4},
}

// lasting reports whether nothing comes through until the end.
func (m misfortune) lasting() bool {
	return !m.brief && (m.refuse != receivers.Taken || m.trouble != receivers.Calm || m.down || m.unknown)
}

// beside says why the misfortune cannot happen to the kind; empty: it can.
func (m misfortune) beside(k receivers.Kind) string {
	switch {
	case m.refuse == receivers.Garbled && !k.HTTP:
		return "an answer is a frame here: half of one is the reset of the row above"
	case m.refuse != receivers.Taken && k.Dumb:
		return "syslog has no answers"
	case m.refuse != receivers.Taken && !k.Can(m.refuse):
		return "its protocol does not say this: brokers throttle by delay"
	case (m.trouble == receivers.Swallow || m.trouble == receivers.Mute) && k.Dumb:
		return "syslog has no answers"
	case m.lose && !k.Tells:
		return "it says that it accepted and no more: what it loses then cannot be noticed"
	case m.poison && !k.Blames:
		return "it does not look into events"
	}
	return ""
}

// sinkTable prints what becomes of events when each receiver fails in each way,
// and whether the promise is kept: nothing lost, nothing twice where the
// receiver knows ids, a healthy sink beside that is done before the failing one
// recovers, nothing sent that the protocol forbids, and a ledger in which every
// event stands.
func sinkTable(ctx context.Context, doc string) error {
	dns, err := serveNames()
	if err != nil {
		return err
	}
	defer dns.close()
	kinds := receivers.Kinds()
	cells := make([][]cell, len(kinds))
	var wg sync.WaitGroup
	slots := make(chan struct{}, cellsAtOnce)
	for i, k := range kinds {
		cells[i] = make([]cell, len(misfortunes))
		for n, m := range misfortunes {
			c := &cells[i][n]
			if c.beside = m.beside(k); c.beside != "" {
				continue
			}
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				c.run(ctx, k, m, dns, fmt.Sprintf("cell-%d-%d.test", i, n))
			})
		}
	}
	wg.Wait()
	err = printTable(kinds, cells)
	if doc != "" {
		err = errors.Join(err, writeTable(doc, kinds, cells))
	}
	return err
}

func printTable(kinds []receivers.Kind, cells [][]cell) error {
	fmt.Println("\nevents past a receiver that fails until a healthy sink beside it has all")
	fmt.Printf("%-14s %-25s %6s %6s %8s %5s %8s %7s  %s\n", "sink", "fault", "events", "lost", "doubled", "dead", "healthy", "took", "promise")
	var broken []error
	for i, k := range kinds {
		for n, m := range misfortunes {
			c := cells[i][n]
			if c.beside != "" {
				fmt.Printf("%-14s %-25s %s\n", k.Name, m.name, c.beside)
				continue
			}
			verdict := "kept"
			if why := c.broken(k, m); why != nil {
				verdict = "BROKEN: " + why.Error()
				broken = append(broken, fmt.Errorf("%s, %s: %w", k.Name, m.name, why))
			}
			fmt.Printf("%-14s %-25s %6d %6d %8d %5d %7.1fs %6.1fs  %s\n", k.Name, m.name, c.events, c.lost, c.doubled, c.dead, c.healthy.Seconds(), c.took.Seconds(), verdict)
		}
	}
	return errors.Join(broken...)
}

// cell is one sink under one misfortune.
type cell struct {
	beside              string // why it cannot happen
	events              int
	lost, doubled, dead int
	healthy, took       time.Duration // until the healthy sink and the failing one had all
	early               bool          // the failing one had all before the healthy one: nothing was shown
	counted             int64         // events that the ledger accounts for
	violations          []string
	err                 error
}

func (c *cell) broken(k receivers.Kind, m misfortune) error {
	dead := 0
	if m.poison || m.big && k.Longest > 0 {
		dead = 1
	}
	switch {
	case c.err != nil:
		return c.err
	case c.lost > 0:
		return fmt.Errorf("%d events are lost", c.lost)
	case k.Unique && c.doubled > 0:
		return fmt.Errorf("%d events are there twice", c.doubled)
	case c.dead != dead:
		return fmt.Errorf("%d dead letters, not %d", c.dead, dead)
	case c.counted != int64(c.events):
		return fmt.Errorf("the ledger accounts for %d of %d events", c.counted, c.events)
	case len(c.violations) > 0:
		return fmt.Errorf("not as documented: %s", c.violations[0])
	case c.early && m.lasting() && (k.Reads || m.refuse != receivers.Garbled):
		return errors.New("the healthy sink was held up")
	}
	return nil
}
