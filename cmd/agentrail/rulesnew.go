package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

func newRulesNew(c *console) *cobra.Command {
	var dir string
	var correlation bool
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write the skeleton of a rule and of its tests",
		Long: "Write NAME.yml and NAME.test.yaml: a rule with an id of its own that loads as it stands, and a test each of what must and\n" +
			"what must not fire, which pass. Nothing that is there is overwritten. Change the lines, then run: agentrail rules test DIR",
		Example: "  agentrail rules new mail_to_many --dir rules/\n  agentrail rules new mail_to_many --dir rules/ --correlation",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "folder to write into")
	cmd.Flags().BoolVar(&correlation, "correlation", false, "a rule that counts what another one matches")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		name := args[0]
		if !ruleName.MatchString(name) {
			return usagef("such as mail_to_many", "%q is no name of a rule: small letters, digits and _, a letter first", name)
		}
		body, tests := plainRule, plainTests
		if correlation {
			body, tests = countingRule, countingTests
		}
		fill := strings.NewReplacer("NAME", name, "ID", newUUID(), "DATE", c.now().UTC().Format("2006-01-02")).Replace
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		for _, f := range [][2]string{{name + ".yml", fill(body)}, {name + ".test.yaml", fill(tests)}} {
			path := filepath.Join(dir, f[0])
			if err := writeNew(path, []byte(f[1])); err != nil {
				return err
			}
			if _, err := fmt.Fprintln(c.out, clean(path)); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

var ruleName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// newUUID returns a random UUID (version 4), as Sigma wants for ids.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: the program ends instead
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

const ruleHead = `title: What the alert says, in one line
id: ID
name: NAME
status: experimental
description: |
  What happened, and why it is worth somebody's time.
references: ['https://atlas.mitre.org/techniques/AML.T0053']
author: You
date: DATE
tags: [attack.atlas.aml.t0053, owasp.asi02]
`

const ruleFoot = `falsepositives:
  - Who does this for a good reason
level: medium
runbook:
  - What to look at first.
  - What to do about it.
`

const plainRule = ruleHead + `logsource: {category: agent, product: agentrail}
detection:
  selection:
    action: tool.execute
    tool: gmail.send
    outcome: [ok, unknown]
  condition: selection
` + ruleFoot

const plainTests = `rule: NAME
tests:
  - name: a mail is sent
    fires: true
    events:
      - {time: 2026-11-25T10:00:00Z, kind: api_call, action: tool.execute, tool: gmail.send, access: write, outcome: ok, agent: a1, actor: u1, run: r1}
  - name: a mail that was refused
    fires: false
    events:
      - {time: 2026-11-25T10:00:00Z, kind: api_call, action: tool.execute, tool: gmail.send, access: write, outcome: denied, agent: a1, actor: u1, run: r1}
`

const countingRule = `title: Mail sent
name: NAME_one
logsource: {category: agent, product: agentrail}
detection:
  selection:
    kind: api_call
    action: tool.execute
    tool: gmail.send
    outcome: [ok, unknown]
  condition: selection
level: informational
---
` + ruleHead + `correlation:
  type: event_count
  rules: [NAME_one]
  group-by: [agent]
  timespan: 10m
  condition: {gte: 20}
` + ruleFoot

const countingTests = `rule: NAME
tests:
  - name: twenty mails in a minute
    fires: true
    events:
      - repeat: 20
        every: 3s
        event: {time: 2026-11-25T10:00:00Z, kind: api_call, action: tool.execute, tool: gmail.send, access: write, outcome: ok, agent: a1, run: 'r{n}'}
  - name: twenty mails in a day
    fires: false
    events:
      - repeat: 20
        every: 1h
        event: {time: 2026-11-25T10:00:00Z, kind: api_call, action: tool.execute, tool: gmail.send, access: write, outcome: ok, agent: a1, run: 'r{n}'}
`
