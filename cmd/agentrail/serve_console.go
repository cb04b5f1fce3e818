package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/agentrail/agentrail/collector/notary"
	"github.com/agentrail/agentrail/collector/recent"
	web "github.com/agentrail/agentrail/dashboards/console"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// executor is where the pages ask; nil if there is none. What the caller of
// serve says goes before the config.
func (c consoleConfig) executor(at func() (base, token string)) *web.Executor {
	if at == nil && c.ExecutorURL == "" {
		return nil
	}
	if at == nil {
		base, token := strings.TrimRight(c.ExecutorURL, "/"), string(c.ExecutorToken)
		at = func() (string, string) { return base, token }
	}
	return &web.Executor{At: at, Tenant: c.ExecutorTenant}
}

func detectorParts(c *config) (out []web.Part) {
	for _, d := range c.Detectors {
		out = append(out, web.Part{Kind: d.Kind, Name: d.Name})
	}
	return out
}

func evidenceOf(c *config, key *notary.Key) web.Evidence {
	return web.Evidence{Data: c.Data, Key: c.Evidence.Key + ".pub", PublicKey: key.PublicKey(), Origin: key.Origin()}
}

// settings are the values that are in effect. Of a secret it is only said that
// there is one.
func settings(c *config) (out []web.Setting) {
	add := func(group, key, format string, args ...any) {
		out = append(out, web.Setting{Group: group, Key: key, Value: fmt.Sprintf(format, args...)})
	}
	secret := func(group, key string, s plug.Secret, file string) {
		switch {
		case file != "":
			add(group, key, "from %s", file)
		case s != "":
			add(group, key, "set, masked")
		}
	}
	parts := func(group string, list []plug.Config) {
		for _, p := range list {
			where := fmt.Sprintf("line %d", p.Line)
			if p.File != "" && p.File != c.file {
				where += " of " + p.File
			}
			add(group, p.Name, "%s, %s", p.Kind, where)
		}
		if len(list) == 0 {
			add(group, "none", "–")
		}
	}
	add("server", "config", "%s", c.file)
	add("server", "listen", "%s", c.Listen)
	add("server", "data", "%s", c.Data)
	add("server", "log", "%s, %s", c.Log.Level, c.Log.Format)
	add("auth", "tokens", "%s", c.Auth.Tokens)
	add("auth", "tenant", "%s", c.Auth.Tenant)
	for _, is := range c.Auth.Issuers {
		add("auth", "issuer", "%s", is.Issuer)
	}
	add("journal", "max_bytes", "%s", size(int64(c.Journal.MaxBytes)))
	add("journal", "reserve", "%s", size(int64(c.Journal.Reserve)))
	add("journal", "retention", "%s", time.Duration(c.Journal.Retention))
	add("journal", "evict_unread", "%t", c.Journal.EvictUnread)
	add("evidence", "key", "%s", c.Evidence.Key)
	add("evidence", "origin", "%s", c.Evidence.Origin)
	add("store", "kind", "%s", c.Store.Kind)
	secret("store", "dsn", c.Store.DSN, c.Store.DSNFile)
	if c.Tempo.URL != "" {
		add("tempo", "url", "%s", c.Tempo.URL)
		secret("tempo", "token", c.Tempo.Token, c.Tempo.TokenFile)
	}
	for _, m := range c.Mappings {
		add("mappings", "file", "%s", m)
	}
	parts("sources", c.Sources)
	parts("detectors", c.Detectors)
	parts("sinks", c.Sinks)
	add("alerting", "by", "%s", cmp.Or(c.Alerting.File, strings.Join(c.Alerting.URLs, ", "), "nobody is told of alerts"))
	secret("alerting", "token", c.Alerting.Token, c.Alerting.TokenFile)
	add("alerting", "link", "%s", c.Alerting.Link)
	add("console", "executor_url", "%s", cmp.Or(c.Console.ExecutorURL, "none"))
	secret("console", "executor_token", c.Console.ExecutorToken, c.Console.ExecutorTokenFile)
	if c.Console.TraceLink != "" {
		add("console", "trace_link", "%s", c.Console.TraceLink)
	}
	add("console", "executor_tenant", "%s", c.Console.ExecutorTenant)
	return out
}

// sealCase signs the files of a case with the key of the heads and adds the
// newest head that is known.
func sealCase(key *notary.Key, rec *recent.Recent, operator string) func(context.Context, []string, []web.CaseFile) ([]web.CaseFile, error) {
	return func(_ context.Context, about []string, files []web.CaseFile) ([]web.CaseFile, error) {
		var out []web.CaseFile
		head := "head none"
		heads := rec.Events(operator, func(ev *schemas.Event) bool { return ev.Class == schemas.ClassEvidence && ev.Kind == "head" })
		if len(heads) > 0 { // the newest comes first
			var h schemas.Head
			if err := json.Unmarshal([]byte(heads[0].Raw), &h); err != nil {
				return nil, fmt.Errorf("read head for a case: %w", err)
			}
			text, err := notary.Note(h)
			if err != nil {
				return nil, fmt.Errorf("write head of a case: %w", err)
			}
			out = append(out, web.CaseFile{Path: notary.HeadName, Body: []byte(text)})
			head = fmt.Sprintf("head %d %s", h.Offset, h.Digest)
		}
		var sums []notary.Sum
		for _, f := range files {
			sums = append(sums, notary.SumOf(f.Path, f.Body))
		}
		manifest, err := key.SignManifest(append(about, head), sums)
		if err != nil {
			return nil, err
		}
		return append(out, web.CaseFile{Path: notary.ManifestName, Body: manifest}), nil
	}
}
