package collector

import (
	"context"

	"github.com/agentrail/agentrail/internal/plug"
)

// The source workflowrun takes records of the platform's customer event log
// (WorkflowRun and the types beside it), at POST /v1/workflowrun, in a Cloud
// Logging entry, as rows of BigQuery or bare. Its fields are those of
// httpConfig.
func init() {
	Register("workflowrun", func(_ context.Context, c plug.Config, d Deps) (Source, error) { return newIntake(c, d) })
}
