package console

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// chart is a picture of values over time. The page carries it as SVG, which
// needs no script, and as data, from which the script draws one that can be
// asked for its values. Words say what it shows to those who do not see it.
type chart struct {
	ID, Title, Words string
	Unit             string
	From             time.Time
	Step             time.Duration
	Series           []series
	Band             *usualBand

	steps int // values of each series
}

// series is one line or row of bars: a value for each step.
type series struct {
	Name   string
	Kind   string // ok, bad, warn or other: its colour
	Line   bool   // else bars
	Values []float64
}

// usualBand is what is usual of the first series.
type usualBand struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// newChart returns a chart without series of the steps from that which one time
// lies in to that which another lies in, maxSteps at most.
func newChart(id, title, unit string, from, to time.Time, step time.Duration) *chart {
	from = from.UTC().Truncate(step)
	n := int(to.Sub(from)/step) + 1
	return &chart{ID: id, Title: title, Unit: unit, From: from, Step: step, steps: min(max(n, 1), maxSteps)}
}

// maxSteps is as much as a screen can show.
const maxSteps = 2000

// bars adds a row of bars, empty as yet, and returns its number.
func (c *chart) bars(name, kind string) int { return c.add(series{Name: name, Kind: kind}) }

// line adds a line, empty as yet, and returns its number.
func (c *chart) line(name, kind string) int { return c.add(series{Name: name, Kind: kind, Line: true}) }

func (c *chart) add(s series) int {
	s.Values = make([]float64, c.steps)
	c.Series = append(c.Series, s)
	return len(c.Series) - 1
}

// To is the end of the last step.
func (c *chart) To() time.Time { return c.From.Add(time.Duration(c.steps) * c.Step) }

// at counts into the step of a series that the moment lies in, if it does.
func (c *chart) at(s int, t time.Time, n float64) {
	if t.Before(c.From) {
		return
	}
	if i := int(t.Sub(c.From) / c.Step); i < c.steps {
		c.Series[s].Values[i] += n
	}
}

// sum adds a series up.
func (c *chart) sum(s int) (total float64) {
	for _, v := range c.Series[s].Values {
		total += v
	}
	return total
}

// peak is the highest value of a series and when its step begins.
func (c *chart) peak(s int) (most float64, at time.Time) {
	for i, v := range c.Series[s].Values {
		if v > most {
			most, at = v, c.From.Add(time.Duration(i)*c.Step)
		}
	}
	return most, at
}

// Top is where the axis ends.
func (c *chart) Top() float64 {
	top := 0.0
	for i := range c.Series {
		most, _ := c.peak(i)
		top = max(top, most)
	}
	if c.Band != nil {
		top = max(top, c.Band.High)
	}
	return max(top, 1)
}

// Data is what the script draws from, JSON.
func (c *chart) Data() string {
	type column struct {
		Name   string    `json:"name"`
		Kind   string    `json:"kind"`
		Line   bool      `json:"line,omitempty"`
		Values []float64 `json:"values"`
	}
	doc := struct {
		Unit   string     `json:"unit"`
		From   int64      `json:"from"`
		Step   int64      `json:"step"`
		Series []column   `json:"series"`
		Band   *usualBand `json:"band,omitempty"`
	}{c.Unit, c.From.Unix(), int64(c.Step / time.Second), nil, c.Band}
	for _, s := range c.Series {
		doc.Series = append(doc.Series, column(s))
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic("BUG: a chart that is no JSON: " + err.Error()) // its values are finite
	}
	return string(b)
}

// Size of the SVG, in its own units.
const (
	chartWidth  = 1000
	chartHeight = 100
)

// chartMark is a bar of the SVG, or a line.
type chartMark struct {
	Kind       string
	X, Y, W, H string
	Points     string
}

// Marks are the bars and lines of the SVG.
func (c *chart) Marks() (out []chartMark) {
	top, n := c.Top(), float64(c.steps)
	y := func(v float64) float64 { return chartHeight * (1 - v/top) }
	for _, s := range c.Series {
		var line strings.Builder
		for i, v := range s.Values {
			x := chartWidth * float64(i) / n
			if s.Line {
				fmt.Fprintf(&line, "%.1f,%.1f ", x, y(v))
			} else if v > 0 {
				out = append(out, chartMark{Kind: s.Kind, X: fmt.Sprintf("%.2f", x), Y: fmt.Sprintf("%.2f", y(v)), W: fmt.Sprintf("%.2f", 0.8*chartWidth/n), H: fmt.Sprintf("%.2f", chartHeight-y(v))})
			}
		}
		if s.Line {
			out = append(out, chartMark{Kind: s.Kind, Points: strings.TrimSpace(line.String())})
		}
	}
	return out
}

// BandMark is the usual band of the SVG, or nil.
func (c *chart) BandMark() *chartMark {
	if c.Band == nil {
		return nil
	}
	top := c.Top()
	high, low := chartHeight*(1-c.Band.High/top), chartHeight*(1-max(c.Band.Low, 0)/top)
	return &chartMark{Kind: "usual", Y: fmt.Sprintf("%.2f", high), H: fmt.Sprintf("%.2f", max(low-high, 0.5))}
}
