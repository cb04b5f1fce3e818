package platform

import (
	"strconv"

	"github.com/agentrail/agentrail/executor/gate"
)

// WhoMay says who may change a denial, and where or by which command. It begins
// with a stop, to stand behind the verdict's text; empty if nobody may.
func WhoMay(v gate.Verdict, agent string) string {
	if v.Role == "" {
		return ""
	}
	s := ". The role " + v.Role + " may change that"
	switch v.Policy {
	case "moderator.published":
		return s + ": agentrail agents publish " + agent
	case "moderator.subscribers":
		return s + ": agentrail agents limit-subscribers " + agent
	case "paused.by":
		return s + ": agentrail pauses, agentrail resume"
	case "subscription.exists":
		return s + ": agentrail subscribe " + agent
	case "identity.credential":
		return s + ": a file in the folder executor.credentials"
	case "inputs.trusted":
		return s + ": review: {by, reason, date} at the input in the agent's spec"
	}
	if v.File != "" {
		s += " in " + v.File
		if v.Line > 0 {
			s += ", line " + strconv.Itoa(v.Line)
		}
	}
	return s
}
