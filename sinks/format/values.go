package format

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// alertOf returns the alert that the event holds. Where there is none, or
// redaction left something else in a field, what the event itself says stands
// in: there is always an id and a title.
func alertOf(ev *schemas.Event) (a schemas.Alert) {
	if ev.Flags&schemas.FlagSealed != 0 || json.Unmarshal(ev.Raw, &a) != nil {
		a = schemas.Alert{Actor: ev.Actor, ActorEmail: ev.ActorEmail, Agent: ev.Agent, Reason: ev.Reason}
	}
	a.ID = firstOf(a.ID, ev.ID.String())
	a.Title = firstOf(a.Title, a.Rule, "alert")
	return a
}

// severity of all but alerts, by OCSF's numbers: what went through is
// informational, what did not is low, as is what the pipeline has to say about
// itself, and a no by a rule is medium.
func severity(ev *schemas.Event) int {
	switch {
	case ev.Class == schemas.ClassHealth:
		return 2
	case ev.Outcome == schemas.OutcomeDenied && ev.Denial == schemas.DenialPolicy:
		return 3
	case ev.Outcome == schemas.OutcomeDenied, ev.Outcome == schemas.OutcomeError:
		return 2
	}
	return 1
}

func alertSeverity(s schemas.Severity) int {
	switch s {
	case schemas.SeverityInformational:
		return 1
	case schemas.SeverityLow:
		return 2
	case schemas.SeverityMedium:
		return 3
	case schemas.SeverityHigh:
		return 4
	case schemas.SeverityCritical:
		return 5
	}
	return 0
}

// millis rounds down, also before 1970.
func millis(ns int64) int64 {
	ms := ns / 1e6
	if ns%1e6 < 0 {
		ms--
	}
	return ms
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// longestIP is what OCSF takes.
const longestIP = 40

// address reports whether s is an address that every receiver can read as one.
func address(s string) bool {
	if s == "" || len(s) > longestIP {
		return false
	}
	ip, err := netip.ParseAddr(s)
	return err == nil && ip.Zone() == ""
}

var httpMethods = []string{"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}

func httpMethod(s string) bool { return slices.Contains(httpMethods, s) }

// emailLike reports whether s is an address by OCSF's notion of one: narrower
// than what mail allows, and a digest that stands for a redacted one is none.
func emailLike(s string) bool {
	user, host, ok := strings.Cut(s, "@")
	name, rest, dot := strings.Cut(host, ".")
	return ok && dot && only(user, "!#$%&'*+,-./=?^_`{|}~") && only(name, "-") && only(rest, "-.")
}

// only reports whether s is not empty and holds only ASCII letters, digits and
// the marks.
func only(s, marks string) bool {
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte(marks, c) < 0 {
			return false
		}
	}
	return s != ""
}

// headText is a signed head as JSON, for receivers that have only strings.
func headText(h *schemas.Head) string {
	text, err := json.Marshal(h)
	if err != nil { // a year beyond 9999
		return ""
	}
	return string(text)
}
