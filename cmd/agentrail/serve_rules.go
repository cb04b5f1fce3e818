package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/schemas"
)

// detectorsCursor is the name of the detectors' cursor.
const detectorsCursor = "detectors"

// ruling is what the config says may follow from alerts.
func (c *config) ruling() detectors.Ruling {
	return detectors.Ruling{Modes: c.Modes, Exceptions: c.Exceptions, Runbooks: c.Runbooks}
}

// rulesInForce are the engine's rules as the API tells them.
func rulesInForce(engine *detectors.Engine, now func() time.Time) api.RulesFunc {
	return func(_ context.Context, tenant string) (api.RuleList, error) {
		var out api.RuleList
		for _, r := range engine.Rules() {
			out.Rules = append(out.Rules, api.Rule(r))
		}
		at := now()
		for _, s := range engine.Suppressions(tenant) {
			out.Suppressions = append(out.Suppressions, api.Suppression{
				ID: s.ID, Rule: s.Rule, Entity: s.Entity, By: s.By, Reason: s.Reason, Since: s.Since, Until: s.Until,
				Over: !at.Before(s.Until), EndedBy: s.Ended, Matches: s.Matches, Last: s.Last,
			})
		}
		for _, x := range engine.Exceptions() {
			out.Exceptions = append(out.Exceptions, api.Exception{
				Rule: x.Rule, Entity: x.Entity, Reason: x.Reason, Expires: x.Expires, Expired: !x.Expires.IsZero() && !at.Before(x.Expires),
			})
		}
		return out, nil
	}
}

// ruleNotes names the exceptions of the config that have ended.
func ruleNotes(engine *detectors.Engine) func() []string {
	return func() (out []string) {
		for _, x := range engine.Expired(time.Now()) {
			out = append(out, fmt.Sprintf("the exception of rule %s for %s ended on %s: take it out of the config, or renew it", x.Rule, firstOf(x.Entity, "every entity"), x.Expires.Format(time.DateOnly)))
		}
		return out
	}
}

// rulesLoaded is what the journal keeps of the rules in force: a digest over
// everything that decides, and in words what people changed.
func rulesLoaded(engine *detectors.Engine, tenant string) schemas.Health {
	rules, exceptions := engine.Rules(), engine.Exceptions()
	doc := must(json.Marshal([]any{rules, engine.Digests(), exceptions}))
	var text strings.Builder
	fmt.Fprintf(&text, "ruleset sha256:%x: %d rules", sha256.Sum256(doc), len(rules))
	for _, r := range rules {
		if r.From != "default" {
			fmt.Fprintf(&text, "; %s in mode %s by %s", r.Name, r.Mode, r.From)
		}
	}
	for _, x := range exceptions {
		fmt.Fprintf(&text, "; exception of %s for %s: %s", x.Rule, firstOf(x.Entity, "every entity"), x.Reason)
	}
	return schemas.Health{Kind: "rules.loaded", Tenant: tenant, Consumer: detectorsCursor, Reason: text.String(), At: time.Now().UTC()}
}

// reloadRules reads the config again and puts its detectors, modes and
// exceptions in the place of those there are. On an error the old ones stay.
// Either way it is an event.
func reloadRules(ctx context.Context, engine *detectors.Engine, c *config, own owner, log *slog.Logger) {
	fresh, err := loadConfig(c.file)
	if err == nil {
		err = engine.Reload(ctx, fresh.Detectors, fresh.ruling())
	}
	event := schemas.Health{Kind: "rules.refused", Tenant: c.Auth.Tenant, Consumer: detectorsCursor, At: time.Now().UTC()}
	if err != nil {
		event.Reason = "rules not read again; the old ones stay: " + err.Error()
		log.Error("rules not read again; the old ones stay", "err", err)
	} else {
		event = rulesLoaded(engine, c.Auth.Tenant)
		log.Info("rules read again", "ruleset", event.Reason)
	}
	if err := own.document(ctx, event.Tenant, schemas.ClassHealth, "health", event); err != nil {
		log.Error("event about the rules not written", "err", err)
	}
}

// both returns what either function says.
func both(a, b func() []string) func() []string {
	return func() []string { return append(a(), b()...) }
}
