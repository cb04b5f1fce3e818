package main

import (
	"bytes"
	"fmt"
	"html"
	"strings"
)

// table draws the matrix for a terminal. ASI and LLM stand above the numbers.
func (cov *coverage) table() []byte {
	const idWidth, nameWidth = 14, 48
	var b bytes.Buffer
	family, head := strings.Repeat(" ", idWidth+nameWidth), fmt.Sprintf("%-*s%-*s", idWidth, "ATLAS", nameWidth, "TECHNIQUE")
	last := ""
	for _, o := range cov.OWASP {
		if o[:3] != last {
			last = o[:3]
			family += "  " + last
			head += "  "
		} else {
			family += "   "
		}
		head += " " + o[3:]
	}
	for _, line := range []string{family, head} {
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	for _, t := range cov.Techniques {
		fmt.Fprintf(&b, "%-*s%-*s", idWidth, clean(firstOf(t.ID, "-")), nameWidth, clean(t.Name))
		last = ""
		for _, o := range cov.OWASP {
			if o[:3] != last {
				last = o[:3]
				b.WriteString("  ")
			}
			fmt.Fprintf(&b, " %2s", cov.figure(t.ID, o, "."))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\n%s\n", cov.summary())
	return b.Bytes()
}

// markdown draws the matrix as a table that names the rules.
func (cov *coverage) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "| technique | OWASP | rules and detectors |\n|---|---|---|\n")
	for _, t := range cov.Techniques {
		var entries []string
		for _, o := range cov.OWASP {
			if len(cov.Cells[t.ID+" "+o]) > 0 {
				entries = append(entries, o)
			}
		}
		fmt.Fprintf(&b, "| %s %s | %s | %s |\n", t.ID, strings.ReplaceAll(t.Name, "|", `\|`), firstOf(strings.Join(entries, " "), "-"),
			firstOf(strings.Join(cov.covered(t.ID), ", "), "none"))
	}
	fmt.Fprintf(&b, "\n%s\n", cov.summary())
	return b.Bytes()
}

// Sizes of the picture, in pixels.
const (
	coverName = 360
	coverCell = 30
	coverRow  = 22
	coverHead = 58
	coverGap  = 14
)

// coverStyle is readable on light and on dark ground; the figure says what the
// colour does.
const coverStyle = `<style>
text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#24292f}
.s{font-size:11px;fill:#57606a}.n{text-anchor:middle;fill:#fff}
.none{fill:none;stroke:#d0d7de}.a{fill:#2da44e}.b{fill:#1a7f37}.c{fill:#116329}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9198a1}.n{fill:#fff}.none{stroke:#3d444d}.a{fill:#238636}.b{fill:#196c2e}.c{fill:#0f5323}}
</style>
`

// svg draws the matrix as a picture.
func (cov *coverage) svg() []byte {
	var b bytes.Buffer
	left := func(i int) int {
		x := coverName + i*coverCell
		if !strings.HasPrefix(cov.OWASP[i], "ASI") {
			x += coverGap
		}
		return x
	}
	width := coverName + len(cov.OWASP)*coverCell + coverGap + 10
	height := coverHead + len(cov.Techniques)*coverRow + 34
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n<title>%s</title>\n%s", width, height, width, height, html.EscapeString(cov.summary()), coverStyle)
	fmt.Fprintf(&b, `<text x="0" y="18">MITRE ATLAS technique</text>`)
	last := ""
	for i, o := range cov.OWASP {
		if family := o[:3]; family != last {
			last = family
			fmt.Fprintf(&b, `<text x="%d" y="18">OWASP %s</text>`, left(i), html.EscapeString(family))
		}
		fmt.Fprintf(&b, `<text class="s" x="%d" y="40" text-anchor="middle">%s</text>`, left(i)+coverCell/2, html.EscapeString(o[3:]))
	}
	b.WriteByte('\n')
	for row, t := range cov.Techniques {
		y := coverHead + row*coverRow
		fmt.Fprintf(&b, `<text x="0" y="%d">%s</text><text class="s" x="96" y="%d">%s</text>`, y+4, html.EscapeString(firstOf(t.ID, "-")), y+4, html.EscapeString(t.Name))
		for i, o := range cov.OWASP {
			n := len(cov.Cells[t.ID+" "+o])
			class := []string{"none", "a", "b", "c"}[min(n, 3)]
			fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="3"/>`, class, left(i)+1, y-10, coverCell-3, coverRow-4)
			if n > 0 {
				fmt.Fprintf(&b, `<text class="n" x="%d" y="%d">%d</text>`, left(i)+coverCell/2, y+4, n)
			}
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, `<text class="s" x="0" y="%d">%s</text>`+"\n</svg>\n", coverHead+len(cov.Techniques)*coverRow+14, html.EscapeString(cov.summary()))
	return b.Bytes()
}
