package alerting_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/sinks/alerting"
)

const good = `
global: {smtp_smarthost: 'mail.example:25', smtp_from: 'a@example.com'}
route: {receiver: soc, routes: [{receiver: page, matchers: ['severity="critical"']}]}
receivers:
- name: soc
  slack_configs: [{api_url_file: slack.url, channel: '#soc', title: '{{ .CommonAnnotations.title }}'}]
  email_configs: [{to: soc@example.com}]
  msteamsv2_configs: [{webhook_url: 'https://teams.example/x'}]
  jira_configs: [{api_url: 'https://jira.example', project: SOC, issue_type: Incident}]
  opsgenie_configs: [{api_key: k}]
- name: page
  pagerduty_configs: [{routing_key: k}]
`

// TestCheck names what is wrong with an alertmanager.yml by file and line.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "slack.url", "https://hooks.slack.example/x")
	f := func(doc, want string) {
		t.Helper()
		err := alerting.Check(write(t, dir, "alertmanager.yml", doc))
		if want == "" {
			if err != nil {
				t.Error(err)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), "alertmanager.yml:"+want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	replace := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q", old)
		}
		return strings.Replace(good, old, with, 1)
	}
	f(good, "")
	f(replace("receiver: page", "receiver: pager"), `3: undefined receiver "pager"`)
	f(replace("channel:", "chanel:"), "6: field chanel not found")
	f(replace("- name: page", "- name: soc"), `11: notification config name "soc" is not unique`)
	f(replace(`severity="critical"`, `severity=~"("`), "3: ")
	f(replace("slack.url", "gone.url"), "6: api_url_file: open ")
	f(replace(".CommonAnnotations.title }}'", ".CommonAnnotations.title '"), "")
	f("route: [", "1: ")
	f("", " no route provided")
	f("\t", "1: ")
	f(replace("routing_key: k", "routing_key: k, routing_key_file: "+filepath.Join(dir, "slack.url")), " at most one of routing_key")
	f(replace("receivers:", "templates: ['bad*.tmpl']\nreceivers:"), "")
	write(t, dir, "bad1.tmpl", "{{ define \"x\" }}{{ nofunc }}{{ end }}")
	f(replace("receivers:", "templates: ['bad*.tmpl']\nreceivers:"), " templates: ")
	if err := alerting.Check(filepath.Join(dir, "none.yml")); !os.IsNotExist(unwrapped(err)) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestShippedExample holds the example to what it says.
func TestShippedExample(t *testing.T) {
	doc, err := os.ReadFile("../../deploy/alertmanager.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, "slack.url", "https://hooks.slack.example/x")
	write(t, dir, "pagerduty.key", "k")
	path := write(t, dir, "alertmanager.yml", strings.ReplaceAll(string(doc), "/etc/agentrail/", dir+"/"))
	if err := alerting.Check(path); err != nil {
		t.Error(err)
	}
}

func unwrapped(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error }) //nolint:errorlint // the innermost is asked for
		if !ok || u.Unwrap() == nil {
			return err
		}
		err = u.Unwrap()
		if os.IsNotExist(err) {
			return err
		}
	}
}
