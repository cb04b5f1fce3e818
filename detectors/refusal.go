package detectors

import (
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// Words reads what no field of an event holds, by the vocabulary that it was
// given: why a call was refused, what changed, who is let in.
type Words struct{ v *schemas.Vocabulary }

// refused says why a call was turned away before it did anything. The values
// are those of schemas.Denial.
type refused uint8

const (
	refusedNot      = refused(schemas.DenialNone)
	refusedPolicy   = refused(schemas.DenialPolicy)    // a permission or a policy said no
	refusedAuth     = refused(schemas.DenialExpired)   // no or expired credentials
	refusedThrottle = refused(schemas.DenialThrottled) // too many calls
	refusedSpend    = refused(schemas.DenialSpend)     // the budget is used up
)

// longestReason caps how much of a reason is looked at.
const longestReason = 512

// refusal tells why a call was turned away, or that it was not. What the
// mapping says of it goes first. Only its word "policy" is looked into, since
// that is also what it calls a no without a code.
func (w *Words) refusal(ev *schemas.Event) refused {
	if ev.Outcome == schemas.OutcomeOK || ev.Outcome == schemas.OutcomeCancelled {
		return refusedNot
	}
	if ev.Denial > schemas.DenialPolicy {
		return refused(ev.Denial)
	}
	if ev.Outcome == schemas.OutcomeUnknown && ev.Status < 400 && ev.Reason == "" {
		return refusedNot
	}
	// A server error is a failure whatever its text says.
	if ev.Reason != "" && (ev.Status < 500 || ev.Outcome == schemas.OutcomeDenied) {
		if k := w.refusalByText(ev.Reason); k != refusedNot {
			return k
		}
	}
	if k := w.v.Refusals.Statuses[ev.Status]; k != schemas.DenialNone {
		return refused(k)
	}
	if ev.Outcome != schemas.OutcomeDenied && ev.Denial != schemas.DenialPolicy {
		return refusedNot
	}
	return w.refusalByRecord(ev)
}

// refusalByRecord tells the kind of a denial that has no status and whose
// reason says nothing, such as TOOL_ERROR: by the record's own text.
func (w *Words) refusalByRecord(ev *schemas.Event) refused {
	if ev.Status == 0 {
		for _, path := range w.v.Refusals.Texts {
			if v, ok := ev.Lookup(path); ok && v.Kind == schemas.ValueString {
				if k := w.refusalByText(v.Str); k != refusedNot {
					return k
				}
			}
		}
	}
	return refusedPolicy
}

func (w *Words) refusalByText(reason string) refused {
	if len(reason) > longestReason {
		reason = reason[:longestReason]
	}
	for i := range w.v.Refusals.Words {
		if r := &w.v.Refusals.Words[i]; containsFold(reason, r.Word) {
			return refused(r.Denial)
		}
	}
	return refusedNot
}

// containsFold reports whether s holds the lower-case ASCII word, in any case.
func containsFold(s, word string) bool {
	for i := 0; i+len(word) <= len(s); i++ {
		if s[i]|0x20 == word[0]|0x20 && strings.EqualFold(s[i:i+len(word)], word) {
			return true
		}
	}
	return false
}
