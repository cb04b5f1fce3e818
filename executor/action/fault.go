package action

import (
	"context"
	"errors"
)

// Errors that callers tell apart.
var (
	// ErrUnknown says that there is no such tool.
	ErrUnknown = errors.New("there is no such tool")
	// ErrNoCredential says that the user has none for the tool.
	ErrNoCredential = errors.New("the user has no credential for it")
	// ErrChanged says that a tool is not what it was when it was looked at.
	ErrChanged = errors.New("what the tool says about itself has changed")
	// ErrArguments says that the tool does not take these arguments.
	ErrArguments = errors.New("the arguments do not fit")
	// ErrBusy says that as many servers run as may.
	ErrBusy = errors.New("as many servers run as may; try again")
)

// Problem codes of calls that failed.
const (
	CodeUnknown       = "resource_not_found"
	CodeNoCredential  = "authentication_required"
	CodeChanged       = "tool_definition_changed"
	CodeArguments     = "invalid_arguments"
	CodeTooLarge      = "result_too_large"
	CodeTimeout       = "timeout"
	CodeCancelled     = "cancelled"
	CodeUnavailable   = "tool_unavailable"
	CodeFailed        = "tool_failed"
	CodeForbidden     = "insufficient_permissions"
	CodeRateLimit     = "rate_limit_exceeded"
	CodeConflict      = "resource_conflict"
	CodeRejected      = "invalid_request"
	CodeNoModel       = "model_disabled"
	CodeModelMisspoke = "model_answer_invalid"
)

// Code is the problem code of an error of this package.
func Code(err error) string {
	for _, known := range []struct {
		err  error
		code string
	}{
		{ErrUnknown, CodeUnknown},
		{ErrNoCredential, CodeNoCredential},
		{ErrChanged, CodeChanged},
		{ErrArguments, CodeArguments},
		{ErrTooLarge, CodeTooLarge},
		{context.DeadlineExceeded, CodeTimeout},
		{context.Canceled, CodeCancelled},
		{ErrBusy, CodeUnavailable},
		{ErrGone, CodeUnavailable},
		{ErrNoModel, CodeNoModel},
		{errAnswer, CodeModelMisspoke},
	} {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return CodeFailed
}

// Again reports whether making an idempotent call once more may help. A result
// that is an error is told apart by its code.
func Again(err error, r Result) bool {
	if err == nil {
		return r.IsError && (r.Code == CodeRateLimit || r.Code == CodeUnavailable || r.Code == CodeTimeout)
	}
	switch Code(err) {
	case CodeTimeout, CodeUnavailable, CodeFailed:
		return true
	}
	return false
}
