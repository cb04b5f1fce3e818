package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// promise is how long it may take at most, of 99 in 100 trials.
const promise = time.Second

// report adds trials up.
type report struct {
	trials []*trial
	calm   int      // runs of the others
	wrong  []string // what was paused, or stopped, beside
}

func (r *report) add(t *trial) { r.trials = append(r.trials, t) }

// of returns a figure of all trials, sorted.
func (r *report) of(figure func(t *trial) float64) []float64 {
	var out []float64
	for _, t := range r.trials {
		out = append(out, figure(t))
	}
	slices.Sort(out)
	return out
}

func between(from, to func(t *trial) time.Time) func(t *trial) float64 {
	return func(t *trial) float64 { return float64(to(t).Sub(from(t))) / 1e6 }
}

func first(t *trial) time.Time     { return t.first }
func received(t *trial) time.Time  { return t.received }
func asked(t *trial) time.Time     { return t.asked }
func confirmed(t *trial) time.Time { return t.confirmed }

// print writes the table.
func (r *report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tp50\tp99\tmax\t")
	for _, row := range []struct {
		name   string
		figure func(t *trial) float64
	}{
		{"ms, receipt of the record that crosses the limit to the pause, read back", between(received, confirmed)},
		{"ms, of these until a policy has decided", between(received, asked)},
		{"ms, first write to the pause, read back", between(first, confirmed)},
		{"writes since the first", func(t *trial) float64 { return float64(t.writes) }},
		{"writes a second", func(t *trial) float64 { return float64(t.writes) / t.confirmed.Sub(t.first).Seconds() }},
		{"ms, pause to the last change of a file", func(t *trial) float64 { return max(0, float64(t.changed.Sub(t.confirmed))/1e6) }},
	} {
		v := r.of(row.figure)
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t\n", row.name, v[len(v)/2], v[len(v)*99/100], v[len(v)-1])
	}
	_ = t.Flush()
	denied := 0
	for _, x := range r.trials {
		denied += x.denied
	}
	fmt.Fprintf(w, "%d of %d paused; %d writes begun after that, %d runs asked for after that and denied; %d runs of the others, %d of them stopped or paused\n",
		len(r.trials), *trials, r.late(), denied, r.calm, len(r.wrong))
}

func (r *report) late() (n int) {
	for _, t := range r.trials {
		n += t.late
	}
	return n
}

// broken returns the promises that were not kept.
func (r *report) broken() error {
	var errs []error
	took := r.of(between(received, confirmed))
	if p99 := took[len(took)*99/100]; p99 >= float64(promise)/1e6 {
		errs = append(errs, fmt.Errorf("p99 is %.0f ms, promised is less than %s", p99, promise))
	}
	if n := r.late(); n > 0 {
		errs = append(errs, fmt.Errorf("%d writes were let through after the pause was confirmed", n))
	}
	if len(r.wrong) > 0 {
		errs = append(errs, fmt.Errorf("others were hit: %s", strings.Join(r.wrong[:min(len(r.wrong), 10)], "; ")))
	}
	return errors.Join(errs...)
}
