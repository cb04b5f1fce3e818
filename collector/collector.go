// Package collector brings records from the outside world into the journal.
// Each source is one file; what they share is the HTTP intake (intake.go) and
// the way a batch and its dead letters are kept (keep.go). A record counts as
// taken only when the journal has it on disk.
package collector

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// AppendFunc stores a batch and returns its offset when it is on disk; see
// journal.Journal. It takes ownership of the batch.
type AppendFunc func(ctx context.Context, b *schemas.Batch) (uint64, error)

// Deps is what a source is given.
type Deps struct {
	Append  AppendFunc            // Mandatory.
	Decode  *decode.Set           // Mandatory: the mappings
	Log     *slog.Logger          // Mandatory.
	Reg     prometheus.Registerer // Mandatory.
	Tenant  string                // owner of records from sources without a credential, such as files
	DataDir string                // where a source keeps its state
	Now     func() time.Time      // nil means time.Now

	// For sources that have a listener of their own.
	Caller func(token string) (*auth.Principal, bool) // who a token belongs to; nil: nobody is let in
	Full   func(tenant string) bool                   // the tenant has too many dead letters; nil: nobody has
}

// Source takes records in until ctx ends. Run returns nil then, and an error
// only for what retrying cannot mend.
type Source interface {
	Run(ctx context.Context) error
}

// HTTPSource is a source that others send to. Routes are patterns of
// http.ServeMux with their handlers; mount them behind auth.Require with the
// role ingest: the tenant is taken from the caller's credential only.
type HTTPSource interface {
	Source
	Routes() map[string]http.Handler
}

type openFunc = func(ctx context.Context, c plug.Config, d Deps) (Source, error)

var registry = plug.Registry[openFunc]{Family: "source"}

// Register adds a kind of source. It is for init functions and panics if the
// kind is registered already.
func Register(kind string, open func(ctx context.Context, c plug.Config, d Deps) (Source, error)) {
	registry.Register(kind, open)
}

// Kinds returns the kinds of source there are, sorted.
func Kinds() []string { return registry.Kinds() }

// Open returns the source that c describes. It takes nothing in before Run or,
// for an HTTPSource, before its routes are mounted.
func Open(ctx context.Context, c plug.Config, d Deps) (Source, error) {
	open, err := registry.Lookup(c)
	if err != nil {
		return nil, err
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Caller == nil {
		d.Caller = func(string) (*auth.Principal, bool) { return nil, false }
	}
	if d.Full == nil {
		d.Full = func(string) bool { return false }
	}
	d.Log = d.Log.With("source", c.Name)
	return open(ctx, c, d)
}
