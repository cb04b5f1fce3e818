package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/internal/plug"
)

func newValidate(c *console) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check a config and say what is in effect",
		Long:  "Check a config file and the config.d folder beside it. Every fault is named with file, line and hint. No file of the server is changed and nobody is asked over the network.",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&file, "config", "agentrail.yaml", "config file")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(file)
		if err != nil {
			return err
		}
		if err := cfg.checkParts(cmd.Context()); err != nil {
			return err
		}
		return cfg.print(c)
	}
	return cmd
}

// print says what is in effect, without secrets.
func (cfg *config) print(c *console) error {
	p := &page{w: c.out}
	p.line("", cfg.file+" is valid. In effect:")
	p.line("listen", cfg.Listen)
	p.line("data", cfg.Data)
	p.line("tokens", cfg.Auth.Tokens)
	p.line("tenant", cfg.Auth.Tenant)
	p.line("signing key", cfg.Evidence.Key+", origin "+cfg.Evidence.Origin)
	p.line("journal", fmt.Sprintf("at most %s, kept %s", size(int64(cfg.Journal.MaxBytes)), span(cfg.Journal.Retention)))
	p.line("store", cfg.Store.Kind)
	for _, m := range cfg.Mappings {
		p.line("mapping", m)
	}
	for _, s := range cfg.Sources {
		p.line("source", partName(s))
	}
	for _, d := range cfg.Detectors {
		p.line("detector", partName(d))
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Modes)) {
		p.line("mode", name+" "+string(cfg.Modes[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Runbooks)) {
		p.line("runbook", name+" "+cfg.Runbooks[name])
	}
	for _, x := range cfg.Exceptions {
		text := x.Rule + " for " + firstOf(x.Entity, "every entity") + ": " + x.Reason
		if !x.Expires.IsZero() {
			text += ", until " + x.Expires.Format(time.RFC3339)
			if !time.Now().Before(x.Expires) {
				text += ": EXPIRED, take it out or renew it"
			}
		}
		p.line("exception", text)
	}
	switch a := cfg.Alerting; {
	case a.File != "":
		p.line("alerting", "by "+a.File+", links to "+a.Link)
	case len(a.URLs) > 0:
		p.line("alerting", "by Alertmanager "+strings.Join(a.URLs, ", "))
	default:
		p.line("alerting", "nobody is told of alerts; name an alertmanager.yml under alerting.file")
	}
	for _, s := range cfg.Sinks {
		p.line("sink", partName(s))
	}
	if e := cfg.Executor; e != nil {
		p.line("executor", fmt.Sprintf("listens on %s, tenant %s, records to %s", e.Listen, e.Tenant, e.Server))
		p.line("agents", e.Agents)
		p.line("gate rules", firstOf(e.Rules, "none: only reads and confirmed writes pass"))
		for _, s := range e.Actions.Servers {
			p.line("MCP server", s.Name)
		}
	}
	return p.err
}

// partName is the kind of a part and, if it has another one, its name.
func partName(c plug.Config) string {
	if c.Name == c.Kind {
		return c.Kind
	}
	return c.Kind + " " + c.Name
}

// span writes a duration in days where it has whole ones.
func span(d plug.Duration) string {
	const day = 24 * time.Hour
	if v := time.Duration(d); v >= day && v%day == 0 {
		return fmt.Sprintf("%dd", v/day)
	}
	return time.Duration(d).String()
}

// size writes bytes for people.
func size(n int64) string {
	for _, u := range []struct {
		name string
		n    int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.n {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(u.n), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
