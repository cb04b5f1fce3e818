package detectors

import (
	"context"
	"errors"
	"fmt"

	"github.com/agentrail/agentrail/internal/plug"
)

// reload asks for other detectors.
type reload struct {
	detectors []plug.Config
	ruling    Ruling
	done      chan error
}

// Reload puts other detectors and another ruling in the place of those there
// are, between two batches: no event is judged by half of them. What a detector
// remembers goes on with the one of its kind and name, as it does over a
// restart. On an error, and one rule that cannot be loaded is one, everything
// stays as it was. It waits for the next batch or tick, so Consume must run.
func (e *Engine) Reload(ctx context.Context, configs []plug.Config, r Ruling) error {
	ask := &reload{detectors: configs, ruling: r, done: make(chan error, 1)}
	select {
	case e.reload <- ask:
		return <-ask.done
	case <-ctx.Done():
		return fmt.Errorf("read detectors again: %w", ctx.Err())
	}
}

func (e *Engine) reloadIfAsked() {
	select {
	case ask := <-e.reload:
		err := e.exchange(ask)
		outcome := "ok"
		if err != nil {
			outcome = "refused"
		}
		e.m.Reloads.WithLabelValues(outcome).Inc()
		ask.done <- err
	default:
	}
}

// exchange opens the new detectors, gives them the memory of the old ones and
// puts them in their place; on an error it puts everything back.
func (e *Engine) exchange(ask *reload) error {
	was, lanes := e.o, e.lanes
	e.o.Detectors, e.o.Ruling = ask.detectors, ask.ruling
	fresh, err := e.openLanes(true)
	if err == nil {
		err = e.rule(fresh[0].detectors)
	}
	if err != nil {
		e.o = was
		_ = e.rule(lanes[0].detectors) // what is wrong in it was told when it was read
		return err
	}
	var memory Encoder
	for i := range e.lanes {
		saveLane(&memory, &e.lanes[i])
	}
	e.lanes = fresh
	d := &Decoder{buf: memory.buf}
	for i := range e.lanes {
		e.loadLane(d, &e.lanes[i])
	}
	if d.err != nil || len(d.buf) > 0 {
		return errors.New("BUG: detectors cannot read what they just wrote")
	}
	return nil
}
