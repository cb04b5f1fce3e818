package main

import (
	"bytes"
	"fmt"
	"math"
	"time"
)

// Sizes of the picture, in pixels.
const (
	nameWidth = 160
	cell      = 9 // of one day
	row       = 22
	headRow   = 54
	scale     = 240 // width of the time axis
	gap       = 28
)

// style is readable on light and on dark ground; colour is never the only sign.
const style = `<style>
text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#24292f}
.s{font-size:11px;fill:#57606a}
.good{fill:#1a7f37}.bad{fill:none;stroke:#cf222e;stroke-width:2}
.grid{stroke:#d0d7de;stroke-width:1}.span{stroke:#0969da;stroke-width:4;stroke-linecap:round;opacity:.45}.dot{fill:#0969da}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9198a1}.good{fill:#3fb950}.bad{stroke:#ff7b72}
.grid{stroke:#3d444d}.span{stroke:#58a6ff}.dot{fill:#58a6ff}}
</style>
`

// ticks are the marks of the time axis.
var ticks = []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour}

// along returns where on the axis a time stands, by its logarithm.
func along(d time.Duration) float64 {
	s := max(d.Seconds(), 1)
	return min(math.Log(s)/math.Log((6*time.Hour).Seconds()), 1) * scale
}

// draw makes the picture: a line for each incident, with a square for each day
// (filled: judged right, empty with a cross: wrong) and the range of times to
// detection with its median.
func draw(o *outcome) []byte {
	var b bytes.Buffer
	strip := o.seeds * cell
	found, quiet := nameWidth, nameWidth+strip+gap
	axis := quiet + strip + gap
	width, height := axis+scale+gap, headRow+len(o.incidents)*row+34
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>%d of %d incidents found, %d of %d twins quiet, %d false alerts</title>\n%s", o.found, o.planted, o.quiet, o.planted, o.wrong, style)
	fmt.Fprintf(&b, `<text x="%d" y="18">incident found</text><text class="s" x="%d" y="34">a square a day or, the last ones, a fortnight: %d of each</text>`+"\n", found, found, o.seeds)
	fmt.Fprintf(&b, `<text x="%d" y="18">twin quiet</text>`+"\n", quiet)
	fmt.Fprintf(&b, `<text x="%d" y="18">first record to alert: range and median</text>`+"\n", axis)
	bottom := headRow + len(o.incidents)*row
	for _, t := range ticks {
		x := float64(axis) + along(t)
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text class="s" x="%.1f" y="34" text-anchor="middle">%s</text>`+"\n", x, headRow-12, x, bottom-4, x, short(t))
	}
	for i := range o.incidents {
		in := &o.incidents[i]
		y := headRow + i*row
		fmt.Fprintf(&b, `<text x="0" y="%d">%s</text>`, y+9, in.name)
		squares(&b, found, y, in.found)
		squares(&b, quiet, y, in.quiet)
		if n := len(in.took); n > 0 {
			median, longest := middle(in.took)
			fmt.Fprintf(&b, `<line class="span" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><circle class="dot" cx="%.1f" cy="%d" r="4"/>`,
				float64(axis)+along(in.took[0]), y+5, float64(axis)+along(longest), y+5, float64(axis)+along(median), y+5)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, `<text class="s" x="0" y="%d">%d of %d found, %d of %d twins quiet, %.3f false alerts per 10,000 of %d benign records; generator and limits were made together</text>`+"\n</svg>\n",
		bottom+20, o.found, o.planted, o.quiet, o.planted, o.falsePer10k(), o.benign)
	return b.Bytes()
}

// squares draws one for each day.
func squares(b *bytes.Buffer, x, y int, right []bool) {
	for i, ok := range right {
		at := x + i*cell
		if ok {
			fmt.Fprintf(b, `<rect class="good" x="%d" y="%d" width="%d" height="11"/>`, at, y, cell-2)
		} else {
			fmt.Fprintf(b, `<path class="bad" d="M%d %dh%dv9h-%dzl%d 9"/>`, at+1, y+1, cell-4, cell-4, cell-4)
		}
	}
}

func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d h", d/time.Hour)
}
