package gateway

import (
	"context"
	"errors"
)

// Recorder takes the audit trail. All methods may be called concurrently.
type Recorder interface {
	// Commit returns nil when the record is on disk where it belongs. A write
	// waits for it.
	Commit(ctx context.Context, r Record) error
	// Reserve keeps a place for a record that will be Put, and reports whether
	// there was one.
	Reserve() bool
	// Put takes a record that need not be waited for, into the place that was
	// reserved.
	Put(r Record) error
	// Close returns when all that was Put is where it belongs, or kept aside when
	// ctx ends.
	Close(ctx context.Context) error
}

// errBacklog says that too many records wait.
var errBacklog = errors.New("too many records wait to be taken")
