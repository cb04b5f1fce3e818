package trail

import (
	"fmt"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// tracesRefused reads an answer of 200: it is an error if spans were rejected.
// OTLP does not say which.
func tracesRefused(text []byte) error {
	answer := ptraceotlp.NewExportResponse()
	if err := answer.UnmarshalProto(text); err != nil {
		return fmt.Errorf("send spans: answer is not from a receiver of OTLP: %w", err)
	}
	if n := answer.PartialSuccess().RejectedSpans(); n > 0 {
		return fmt.Errorf("send spans: %w: %d were rejected: %s", errRefused, n, Cut(answer.PartialSuccess().ErrorMessage(), maxText))
	}
	return nil
}
