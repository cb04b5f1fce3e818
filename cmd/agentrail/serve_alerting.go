package main

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/alerting"
)

// people is how people are told of alerts; nil if nobody is.
type people struct {
	feed *alerting.Feed
	to   interface {
		alerting.Target
		Run(ctx context.Context) error
		Receivers() []alerting.Receiver
	}
	router *alerting.Router // nil: by external Alertmanagers
}

// newPeople opens the router or the external Alertmanagers of the config.
func newPeople(c *config, own owner, log *slog.Logger, reg prometheus.Registerer) (*people, error) {
	if !c.Alerting.on() {
		return nil, nil
	}
	p := &people{}
	health := alerting.HealthFunc(own.health(c.Auth.Tenant))
	if c.Alerting.File != "" {
		r, err := alerting.OpenRouter(alerting.RouterOptions{
			File: c.Alerting.File, Dir: filepath.Join(c.Data, "alerting"), Link: c.Alerting.Link, Log: log, Reg: reg, Health: health,
			Noted: func() { p.feed.Look() }, // called only while it runs
		})
		if err != nil {
			return nil, err
		}
		p.to, p.router = r, r
	} else {
		a, err := alerting.OpenAlertmanagers(c.Alerting.alertmanagers(health))
		if err != nil {
			return nil, err
		}
		p.to = a
	}
	var err error
	p.feed, err = alerting.New(alerting.Options{To: p.to, Link: c.Alerting.Link, Log: log, Reg: reg})
	return p, err
}

func (a alertingConfig) alertmanagers(health alerting.HealthFunc) alerting.AlertmanagersOptions {
	return alerting.AlertmanagersOptions{URLs: a.URLs, Token: string(a.Token), TLS: a.TLS, Health: health}
}

// reload reads alertmanager.yml again.
func (p *people) reload(ctx context.Context, log *slog.Logger) {
	if p == nil || p.router == nil {
		return
	}
	if err := p.router.Reload(ctx); err != nil {
		log.Error("alertmanager.yml not read again; the old one stays", "err", err)
		return
	}
	log.Info("alertmanager.yml read again")
}

// routes are Alertmanager's own API, for amtool; none with external ones.
func (p *people) routes(require func(http.Handler, ...auth.Role) http.Handler, operator string, own owner) map[string]http.Handler {
	if p == nil || p.router == nil {
		return nil
	}
	return p.router.Routes(require, operator, func(ctx context.Context, by *auth.Principal, verb, target, reason string, args map[string]string) error {
		var id schemas.ID
		_, _ = rand.Read(id[:]) // never fails
		return own.document(ctx, by.Tenant, schemas.ClassControl, "control", schemas.Control{
			ID: id.String(), Tenant: by.Tenant, Verb: verb, Target: target, Reason: reason, Author: by.Name, At: time.Now().UTC(), Args: args,
		})
	})
}

// status says how receivers do.
func (p *people) status() []api.ReceiverStatus {
	if p == nil {
		return nil
	}
	var out []api.ReceiverStatus
	for _, r := range p.to.Receivers() {
		out = append(out, api.ReceiverStatus(r))
	}
	return out
}

// overdue names receivers that could not be told for a while.
func (p *people) overdue() []string {
	if p == nil {
		return nil
	}
	return alerting.Overdue(p.to.Receivers(), time.Now(), alerting.OverdueAfter)
}

// checkAlerting checks alertmanager.yml, or the addresses of Alertmanagers.
func (cfg *config) checkAlerting() error {
	switch a := cfg.Alerting; {
	case a.File != "":
		return alerting.Check(a.File)
	case len(a.URLs) > 0:
		_, err := alerting.OpenAlertmanagers(a.alertmanagers(nil))
		return err
	}
	return nil
}
