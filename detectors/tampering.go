package detectors

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("tampering", openTampering) }

// Rules of the tampering detector.
const (
	RuleTamperingResume   = "tampering.resume"   // a brake was released by somebody whom it was to stop
	RuleTamperingRules    = "tampering.rules"    // what is told, or what may be done, was changed
	RuleTamperingEvidence = "tampering.evidence" // evidence may be lost
	RuleTamperingConfig   = "tampering.config"   // the configuration of the pipeline changed
	RuleTamperingToken    = "tampering.token"    // who may call changed
	RuleTamperingExport   = "tampering.export"   // many rows were taken out
)

// tampering tells of what weakens the alarm, the brake or the evidence: pauses
// that are lifted by those whom they stop, rules that are muted, evidence that
// may be lost, a configuration that is another one than at the last start, new
// tokens, large exports. It reads the controls and what the pipeline says about
// itself. It does not say that it was done in bad faith: most of it is work that
// admins do, and that somebody else should know of.
type tampering struct {
	deps   Deps
	cfg    tamperingConfig
	pauses *table[pausedKey, pauser]
	parts  map[string]map[string]string // digests of parts of the configuration, by tenant
}

// tamperingConfig has the fields of the detector in the config file.
type tamperingConfig struct {
	// Rows of an export from which on it is told. Default 100000.
	Rows int `yaml:"rows"`
	// Quiet is how long an alert stays open after its last evidence. Default 1h.
	Quiet plug.Duration `yaml:"quiet"`
}

func openTampering(c plug.Config, d Deps) (Detector, error) {
	cfg := tamperingConfig{Rows: 100_000, Quiet: plug.Duration(time.Hour)}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	if cfg.Rows < 1 || cfg.Quiet <= 0 {
		return nil, c.Errorf("rows and quiet must be more than 0")
	}
	return &tampering{
		deps: d, cfg: cfg, parts: map[string]map[string]string{},
		pauses: newTable(d.MaxKeys, func(*entry[pausedKey, pauser]) { d.Metrics.Evicted.WithLabelValues("tampering").Inc() }),
	}, nil
}

// Quiet returns how long alerts stay open.
func (t *tampering) Quiet() time.Duration { return time.Duration(t.cfg.Quiet) }

// Watches names the classes that Watch is offered.
func (t *tampering) Watches() []schemas.Class {
	return []schemas.Class{schemas.ClassActivity, schemas.ClassControl, schemas.ClassHealth}
}

// tamperingActs are what is told as it is, in records and in controls.
var tamperingActs = map[string]struct {
	rule, title, did string
	severity         schemas.Severity
	tags             []string
}{
	"gate.edit":            {RuleTamperingRules, "Rules of the gates changed", "changed the rules that say what agents may do", schemas.SeverityMedium, []string{"owasp.asi03"}},
	"rule.suppress":        {RuleTamperingRules, "Alert rule suppressed", "suppressed matches of a rule", schemas.SeverityMedium, nil},
	"cursor.rm":            {RuleTamperingEvidence, "Cursor removed", "removed the cursor of a consumer; what it had not read may be removed before anybody reads it", schemas.SeverityMedium, nil},
	"journal.evict_unread": {RuleTamperingEvidence, "Evidence may be removed unread", "set evict_unread: batches may be removed before every cursor has read them", schemas.SeverityMedium, nil},
	"journal.evicted":      {RuleTamperingEvidence, "Evidence was removed unread", "let batches go before every cursor had read them", schemas.SeverityHigh, nil},
	"token.create":         {RuleTamperingToken, "Token made", "made a token", schemas.SeverityMedium, []string{"owasp.asi03"}},
	"auth.roles":           {RuleTamperingToken, "Roles changed", "changed what a principal may do", schemas.SeverityMedium, []string{"owasp.asi03"}},
}

// defenceTags are the tags of everything that this detector tells: Impair Defenses.
var defenceTags = []string{"attack.t1562", "owasp.asi10"}

