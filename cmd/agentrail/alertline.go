package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"

	"github.com/agentrail/agentrail/schemas"
)

const (
	idPrefix   = 8  // of an alert's id: enough to find it by
	mostName   = 28 // columns of an entity's name
	leastWords = 56 // columns that are left to the words beside a long command
)

// alertLine is an alert as one line of so many columns: when, how grave, which
// rule, on what, the numbers, by whom, and the command that shows more. What
// does not fit is cut out of the words, never off the command. paint colours
// the severity; nil leaves it.
func alertLine(a *schemas.Alert, width int, command string, paint func(schemas.Severity, string) string) string {
	severity := strings.ToUpper(string(a.Severity))
	if a.Severity == schemas.SeverityInformational {
		severity = "INFO"
	}
	severity += strings.Repeat(" ", max(6-len(severity), 0))
	when, tail := a.LastSeen.Local().Format("15:04:05"), " -> "+command
	room := max(width-runewidth.StringWidth(when+"  "+severity+tail), leastWords)
	words := alertWords(a, false)
	if runewidth.StringWidth(words) > room {
		words = runewidth.Truncate(alertWords(a, true), room, "…")
	}
	if paint != nil {
		severity = paint(a.Severity, severity)
	}
	return when + " " + severity + " " + words + tail
}

// alertWords are the rule, what it is about and the details; brief leaves out
// what can be.
func alertWords(a *schemas.Alert, brief bool) string {
	return clean(a.Rule + " " + quoted(a) + " " + details(a, brief))
}

// alertPrefix is the beginning of the id that finds the alert.
func alertPrefix(id string) string { return id[:min(len(id), idPrefix)] }

func quoted(a *schemas.Alert) string {
	name := shortAddress(firstOf(a.Entity.Name, nameOf(a), a.Entity.ID))
	name = "'" + runewidth.Truncate(clean(name), mostName, "…") + "'"
	if a.Entity.Kind == "tenant" {
		return "tenant " + name
	}
	return name
}

// nameOf is the name of what the alert is about where its entity has none.
func nameOf(a *schemas.Alert) string {
	switch a.Entity.Kind {
	case "agent", "subscription":
		return a.AgentName
	case "actor":
		return a.ActorEmail
	}
	return ""
}

// details are what was counted or what happened, by whom, and how it was started.
func details(a *schemas.Alert, brief bool) string {
	text, by := headline(a, brief), who(a)
	if by == shortAddress(firstOf(a.Entity.Name, nameOf(a))) {
		by = ""
	}
	switch {
	case by == "":
	case strings.Contains(a.Title, nonOwner):
		text += " by non-owner " + by
	case a.Observed > 0 && brief:
		text += ", " + by
	case a.Observed > 0:
		text += ", by " + by
	default:
		text += " by " + by
	}
	for _, c := range a.Changes[:min(len(a.Changes), 1)] {
		text += fmt.Sprintf(", %s %s → %s", c.Field, firstOf(c.Before, "nothing"), firstOf(c.After, "nothing"))
	}
	if how := startedBy(a.Initiator); how != "" && !brief && !strings.Contains(text, how) {
		text += " " + how
	}
	return text
}

// refusals are the words for what the denial rules count.
var refusals = map[string]string{
	"denial":          "refused",
	"denial.auth":     "without valid credentials",
	"denial.throttle": "throttled",
	"denial.spend":    "over budget",
}

// nonOwner stands in the titles of changes by somebody else than the owner.
const nonOwner = " by a non-owner"

// headline is what was counted, with the numbers, or else the alert's title.
func headline(a *schemas.Alert, brief bool) string {
	if what, ok := strings.CutPrefix(a.Title, "Burst of "); ok && a.Observed > 0 {
		what, _, _ = strings.Cut(what, " by ")
		return sized(a, what, brief)
	}
	if what := refusals[a.Rule]; what != "" && a.Observed > 0 {
		return sized(a, what, brief)
	}
	title := a.Title
	if strings.HasPrefix(a.Rule, "subscription") {
		title = strings.Replace(strings.TrimPrefix(title, "Subscription "), nonOwner, "", 1)
	}
	first, size := utf8.DecodeRuneInString(title)
	if next, _ := utf8.DecodeRuneInString(title[size:]); size > 0 && !unicode.IsUpper(next) {
		title = string(unicode.ToLower(first)) + title[size:]
	}
	if a.Observed > 0 {
		title += ": " + sized(a, "", brief)
	}
	return title
}

// sized is the observed number of what, in which time, and what it is held
// against.
func sized(a *schemas.Alert, what string, brief bool) string {
	text := strings.TrimSpace(figure(a.Observed) + " " + what)
	switch {
	case a.Window > 0 && brief:
		text += "/" + strings.NewReplacer(" min", "m", " h", "h", " s", "s").Replace(inWords(a.Window))
	case a.Window > 0:
		text += " in " + inWords(a.Window)
	}
	switch {
	case a.Usual != nil:
		text += ", usual " + figure(*a.Usual)
	case a.Threshold > 0:
		text += ", limit " + figure(a.Threshold)
	}
	return text
}

// figure writes a number with as many digits as people read.
func figure(v float64) string {
	if v >= 10 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

func who(a *schemas.Alert) string {
	if slices.Contains([]string{"tool", "tenant", "source"}, a.Entity.Kind) && !strings.HasPrefix(a.Rule, "subscription") {
		return "" // of many, one would be named
	}
	name := firstOf(a.ActorEmail, a.Actor)
	if !strings.HasPrefix(a.Rule, "subscription") {
		name = firstOf(a.OnBehalfOf, name)
	}
	return shortAddress(name)
}

// startedBy says whether people waited for it.
func startedBy(initiator string) string {
	switch initiator {
	case "schedule", "content":
		return "background"
	case "human":
		return "interactive"
	}
	return ""
}

// shortAddress leaves out the domain of an e-mail address: in one organisation
// all have the same.
func shortAddress(s string) string {
	if local, domain, ok := strings.Cut(s, "@"); ok && local != "" && domain != "" && !strings.Contains(s, " ") {
		return local + "@…"
	}
	return s
}

func inWords(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%.3g s", d.Seconds())
}
