package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Rule is one rule that is in force.
type Rule struct {
	Name     string       `json:"rule"` // as it stands in alerts
	ID       string       `json:"id,omitempty"`
	Title    string       `json:"title,omitempty"`
	Detector string       `json:"detector"`
	Severity string       `json:"severity,omitempty"` // empty: decided at each alert
	Mode     schemas.Mode `json:"mode"`
	From     string       `json:"from"` // where the mode is from: config, rule or default
	Place    string       `json:"place,omitempty"`
	Runbook  []string     `json:"runbook,omitempty"` // what to do about an alert, step by step
}

// Suppression is one that people asked for, in force or over.
type Suppression struct {
	ID      string    `json:"id"`
	Rule    string    `json:"rule"`
	Entity  string    `json:"entity,omitempty"` // kind:id; empty: every one
	By      string    `json:"by"`
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	Over    bool      `json:"over"`
	EndedBy string    `json:"ended_by,omitempty"` // before its time
	Matches int64     `json:"matches"`            // that nobody was told of
	Last    time.Time `json:"last,omitzero"`      // event time of the newest
}

// Exception is one of the config.
type Exception struct {
	Rule    string    `json:"rule"`
	Entity  string    `json:"entity,omitempty"` // kind:id; empty: every one
	Reason  string    `json:"reason"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Expired bool      `json:"expired"`
}

// RuleList answers GET rules.
type RuleList struct {
	Rules        []Rule        `json:"rules"`
	Suppressions []Suppression `json:"suppressions"` // the newest first
	Exceptions   []Exception   `json:"exceptions"`
}

// RulesFunc returns what is in force for a tenant.
type RulesFunc func(ctx context.Context, tenant string) (RuleList, error)

func (a *api) rules(w http.ResponseWriter, r *http.Request) {
	if _, err := params(r); err != nil {
		refuse(w, err)
		return
	}
	if a.o.Rules == nil {
		off(w, "a list of rules")
		return
	}
	list, err := a.o.Rules(r.Context(), principal(r).Tenant)
	if err != nil {
		a.fail(w, r, "rules", err)
		return
	}
	list.Rules = append([]Rule{}, list.Rules...)
	list.Suppressions = append([]Suppression{}, list.Suppressions...)
	list.Exceptions = append([]Exception{}, list.Exceptions...)
	writeJSON(w, http.StatusOK, list)
}

// checkRule returns ErrNotFound if no rule and no detector has the name.
func (a *api) checkRule(ctx context.Context, tenant, name string) error {
	if a.o.Rules == nil {
		return ErrNotFound
	}
	list, err := a.o.Rules(ctx, tenant)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list.Rules, func(x Rule) bool {
		return x.Name == name || x.ID == name || x.Detector == name || strings.HasPrefix(name, x.Name+".")
	}) {
		return ErrNotFound
	}
	return nil
}
