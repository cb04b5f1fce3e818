package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/agentrail/agentrail/detectors/sigma"
)

// ruleTests is a file <rule>.test.yaml beside a rule.
type ruleTests struct {
	Rule  string     `yaml:"rule"` // id or name; default: the rule with the file's name
	Tests []ruleTest `yaml:"tests"`
}

// ruleTest is a story of records and whether the rule fires on it.
type ruleTest struct {
	Name   string      `yaml:"name"`
	Fires  *bool       `yaml:"fires"`
	Events []yaml.Node `yaml:"events"`
}

func newRulesTest(c *console) *cobra.Command {
	var r ruleset
	cmd := &cobra.Command{
		Use:   "test DIR",
		Short: "Run the tests that stand beside rules: what must fire and what must not",
		Long: "Run every <rule>.test.yaml of a folder. It holds `rule:` (id or name; default: the rules of <rule>.yml or .yaml) and\n" +
			"`tests:`, each with `name:`, `fires: true|false` and `events:`, a list of records in order. {repeat: 20, every: 2s, event:\n" +
			"{...}} stands for 20 records: {n} in a text is the record's number from 0 on, dates move by every. The whole folder is\n" +
			"loaded, so that correlations find their rules. Exit code 1 if a test fails, a rule is refused or a test names no rule.",
		Example: "  agentrail rules test rules/",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&r.mapFile, "map", "", "which records are of which logsource, and where fields are; default: the shipped map")
	cmd.Flags().BoolVar(&r.any, "any-logsource", false, "try every rule on every record")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		r.dir = args[0]
		set, err := r.load(c)
		if err != nil {
			return err
		}
		t := &ruleTester{c: c, m: r.m, set: set, tested: map[*sigma.Rule]bool{}}
		err = filepath.WalkDir(r.dir, func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(name, ".test.yaml") && !strings.HasSuffix(name, ".test.yml") {
				return err
			}
			t.file(name)
			return nil
		})
		if err != nil {
			return fmt.Errorf("read tests: %w", err)
		}
		for _, r := range set.Rules {
			if !t.tested[r] && !r.Silent() {
				fmt.Fprintf(c.err, "untested: %s (%s)\n", clean(r.ID), clean(r.Place()))
			}
		}
		if _, err := fmt.Fprintf(c.out, "%d tests passed, %d failed; %d rules loaded, %d refused, %d tested\n",
			t.passed, t.failed, len(set.Rules), len(set.Refused), len(t.tested)); err != nil {
			return err
		}
		if n := t.failed + len(set.Refused); n > 0 {
			return &findings{n}
		}
		return nil
	}
	return cmd
}

type ruleTester struct {
	c              *console
	m              *sigma.Map
	set            *sigma.Set
	tested         map[*sigma.Rule]bool
	passed, failed int
}

func (t *ruleTester) fail(format string, args ...any) {
	t.failed++
	fmt.Fprintln(t.c.out, "FAIL "+clean(fmt.Sprintf(format, args...)))
}

func (t *ruleTester) file(name string) {
	data, err := os.ReadFile(name)
	if err != nil {
		t.fail("%v", err)
		return
	}
	var f ruleTests
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		t.fail("%s: %v", name, err)
		return
	}
	rules := t.rulesOf(name, f.Rule)
	if len(rules) == 0 || len(f.Tests) == 0 {
		t.fail("%s: it tests no rule that is loaded, or holds no tests", name)
		return
	}
	for i := range f.Tests {
		for _, r := range rules {
			t.tested[r] = true
		}
		t.run(fmt.Sprintf("%s: %s", name, f.Tests[i].Name), rules, &f.Tests[i])
	}
}

// rulesOf returns the rules that a file of tests is about.
func (t *ruleTester) rulesOf(name, rule string) (out []*sigma.Rule) {
	stem := strings.TrimSuffix(strings.TrimSuffix(name, ".test.yaml"), ".test.yml")
	for _, r := range t.set.Rules {
		if rule != "" && (r.ID == rule || r.Name == rule) || rule == "" && strings.TrimSuffix(strings.TrimSuffix(filepath.Clean(r.File), ".yaml"), ".yml") == filepath.Clean(stem) {
			out = append(out, r)
		}
	}
	return out
}

func (t *ruleTester) run(name string, rules []*sigma.Rule, test *ruleTest) {
	if test.Fires == nil || len(test.Events) == 0 {
		t.fail("%s: a test says fires: true or false and has events", name)
		return
	}
	eval := sigma.NewEvaluator(t.set, sigma.EvalOptions{})
	fired, at := "", int64(0)
	for i := range test.Events {
		recs, err := sigma.StoryRecords(&test.Events[i])
		if err != nil {
			t.fail("%s: event %d: %v", name, i+1, err)
			return
		}
		for _, rec := range recs {
			if when, ok := t.m.TimeOf(rec); ok {
				at = min(when, t.c.now().Add(5*time.Minute).UnixNano())
			}
			eval.Record(rec, at, func(m *sigma.Match) {
				if fired == "" && slices.Contains(rules, m.Rule) {
					fired = fmt.Sprintf("rule %s fired at event %d", m.Rule.ID, i+1)
				}
			})
		}
	}
	switch {
	case *test.Fires && fired == "":
		t.fail("%s: nothing fired", name)
	case !*test.Fires && fired != "":
		t.fail("%s: %s", name, fired)
	default:
		t.passed++
	}
}
