package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// learned waits until the detectors have seen what was sent and says what came
// of it, as far as the token may ask.
func (im *importer) learned(ctx context.Context, t *tally, began time.Time) error {
	if t.accepted == 0 {
		return nil
	}
	p := &page{w: im.c.out}
	if err := im.await(ctx, t.offset); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.line("learned", "not known: "+err.Error())
		return p.err
	}
	keys, learning, err := im.keys(ctx)
	if err != nil {
		p.line("learned", "not known: "+err.Error())
	} else {
		p.line("learned", fmt.Sprintf("detectors keep %d keys; %d rates have no usual value of their own yet and use the fixed limits", keys, learning))
	}
	if im.live {
		p.line("alerts", "see: agentrail alerts")
		return p.err
	}
	n, more, err := im.historyAlerts(ctx, t)
	switch {
	case err != nil:
		p.line("alerts", "not known: "+err.Error())
	case n == 0:
		p.line("alerts", "none on this history")
	default:
		text := strconv.Itoa(n)
		if more {
			text = "at least " + text
		}
		p.line("alerts", text+" on this history, shown and not notified: agentrail alerts --since "+time.Unix(0, t.from).UTC().Format(time.RFC3339))
	}
	p.line("took", im.c.now().Sub(began).Round(time.Millisecond).String())
	return p.err
}

// patience is how long consumers may make no step.
const patience = time.Minute

// await waits until the detectors and the store have read past that offset and
// what the detectors appended.
func (im *importer) await(ctx context.Context, offset uint64) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last, since := "", im.c.now()
	for {
		var st api.Status
		if err := im.cl.get(ctx, "status", nil, &st); err != nil {
			return err
		}
		done, where := true, ""
		for _, c := range st.Consumers {
			if c.Name == "detectors" || c.Name == "store" {
				done = done && c.Offset > offset && (c.Name == "detectors" || c.Lag == 0)
				where += fmt.Sprintf("%s at %d ", c.Name, c.Offset)
			}
		}
		if done {
			return nil
		}
		if where != last {
			last, since = where, im.c.now()
		}
		if im.c.now().Sub(since) > patience {
			return fmt.Errorf("the server makes no step: %s, %d was sent", where, offset)
		}
		im.view.status("waiting for the server: " + where)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// keys reads what the detectors know from the server's metrics.
func (im *importer) keys(ctx context.Context) (keys, learning int, err error) {
	body, err := im.cl.do(ctx, "GET", "../../metrics", nil, nil, "text/plain")
	if err != nil {
		return 0, 0, err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), "{")
		value := lines.Text()[strings.LastIndexByte(lines.Text(), ' ')+1:]
		n, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case name == "agentrail_detectors_keys":
			keys += int(n)
		case name == "agentrail_detectors_learning_keys":
			learning += int(n)
		}
	}
	return keys, learning, lines.Err()
}

// historyAlerts counts the alerts on history in the time of the records.
func (im *importer) historyAlerts(ctx context.Context, t *tally) (n int, more bool, err error) {
	if t.from > t.to {
		return 0, false, errors.New("no record had a time")
	}
	q := url.Values{"limit": {"1000"}, "since": {time.Unix(0, t.from).UTC().Format(time.RFC3339Nano)}}
	var list api.AlertList
	if err := im.cl.get(ctx, "alerts", q, &list); err != nil {
		return 0, false, err
	}
	for i := range list.Alerts {
		if list.Alerts[i].Backfill {
			n++
		}
	}
	return n, list.More, nil
}
