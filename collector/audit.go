package collector

import (
	"context"

	"github.com/agentrail/agentrail/internal/plug"
)

// The source audit takes entries of the platform's audit log, one for each API
// call, at POST /v1/audit. Its fields are those of httpConfig.
func init() {
	Register("audit", func(_ context.Context, c plug.Config, d Deps) (Source, error) { return newIntake(c, d) })
}
