// Package trail writes what agents did and were denied as records in the
// layouts that the pipeline's sources read, and brings the records there: to
// files, to a server, or to a server by way of an outbox on disk.
package trail

import (
	"context"
	"errors"
)

// Sources that a record is for.
const (
	SourceAudit  = "audit"
	SourceRuns   = "workflowrun"
	SourceTraces = "traces"
)

// Record is one document of the audit trail. The body of one for SourceTraces
// is an OTLP request in protobuf; of the others, one JSON object without line
// breaks. Two records of one id are one. It is an alias so that whoever stores
// records need not import this package.
type Record = struct {
	Source string
	ID     string
	Body   []byte
}

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

// Selective is a Recorder that has no place for some sources: what it does not
// take need not be made.
type Selective interface {
	Takes(source string) bool
}

// ErrBacklog says that too many records wait.
var ErrBacklog = errors.New("too many records wait to be taken")
