package detectors

import (
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// refused says why a call was turned away before it did anything.
type refused uint8

const (
	refusedNot      refused = iota
	refusedPolicy           // a permission or a policy said no
	refusedAuth             // no or expired credentials
	refusedThrottle         // too many calls
	refusedSpend            // the budget is used up
)

// refusalWords are looked for in the reason of a refused or failed call, in
// this order: what is written beats the status, since a 403 may be a spent
// budget and a 200 may hide a denial.
var refusalWords = []struct {
	word string
	kind refused
}{
	{"spend_limit", refusedSpend},
	{"spend limit", refusedSpend},
	{"budget", refusedSpend},
	{"rate_limit", refusedThrottle},
	{"rate limit", refusedThrottle},
	{"too_many_requests", refusedThrottle},
	{"too many requests", refusedThrottle},
	{"throttl", refusedThrottle},
	{"quota", refusedThrottle},
	{"tools_unauthorized", refusedPolicy},
	{"token_expired", refusedAuth},
	{"expired", refusedAuth},
	{"authentication", refusedAuth},
	{"unauthenticated", refusedAuth},
	{"invalid_token", refusedAuth},
	{"invalid_grant", refusedAuth},
	{"insufficient_permission", refusedPolicy},
	{"permission", refusedPolicy},
	{"forbidden", refusedPolicy},
	{"policy", refusedPolicy},
	{"access_denied", refusedPolicy},
	{"access denied", refusedPolicy},
	{"not_allowed", refusedPolicy},
	{"not allowed", refusedPolicy},
	{"blocked", refusedPolicy},
	{"guardrail", refusedPolicy},
}

// longestReason caps how much of a reason is looked at.
const longestReason = 512

// refusal tells why a call was turned away, or that it was not. What the
// mapping says of it goes first. Only its word "policy" is looked into, since
// that is also what it calls a no without a code.
func refusal(ev *schemas.Event) refused {
	if ev.Outcome == schemas.OutcomeOK || ev.Outcome == schemas.OutcomeCancelled {
		return refusedNot
	}
	switch ev.Denial {
	case schemas.DenialExpired:
		return refusedAuth
	case schemas.DenialThrottled:
		return refusedThrottle
	case schemas.DenialSpend:
		return refusedSpend
	}
	if ev.Outcome == schemas.OutcomeUnknown && ev.Status < 400 && ev.Reason == "" {
		return refusedNot
	}
	// A server error is a failure whatever its text says.
	if ev.Reason != "" && (ev.Status < 500 || ev.Outcome == schemas.OutcomeDenied) {
		if k := refusalByText(ev.Reason); k != refusedNot {
			return k
		}
	}
	switch ev.Status {
	case 401:
		return refusedAuth
	case 429:
		return refusedThrottle
	case 402:
		return refusedSpend
	case 403:
		return refusedPolicy
	}
	if ev.Outcome != schemas.OutcomeDenied && ev.Denial != schemas.DenialPolicy {
		return refusedNot
	}
	return refusalByRecord(ev)
}

// errorTexts are where records keep the text of an error, besides the reason.
var errorTexts = []string{
	"jsonPayload.action.errorstr", "action.errorstr", "jsonPayload.response.error", "response.error",
	"jsonPayload.error", "error", "jsonPayload.errorMessage", "errorMessage",
}

// refusalByRecord tells the kind of a denial that has no status and whose
// reason says nothing, such as TOOL_ERROR: by the record's own text.
func refusalByRecord(ev *schemas.Event) refused {
	if ev.Status == 0 {
		for _, path := range errorTexts {
			if v, ok := ev.Lookup(path); ok && v.Kind == schemas.ValueString {
				if k := refusalByText(v.Str); k != refusedNot {
					return k
				}
			}
		}
	}
	return refusedPolicy
}

func refusalByText(reason string) refused {
	if len(reason) > longestReason {
		reason = reason[:longestReason]
	}
	for _, w := range refusalWords {
		if containsFold(reason, w.word) {
			return w.kind
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
