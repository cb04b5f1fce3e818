package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// alarmOnly are the incidents for which no policy has an action: they are told,
// and a person decides.
var alarmOnly = map[string]string{
	"tool-spam":            "many agents, each a little: no action stops a tool",
	"subscription-deleted": "what is deleted runs no more",
	"subscription-refused": "the platform refused it",
	"agent-survey":         "a person reads by hand; nothing runs",
	"trace-harvest":        "a person reads by hand; nothing runs",
	"search-crawl":         "a person reads by hand, and the alert is of low severity",
	"publish-then-edit":    "whether the change is meant a person has to say",
	"run-bloated":          "as step-added",
	"step-added":           "told once a run is over and compared; where that is more than 15 minutes later the alert is stale, and nothing acts on it",
	"export-edited":        "a setting of the platform, changed by a person; nothing runs",
	"guardrail-edited":     "a setting of the platform, changed by a person; nothing runs",
	"brake-released":       "who may release the brake may release it again",
}

// outcome is what became of one incident and its twin on one day.
type outcome struct {
	incident string
	action   string        // that was confirmed first; empty: none was
	rule     string        // of the alert that it answered
	took     time.Duration // from the incident's first record to the confirmation
	runs     int           // records of runs of the incident
	stopped  int           // of them, since what they are about was paused
	twin     int           // records of runs of the twin that were stopped
}

// row adds the days of one incident up.
type row struct {
	incident                   string
	days, contained, twinPeace int
	by                         []string
	took                       []time.Duration
	runs, stopped              int
}

// table is what became of all days.
type table struct {
	rows    []*row
	wrong   []string // pauses that are about no incident
	shared  []string // twins that were hit for another incident, and why
	paused  int      // actions that were confirmed
	records int

	ordinary, hindered int // records of runs that belong to no incident and no twin, and those that were stopped
}

func (t *table) add(all []outcome) {
	for _, o := range all {
		i := slices.IndexFunc(t.rows, func(r *row) bool { return r.incident == o.incident })
		if i < 0 {
			i = len(t.rows)
			t.rows = append(t.rows, &row{incident: o.incident})
		}
		r := t.rows[i]
		r.days++
		r.runs += o.runs
		r.stopped += o.stopped
		if o.twin == 0 {
			r.twinPeace++
		}
		if o.action != "" {
			r.contained++
			r.took = append(r.took, o.took)
			if how := o.action + ", " + o.rule; !slices.Contains(r.by, how) {
				r.by = append(r.by, how)
			}
		}
	}
}

// print writes the table: what was to be contained, then what is told only.
func (t *table) print(w io.Writer) {
	slices.SortFunc(t.rows, func(a, b *row) int { return strings.Compare(a.incident, b.incident) })
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "INCIDENT\tCONTAINED\tSECONDS, MEDIAN\tMAX\tRECORDS STOPPED\tTWIN IN PEACE\tBY")
	for _, r := range t.rows {
		if alarmOnly[r.incident] != "" {
			continue
		}
		slices.Sort(r.took)
		median, longest := "-", "-"
		if n := len(r.took); n > 0 {
			median, longest = fmt.Sprintf("%.0f", r.took[n/2].Seconds()), fmt.Sprintf("%.0f", r.took[n-1].Seconds())
		}
		fmt.Fprintf(tw, "%s\t%d/%d\t%s\t%s\t%d/%d\t%d/%d\t%s\n", r.incident, r.contained, r.days, median, longest, r.stopped, r.runs, r.twinPeace, r.days, strings.Join(r.by, "; "))
	}
	fmt.Fprintln(tw, "\nTOLD ONLY\tTWIN IN PEACE\tWHY")
	for _, r := range t.rows {
		if why := alarmOnly[r.incident]; why != "" {
			fmt.Fprintf(tw, "%s\t%d/%d\t%s\n", r.incident, r.twinPeace, r.days, why)
		}
	}
	_ = tw.Flush()
	for _, s := range t.shared {
		fmt.Fprintf(w, "\nstopped beside: %s", s)
	}
	c, n, p, all := t.sums()
	fmt.Fprintf(w, "\n%d of %d incidents contained, %d of %d twins in peace, %d of %d actions about no incident\n%d records; of the %d of ordinary runs, %d (%.2f %%) were stopped with the agent or person of an incident\n",
		c, n, p, all, len(t.wrong), t.paused, t.records, t.ordinary, t.hindered, 100*float64(t.hindered)/float64(max(t.ordinary, 1)))
}

// sums returns how many of how many were contained, and twins left in peace.
func (t *table) sums() (contained, of, peace, twins int) {
	for _, r := range t.rows {
		if alarmOnly[r.incident] == "" {
			contained, of = contained+r.contained, of+r.days
		}
		peace, twins = peace+r.twinPeace, twins+r.days
	}
	return contained, of, peace, twins
}

// broken returns the promises that were not kept: each incident that has an
// action is contained, and nothing is paused but for an incident. A twin whose
// agent or person is in an incident as well at that time is stopped with it, and
// listed.
func (t *table) broken() error {
	c, n, _, _ := t.sums()
	if c == n && len(t.wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d incidents contained; paused for nothing: %s", c, n, strings.Join(t.wrong[:min(len(t.wrong), 10)], "; "))
}
