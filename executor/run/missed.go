package run

import (
	"context"
	"fmt"
	"time"

	"github.com/agentrail/agentrail/executor/state"
)

// Missed keeps and records that a run which was due at a time was not started.
// If one with its key is kept already the error is state.ErrDuplicate.
func (e *Engine) Missed(ctx context.Context, q Request, due time.Time, reason string) (state.Run, error) {
	j, err := e.prepare(ctx, q)
	if err != nil {
		return state.Run{}, fmt.Errorf("record missed run: %w", err)
	}
	j.run.Started, j.run.Ended, j.run.Status, j.run.Reason, j.problem = due.UTC(), due.UTC(), state.Missed, reason, "missed"
	if err := e.reserve(endPlaces); err != nil {
		return state.Run{}, fmt.Errorf("record missed run: %w", err)
	}
	if err := e.o.Store.BeginRun(ctx, j.run, 0); err != nil {
		e.giveBack(endPlaces)
		return state.Run{}, fmt.Errorf("record missed run: %w", err)
	}
	e.finish(j)
	return j.run, nil
}
