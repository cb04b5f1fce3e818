package alerting

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/common/model"

	"github.com/agentrail/agentrail/schemas"
)

// Posting is an alert as Alertmanager knows it. Labels are who it is: they never
// change while it lasts. Annotations are what is said of it.
type Posting struct {
	Labels      model.LabelSet
	Annotations model.LabelSet
	Starts      time.Time
	Ends        time.Time // in the future: it goes on, and counts as over if nothing more is heard until then
	Link        string

	muted bool // people know of it or do not want to
	past  bool // the alert goes on, graver
}

// Labels of a posting; those that are empty are left out.
const (
	labelSeverity     = "severity"
	labelTenant       = "tenant"
	labelEntityKind   = "entity_kind"
	labelEntityID     = "entity_id"
	labelAgent        = "agent"
	labelActor        = "actor"
	labelSubscription = "subscription"
)

// Caps of texts, bytes. Records are foreign: a name of a megabyte must not
// become a message of a megabyte.
const (
	maxLabel      = 512
	maxAnnotation = 4 << 10
)

// labelsOf returns who the alert is. Severity is set apart: an alert that gets
// graver is another one to Alertmanager, which may have other receivers.
func labelsOf(a *schemas.Alert) model.LabelSet {
	return labelSet(maxLabel, map[string]string{
		model.AlertNameLabel: a.Rule, labelTenant: a.Tenant, labelEntityKind: a.Entity.Kind, labelEntityID: a.Entity.ID,
		labelAgent: a.Agent, labelActor: cmp.Or(a.ActorEmail, a.Actor), labelSubscription: a.Subscription,
	})
}

func labelSet(most int, values map[string]string) model.LabelSet {
	out := model.LabelSet{}
	for name, v := range values {
		if name != "runbook" { // which has a line for each command
			v = strings.ReplaceAll(v, "\n", " ")
		}
		if v = text(v, most); v != "" {
			out[model.LabelName(name)] = model.LabelValue(v)
		}
	}
	return out
}

// mentions are what Slack takes for a call to people or a link.
var mentions = strings.NewReplacer("<!", "‹!", "<@", "‹@", "<#", "‹#", "<http", "‹http", "<mailto", "‹mailto")

// text is foreign text fit for a message: valid UTF-8 on one line, or on those
// that we made, without characters that steer a terminal or turn the direction
// of writing, calling nobody, and not too long.
func text(s string, most int) string {
	s = mentions.Replace(strings.Map(func(r rune) rune {
		if r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD")))
	if len(s) <= most {
		return s
	}
	cut := most - len("…")
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// annotationsOf says what there is to say.
func annotationsOf(a *schemas.Alert, l schemas.Life, link string) model.LabelSet {
	var marks []string
	if a.Stale {
		marks = append(marks, "stale: its newest evidence was older than 15 minutes when this was decided")
	}
	if a.Late {
		marks = append(marks, "late: evidence came after its window had passed")
	}
	return labelSet(maxAnnotation, map[string]string{
		"title":   a.Title,
		"reason":  a.Reason,
		"runbook": strings.Join(a.Next, "\n"),
		"link":    link,

		"alert":      a.ID,
		"entity":     cmp.Or(a.Entity.Name, a.Entity.ID),
		"agent_name": a.AgentName,
		"behalf_of":  a.OnBehalfOf,
		"count":      fmt.Sprint(a.Count),
		"first_seen": a.FirstSeen.UTC().Format(time.RFC3339),
		"last_seen":  a.LastSeen.UTC().Format(time.RFC3339),
		"state":      string(l.State),
		"assignee":   l.Assignee,
		"tags":       strings.Join(a.Tags, " "),
		"marks":      strings.Join(marks, "; "),
	})
}

// key of a posting: its labels as one text.
func (p *Posting) key() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.Labels)) {
		b.WriteString(string(name) + "\xff" + string(p.Labels[name]) + "\xff")
	}
	return b.String()
}
