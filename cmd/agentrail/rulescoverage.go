package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/detectors/rules"
	"github.com/agentrail/agentrail/detectors/sigma"
)

// coverageFormats of --output.
var coverageFormats = []string{"table", "json", "markdown", "svg"}

func newRulesCoverage(c *console) *cobra.Command {
	var r ruleset
	var format string
	cmd := &cobra.Command{
		Use:   "coverage",
		Short: "Draw which techniques rules and detectors cover: MITRE ATLAS by OWASP",
		Long: "Draw the matrix of MITRE ATLAS techniques and of the OWASP Top 10 for agentic applications (ASI) and LLM applications\n" +
			"(LLM), by the tags of rules that raise alerts and by the table " + rules.RowsFile + " beside them: a figure is how many rules and\n" +
			"detectors carry both. Without --rules it is the shipped pack. Exit code 1 if a rule is refused or a row of the table names\n" +
			"a rule that is not there.",
		Example: "  agentrail rules coverage\n  agentrail rules coverage --rules rules/ --output markdown",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&r.dir, "rules", "", "folder of rules; default: the shipped ones")
	cmd.Flags().StringVar(&r.mapFile, "map", "", "which records are of which logsource; default: the shipped map")
	cmd.Flags().StringVarP(&format, "output", "o", "table", "format: "+strings.Join(coverageFormats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(coverageFormats, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(*cobra.Command, []string) error {
		if !slices.Contains(coverageFormats, format) {
			return usagef("use --output "+strings.Join(coverageFormats, ", "), "unknown output format %q", format)
		}
		set, tree, err := r.loadOrShipped(c)
		if err != nil {
			return err
		}
		tab, err := rules.ReadTable(tree)
		if err != nil {
			return err
		}
		cov := newCoverage(set, tab)
		for _, why := range cov.untrue {
			fmt.Fprintln(c.err, clean(why))
		}
		switch format {
		case "json":
			err = printJSON(c.out, cov)
		case "markdown":
			_, err = c.out.Write(cov.markdown())
		case "svg":
			_, err = c.out.Write(cov.svg())
		default:
			_, err = c.out.Write(cov.table())
		}
		if n := len(set.Refused) + len(cov.untrue); err == nil && n > 0 {
			return &findings{n}
		}
		return err
	}
	return cmd
}

// loadOrShipped loads the folder, or the rules that come with the program.
func (r *ruleset) loadOrShipped(c *console) (*sigma.Set, fs.FS, error) {
	if r.dir != "" {
		set, err := r.load(c)
		return set, os.DirFS(r.dir), err
	}
	m, err := readSigmaMap(r.mapFile)
	if err != nil {
		return nil, nil, err
	}
	set, err := sigma.Load(rules.Files, "shipped/", sigma.Options{Map: m})
	return set, rules.Files, err
}

// coverage is the matrix of techniques and OWASP entries.
type coverage struct {
	Rules      int                 `json:"rules"` // that raise alerts
	Techniques []coveredTechnique  `json:"techniques"`
	OWASP      []string            `json:"owasp"`
	Cells      map[string][]string `json:"cells"` // "AML.T0053 ASI02": names of rules and kinds of detectors

	untrue []string // what the table says and is not so
}

type coveredTechnique struct {
	ID   string `json:"id"` // "" stands for what ATLAS has no technique for
	Name string `json:"name"`
}

const nameless = "no ATLAS technique"

func newCoverage(set *sigma.Set, tab *rules.Table) *coverage {
	cov := &coverage{Cells: map[string][]string{}}
	ids, names := map[string]bool{}, map[string]bool{}
	for id := range tab.Techniques {
		ids[id] = true
	}
	owasp := map[string]bool{}
	for i := range 10 {
		owasp[fmt.Sprintf("ASI%02d", i+1)] = true
	}
	for _, r := range set.Rules {
		if r.Silent() {
			continue
		}
		cov.Rules++
		names[firstOf(r.Name, r.ID)] = true
		cov.add(ids, owasp, tagged(r.Tags, "attack.atlas."), tagged(r.Tags, "owasp."), firstOf(r.Name, r.ID))
	}
	for _, row := range tab.Rows {
		for _, d := range row.Detectors {
			cov.add(ids, owasp, row.Techniques, row.OWASP, d)
		}
		for _, name := range row.Rules {
			if !names[name] {
				cov.untrue = append(cov.untrue, fmt.Sprintf("%s: row %q names rule %q, which is not there", rules.RowsFile, row.Name, name))
			}
		}
	}
	for id := range ids {
		cov.Techniques = append(cov.Techniques, coveredTechnique{id, cmp.Or(tab.Techniques[id], shippedTechniques()[id], map[bool]string{true: nameless}[id == ""])})
	}
	slices.SortFunc(cov.Techniques, func(a, b coveredTechnique) int { // the nameless last
		return cmp.Or(cmp.Compare(btoi(a.ID == ""), btoi(b.ID == "")), cmp.Compare(a.ID, b.ID))
	})
	for id := range owasp {
		cov.OWASP = append(cov.OWASP, id)
	}
	slices.Sort(cov.OWASP)
	return cov
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// shippedTechniques names techniques for folders whose table does not.
func shippedTechniques() map[string]string {
	tab, err := rules.ReadTable(rules.Files)
	if err != nil {
		panic("BUG: " + err.Error()) // a test reads it
	}
	return tab.Techniques
}

// tagged returns the ids of tags with that prefix, as their makers spell them.
func tagged(tags []string, prefix string) (out []string) {
	for _, t := range tags {
		if id, ok := strings.CutPrefix(strings.ToLower(t), prefix); ok {
			out = append(out, strings.ToUpper(id))
		}
	}
	return out
}

// add notes a rule or detector in every cell that it belongs to.
func (cov *coverage) add(ids, owasp map[string]bool, techniques, entries []string, name string) {
	if len(techniques) == 0 {
		techniques = []string{""}
	}
	for _, t := range techniques {
		ids[t] = true
		for _, o := range entries {
			owasp[o] = true
			k := t + " " + o
			if !slices.Contains(cov.Cells[k], name) {
				cov.Cells[k] = append(cov.Cells[k], name)
			}
		}
	}
}

// figure is what stands in a cell.
func (cov *coverage) figure(technique, owasp, none string) string {
	if n := len(cov.Cells[technique+" "+owasp]); n > 0 {
		return fmt.Sprint(n)
	}
	return none
}

// covered returns by how many rules and detectors a technique is covered.
func (cov *coverage) covered(technique string) (names []string) {
	for _, o := range cov.OWASP {
		for _, n := range cov.Cells[technique+" "+o] {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	slices.Sort(names)
	return names
}

// summary says the whole in one line.
func (cov *coverage) summary() string {
	techniques, entries := 0, map[string]bool{}
	for _, t := range cov.Techniques {
		if t.ID != "" && len(cov.covered(t.ID)) > 0 {
			techniques++
		}
	}
	for k := range cov.Cells {
		if _, o, _ := strings.Cut(k, " "); strings.HasPrefix(o, "ASI") {
			entries[o] = true
		}
	}
	of := len(cov.Techniques) - btoi(slices.ContainsFunc(cov.Techniques, func(t coveredTechnique) bool { return t.ID == "" }))
	return fmt.Sprintf("%d rules; %d of %d ATLAS techniques and %d of 10 OWASP agentic entries are covered", cov.Rules, techniques, of, len(entries))
}
