package platform

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/internal/problem"
)

const (
	maxName   = 200     // bytes of a name in a request
	maxReason = 4 << 10 // of a reason
)

// bad answers a request that says something wrong.
func bad(w http.ResponseWriter, format string, args ...any) {
	problem.Write(w, problem.Details{Status: http.StatusBadRequest, Title: "Bad request", Code: "bad_request", Detail: fmt.Sprintf(format, args...)})
}

// fail answers for an error of the store or the engine.
func (p *platform) fail(w http.ResponseWriter, r *http.Request, what string, err error) {
	switch {
	case errors.Is(err, state.ErrNotFound):
		problem.Write(w, problem.Details{Status: http.StatusNotFound, Code: "not_found", Detail: "there is no " + what})
	case errors.Is(err, state.ErrConflict):
		problem.Write(w, problem.Details{Status: http.StatusConflict, Code: "conflict", Detail: err.Error()})
	case r.Context().Err() != nil: // the client is gone; nobody reads the answer
	default:
		p.log.Error("answer request", "path", r.URL.Path, "err", err)
		problem.Write(w, problem.Details{
			Status: http.StatusServiceUnavailable, Title: "Temporarily unavailable", Code: "unavailable",
			Detail: what + " cannot be had now; the executor's log says more", RetryAfter: 5 * time.Second,
		})
	}
}