// Observe looks at what was done on the platform and the executor.
func (t *tampering) Observe(ev *schemas.Event, raise func(schemas.Alert)) {
	what, verb, _ := strings.Cut(ev.Action, ".")
	if kind := brakes[what]; kind && ev.Status < 400 && ev.Outcome != schemas.OutcomeDenied && ev.Outcome != schemas.OutcomeError {
		switch verb {
		case "pause", "panic":
			t.paused(ev, what)
		case "resume":
			t.resumed(ev, what, raise)
		}
	}
	t.act(ev, raise)
}

// Watch looks at controls, at what the pipeline says about itself, and at the
// pauses that were responses of our own.
func (t *tampering) Watch(ev *schemas.Event, raise func(schemas.Alert)) {
	switch {
	case ev.Class == schemas.ClassActivity:
		t.response(ev, raise)
	case ev.Class == schemas.ClassHealth && ev.Action == "config.loaded":
		t.config(ev, raise)
	case ev.Class == schemas.ClassControl && ev.Action == schemas.EventsExported:
		t.export(ev, raise)
	case ev.Class == schemas.ClassHealth, ev.Class == schemas.ClassControl:
		t.act(ev, raise)
	}
}

// act tells what is in the table.
func (t *tampering) act(ev *schemas.Event, raise func(schemas.Alert)) {
	act, ok := tamperingActs[ev.Action]
	if !ok {
		return
	}
	a := t.alert(ev, act.rule, act.title, act.severity)
	a.Tags = append(a.Tags, act.tags...)
	a.Reason = t.who(ev) + " " + act.did + subjectOf(ev) + moment(ev) + reasonOf(ev) + "."
	if t.deps.turnedAway(ev) {
		a.Severity, a.Title, a.Reason = schemas.SeverityLow, "Attempt: "+a.Title, strings.TrimSuffix(a.Reason, ".")+"; it was refused."
	}
	raise(a)
}

// export tells of one that took many rows.
func (t *tampering) export(ev *schemas.Event, raise func(schemas.Alert)) {
	var c schemas.Control
	if json.Unmarshal(ev.Raw, &c) != nil {
		return
	}
	rows, err := strconv.Atoi(c.Args["rows"])
	if err != nil || rows < t.cfg.Rows {
		return
	}
	a := t.alert(ev, RuleTamperingExport, "Large export", schemas.SeverityMedium)
	a.Observed, a.Threshold = float64(rows), float64(t.cfg.Rows)
	a.Tags = []string{"attack.t1567", "owasp.llm02"}
	a.Reason = fmt.Sprintf("%s exported %d rows, limit %d%s.", t.who(ev), rows, t.cfg.Rows, reasonOf(ev))
	raise(a)
}

