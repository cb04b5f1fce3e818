package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/agentrail/agentrail/deploy/sample"
)

// outcome is what became of the days of one world.
type outcome struct {
	world          world
	seeds, records int

	incidents             []incident // by name
	planted, found, quiet int
	wrong, benign         int // false alerts, and benign records
}

// incident is what became of one pair of incident and twin, day by day.
type incident struct {
	name         string
	found, quiet []bool
	took         []time.Duration // of the days on which it was found, sorted
	by           map[string]int  // days on which a rule was the first to find it
}

// recall is the share of days on which the incident was found.
func (in *incident) recall() float64 { return share(yes(in.found), len(in.found)) }

// precision is the share of the days with an alert about the incident among
// those with an alert about either of the two.
func (in *incident) precision() float64 {
	return share(yes(in.found), yes(in.found)+len(in.quiet)-yes(in.quiet))
}

func share(n, of int) float64 { return float64(n) / float64(max(of, 1)) }

// finders names the rules that found it, the one of most days first.
func (in *incident) finders() string {
	names := slices.SortedFunc(maps.Keys(in.by), func(a, b string) int { return cmp.Or(in.by[b]-in.by[a], cmp.Compare(a, b)) })
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	for i, n := range names {
		names[i] = fmt.Sprintf("%s %d×", n, in.by[n])
	}
	return strings.Join(names, ", ")
}

func (o *outcome) add(s *sample.Score) {
	for i, r := range s.Results {
		if i == len(o.incidents) {
			o.incidents = append(o.incidents, incident{name: r.Incident, by: map[string]int{}})
		}
		in := &o.incidents[i]
		in.found, in.quiet = append(in.found, r.Found), append(in.quiet, r.TwinQuiet)
		if r.Found {
			in.by[r.Rule]++
			in.took = append(in.took, r.After)
			slices.Sort(in.took)
		}
	}
	o.planted += len(s.Results)
	o.found += s.Found()
	o.quiet += s.Quiet()
	o.wrong += len(s.False)
	o.benign += s.Benign
}

// with returns both as one, for the picture.
func (o *outcome) with(more *outcome) *outcome {
	sum := *o
	sum.incidents = slices.Concat(o.incidents, more.incidents)
	sum.planted, sum.found, sum.quiet = o.planted+more.planted, o.found+more.found, o.quiet+more.quiet
	sum.wrong, sum.benign = o.wrong+more.wrong, o.benign+more.benign
	return &sum
}

func (o *outcome) falsePer10k() float64 { return float64(o.wrong) * 10_000 / float64(max(o.benign, 1)) }

// took returns the median and the longest time to detection, over all
// incidents that were found.
func (o *outcome) took() (median, longest time.Duration) {
	var all []time.Duration
	for _, in := range o.incidents {
		all = append(all, in.took...)
	}
	slices.Sort(all)
	return middle(all)
}

func middle(sorted []time.Duration) (median, longest time.Duration) {
	if n := len(sorted); n > 0 {
		median, longest = sorted[n/2], sorted[n-1]
	}
	return median, longest
}

func yes(list []bool) (n int) {
	for _, b := range list {
		if b {
			n++
		}
	}
	return n
}

// print writes the table of incidents. Precision of all counts every false
// alert, that of one the alerts about its twin.
func (o *outcome) print(w io.Writer) {
	fmt.Fprintf(w, "%s, %d days, %d records\n\n", o.world.name, o.seeds, o.records)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "INCIDENT\tFOUND\tTWIN QUIET\tPRECISION\tRECALL\tSECONDS, MEDIAN\tMAX\tFOUND BY")
	for _, in := range o.incidents {
		median, longest := middle(in.took)
		fmt.Fprintf(t, "%s\t%d/%d\t%d/%d\t%.2f\t%.2f\t%.0f\t%.0f\t%s\n", in.name, yes(in.found), len(in.found), yes(in.quiet), len(in.quiet),
			in.precision(), in.recall(), median.Seconds(), longest.Seconds(), in.finders())
	}
	median, longest := o.took()
	fmt.Fprintf(t, "all\t%d/%d\t%d/%d\t%.2f\t%.2f\t%.0f\t%.0f\n", o.found, o.planted, o.quiet, o.planted,
		share(o.found, o.found+o.wrong), share(o.found, o.planted), median.Seconds(), longest.Seconds())
	_ = t.Flush()
	fmt.Fprintf(w, "\n%d false alerts in %d benign records: %.3f per 10,000\n", o.wrong, o.benign, o.falsePer10k())
}

// columns of the table of worlds.
var columns = []string{"world", "days", "records", "found", "twins quiet", "seconds, median", "max", "false alerts per 10,000"}

func (o *outcome) cells() []string {
	median, longest := o.took()
	return []string{
		o.world.name, fmt.Sprint(o.seeds), fmt.Sprint(o.records), fmt.Sprintf("%d/%d", o.found, o.planted), fmt.Sprintf("%d/%d", o.quiet, o.planted),
		fmt.Sprintf("%.0f", median.Seconds()), fmt.Sprintf("%.0f", longest.Seconds()), fmt.Sprintf("%.3f", o.falsePer10k()),
	}
}

// missed names what was judged wrong, each with how often.
func (o *outcome) missed() string {
	var out []string
	for _, in := range o.incidents {
		if n := len(in.found) - yes(in.found); n > 0 {
			out = append(out, fmt.Sprintf("%s missed %d×", in.name, n))
		}
		if n := len(in.quiet) - yes(in.quiet); n > 0 {
			out = append(out, fmt.Sprintf("twin of %s told %d×", in.name, n))
		}
	}
	return strings.Join(out, ", ")
}

func printWorlds(w io.Writer, all []outcome) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.ToUpper(strings.Join(columns, "\t")))
	for i := range all {
		fmt.Fprintln(t, strings.Join(append(all[i].cells(), all[i].missed()), "\t"))
	}
	_ = t.Flush()
}

// Marks in the README between which the table stands.
const (
	begin = "<!-- made by make scenarios -->\n"
	end   = "<!-- end -->\n"
)

// publish writes the table of worlds into the file, between the marks.
func publish(path string, all []outcome) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	head, rest, ok := strings.Cut(string(b), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("publish: %s has no place for the table: %q to %q", path, begin, end)
	}
	var t strings.Builder
	fmt.Fprintf(&t, "| %s | wrong |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)+1))
	for i := range all {
		fmt.Fprintf(&t, "| %s | %s |\n", strings.Join(all[i].cells(), " | "), all[i].missed())
	}
	return os.WriteFile(path, []byte(head+begin+t.String()+end+tail), 0o600)
}
