package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// TestConfigLoaded: each change of the configuration changes the digest of its
// part and of no other; comments and layout change none.
func TestConfigLoaded(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parts := func() map[string]string {
		t.Helper()
		c, err := loadConfig(filepath.Join(dir, "agentrail.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := configLoaded(c, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		return h.Parts
	}
	base := "version: 1\nstore: {kind: none}\nsinks:\n  - {kind: stdout, name: pipe}\ndetectors:\n  - {kind: sigma, rules: " + filepath.Join(dir, "rules") + "}\n"
	write("agentrail.yaml", base)
	write("tokens.yaml", "tokens: []\n")
	write("rules/a.yml", "title: a\n")
	was := parts()
	f := func(what string, want ...string) {
		t.Helper()
		is := parts()
		var changed []string
		for name := range is {
			if is[name] != was[name] {
				changed = append(changed, name)
			}
		}
		for name := range was {
			if _, there := is[name]; !there {
				changed = append(changed, name)
			}
		}
		if slices.Sort(changed); !slices.Equal(changed, want) {
			t.Errorf("%s changes %v, want %v", what, changed, want)
		}
		was = is
	}
	f("nothing")
	write("agentrail.yaml", "# why\n"+base)
	f("a comment")
	write("agentrail.yaml", base+"log: {level: debug}\n")
	f("a section", "log")
	write("rules/a.yml", "title: b\n")
	f("a rule", "rules")
	write("tokens.yaml", "tokens: [] # none\n")
	f("the token file", "tokens")
	write("config.d/more.yaml", "sinks:\n  - {kind: stdout, name: other}\n")
	f("a file in config.d", "sinks")
	write("agentrail.yaml", base)
	f("a section that goes", "log")
}

// TestConfigChangeIsTold starts a server twice, the second time with another
// source: the alert says which part changed.
func TestConfigChangeIsTold(t *testing.T) {
	s := newServed(t)
	s.start("max_record: 1MiB")
	s.stop()
	s.start("max_record: 2MiB")
	var list api.AlertList
	s.await("the change is told", func() bool {
		if err := json.Unmarshal(s.answer(s.do("GET", api.Prefix+"/alerts", s.token, "")), &list); err != nil {
			t.Fatal(err)
		}
		return len(list.Alerts) > 0
	})
	a := list.Alerts[0]
	if len(list.Alerts) != 1 || a.Rule != "tampering.config" || len(a.Changes) != 1 || a.Changes[0].Field != "sources" || a.Severity != schemas.SeverityLow {
		t.Errorf("alerts %+v", list.Alerts)
	}
	s.stop()
	s.quiet()
}