// config holds the digests of the configuration against those of the last start.
func (t *tampering) config(ev *schemas.Event, raise func(schemas.Alert)) {
	var h schemas.Health
	if json.Unmarshal(ev.Raw, &h) != nil || len(h.Parts) == 0 {
		return
	}
	was := t.parts[ev.Tenant]
	t.parts[clone(ev.Tenant)] = h.Parts
	if was == nil {
		return
	}
	var changes []schemas.Change
	names := slices.Collect(maps.Keys(h.Parts))
	for name := range was {
		if _, is := h.Parts[name]; !is {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if was[name] != h.Parts[name] {
			changes = append(changes, schemas.Change{Field: name, Before: was[name], After: h.Parts[name]})
		}
	}
	if len(changes) == 0 {
		return
	}
	var fields []string
	a := t.alert(ev, RuleTamperingConfig, "Configuration changed", schemas.SeverityLow)
	for _, c := range changes {
		fields = append(fields, c.Field)
		if weakening[c.Field] {
			a.Severity = schemas.SeverityMedium
		}
	}
	a.Entity, a.Changes = schemas.Entity{Kind: "tenant", ID: clone(ev.Tenant)}, changes
	a.Reason = fmt.Sprintf("The server runs with another configuration than before%s: %d parts changed (%s).", moment(ev), len(changes), strings.Join(fields, ", "))
	if len(fields) == 1 && fields[0] == "tokens" {
		a.Rule, a.Title = RuleTamperingToken, "Tokens changed"
	}
	a.Why = append(a.Why, "the digests of the parts of the configuration differ from those that it ran with before")
	a.Unseen = append(a.Unseen, "who changed the file, and what in it: look into its history")
	a.Next = []string{"agentrail validate", "agentrail tap --class health --limit 20"}
	raise(a)
}

// weakening are the parts of a configuration that say what is told and to whom.
var weakening = map[string]bool{"detectors": true, "rules": true, "mappings": true, "sinks": true, "alerting": true, "tokens": true}

// alert is one but for its sentence.
func (t *tampering) alert(ev *schemas.Event, rule, title string, s schemas.Severity) schemas.Alert {
	a := schemas.Alert{
		Tenant: clone(ev.Tenant), Rule: rule, Title: title, Severity: s, Confidence: "medium",
		Entity: schemas.Entity{Kind: "tenant", ID: clone(ev.Tenant)},
		Actor:  clone(ev.Actor), ActorEmail: clone(ev.ActorEmail), Agent: clone(ev.Agent), Subscription: clone(ev.Subscription), Initiator: ev.Initiator.String(),
		FirstSeen: unix(eventTime(ev)), LastSeen: unix(eventTime(ev)), Count: 1, Evidence: evidenceOf(ev),
		Tags: slices.Clone(defenceTags), Transition: schemas.TransitionOpen,
	}
	if who := cmp.Or(ev.Actor, ev.ActorEmail); who != "" {
		a.Entity = schemas.Entity{Kind: "actor", ID: clone(who)}
		a.OnBehalfOf = t.deps.Names.User(ev.Tenant, who)
		a.Next = append(a.Next, "agentrail events --actor "+quote(who)+since(a.FirstSeen.Add(-time.Hour)))
	} else {
		a.Unseen = append(a.Unseen, "the record does not say who did it")
		a.Next = append(a.Next, "agentrail tap --class control,health --limit 20")
	}
	a.Why = append(a.Why, "the record of class "+ev.Class.String()+" says "+ev.Action)
	return a
}

func (t *tampering) who(ev *schemas.Event) string {
	if who := cmp.Or(ev.ActorEmail, ev.Actor); who != "" {
		return t.deps.Names.User(ev.Tenant, who)
	}
	if ev.Class == schemas.ClassHealth {
		return "The operator"
	}
	return "Somebody"
}

func subjectOf(ev *schemas.Event) string {
	if ev.Target == "" {
		return ""
	}
	return " (" + oneLine(ev.Target) + ")"
}

// reasonOf is the reason that whoever did it gave.
func reasonOf(ev *schemas.Event) string {
	for _, path := range [...]string{"reason", "jsonPayload.request.reason"} {
		if v, ok := rawText(ev, path); ok {
			return "; the reason given: " + strings.TrimRight(oneLine(v), ".")
		}
	}
	return "; no reason was given"
}

// moment is when it happened, for sentences.
func moment(ev *schemas.Event) string { return unix(eventTime(ev)).Format(" at 15:04:05 UTC on 2 Jan") }

// oneLine shortens a text from outside to one line.
func oneLine(s string) string { return cut(strings.Join(strings.Fields(s), " ")) }

// rawText returns the text at a path of the record.
func rawText(ev *schemas.Event, path string) (string, bool) {
	v, ok := ev.Lookup(path)
	return v.Str, ok && v.Kind == schemas.ValueString && v.Str != ""
}

// Advance has nothing to do: everything is told at once.
func (t *tampering) Advance(time.Time, func(schemas.Alert)) {}

const tamperingVersion = 1

// Save writes what the detector remembers.
func (t *tampering) Save(e *Encoder) {
	e.Uint(tamperingVersion)
	e.JSON(t.parts)
	savePauses(e, t.pauses)
}

// Load reads what Save wrote.
func (t *tampering) Load(d *Decoder) error {
	if v := d.Uint(); d.err == nil && v != tamperingVersion {
		return errVersion(v, tamperingVersion)
	}
	d.JSON(&t.parts)
	if t.parts == nil {
		t.parts = map[string]map[string]string{}
	}
	loadPauses(d, t.pauses)
	return d.err
}
