package collector

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/problem"
)

// answer is the body of a 202.
type answer struct {
	Accepted      int          `json:"accepted"`
	Duplicates    int          `json:"duplicates"`
	Rejected      []rejectedAt `json:"rejected"`       // at most maxListed
	RejectedTotal int          `json:"rejected_total"` // all of them
	Offset        uint64       `json:"offset"`         // of the batch in the journal
}

// rejectedAt names a record that could not be read.
type rejectedAt struct {
	Line   int    `json:"line"`   // 1-based
	Offset uint32 `json:"offset"` // of its first byte in the decompressed body
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// maxListed caps the rejected records that an answer lists.
const maxListed = 100

// pushbackRetry is when to try again if the journal does not say.
const pushbackRetry = 5 * time.Second

// appendFault turns an error of the journal into the answer to it.
func (s *intake) appendFault(err error) *problem.Details { return appendProblem(s.log, err) }

func appendProblem(log *slog.Logger, err error) *problem.Details {
	d := &problem.Details{Status: http.StatusServiceUnavailable, Code: "unavailable", RetryAfter: pushbackRetry, Detail: "nothing is acknowledged; send it again later"}
	if later, ok := errors.AsType[*journal.RetryAfter](err); ok {
		d.RetryAfter = later.After
	}
	switch {
	case errors.Is(err, journal.ErrPushback):
		d.Code, d.Detail = "journal_full", "the journal is past its bound; nothing is acknowledged, send it again later"
	case errors.Is(err, journal.ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	default:
		log.Error("append to journal", "error", err)
	}
	return d
}

// unreadable is the answer to a request in which nothing could be read.
func unreadable(err error, rejects []decode.Reject, offset uint64) *problem.Details {
	d := &problem.Details{Status: http.StatusBadRequest, Code: "nothing_readable", Detail: "no record of the request could be read"}
	if err != nil {
		d.Detail += ": " + err.Error()
	}
	d.Extensions = map[string]any{"rejected": list(rejects), "rejected_total": len(rejects)}
	if len(rejects) > 0 {
		d.Extensions["offset"] = offset
	}
	return d
}

func list(rejects []decode.Reject) []rejectedAt {
	out := make([]rejectedAt, 0, min(len(rejects), maxListed))
	for _, r := range rejects[:min(len(rejects), maxListed)] {
		out = append(out, rejectedAt{Line: r.Line, Offset: r.Start, Code: r.Code, Reason: r.Reason})
	}
	return out
}

func sizeOf(rejects []decode.Reject) int {
	n := 0
	for _, r := range rejects {
		n += int(r.Length)
	}
	return n
}
