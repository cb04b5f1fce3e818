package decode

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Guess is a proposal of what the columns of a table mean.
type Guess struct {
	Columns []GuessedColumn
	Layouts []string // of the times, where they need one
	Zoned   bool     // the times name their zone or are numbers
	Notes   []string // what somebody has to decide
	Rows    int      // looked at
}

// GuessedColumn is one column and what it probably is.
type GuessedColumn struct {
	Column string
	Field  string // "" for none
	Why    string
	Sample string
	rank   int  // of those of one field, the lower one counts first
	mail   bool // it is the mail address of the actor as well
}

// guessMost caps the rows that are looked at.
const guessMost = 2000

// GuessTable looks at a header and some rows of its table.
func GuessTable(h *Head, data []byte) (*Guess, error) {
	s, err := Open("")
	if err != nil {
		return nil, err
	}
	m, err := s.Mapping("csv")
	if err != nil {
		return nil, err
	}
	g := &Guess{Zoned: true}
	columns := make([][]string, len(h.Columns))
	h.Rows(data, 1<<20, func(_, _ int, cells []string, code, _ string) bool {
		if code == "" {
			g.Rows++
			for i, c := range cells[:min(len(cells), len(columns))] {
				if !nothing([]byte(c)) {
					columns[i] = append(columns[i], c)
				}
			}
		}
		return g.Rows < guessMost
	})
	for i, name := range h.Columns {
		c := GuessedColumn{Column: name}
		if len(columns[i]) > 0 {
			c.Sample = columns[i][0]
		}
		m.prog.guess(&c, columns[i], g.Rows)
		if c.Field == "time" {
			g.times(name, columns[i])
		}
		g.Columns = append(g.Columns, c)
	}
	if !slices.ContainsFunc(g.Columns, func(c GuessedColumn) bool { return c.Field == "time" }) {
		g.Notes = append(g.Notes, "no column looks like a time: records without one count as happened when they are taken in")
	}
	return g, nil
}

type kindOfText struct {
	field string
	share float64 // of the values that must be so
	why   string
	is    func(p *program, s string) bool
}

// kindsOfText tell by the values what a column holds, the surest first.
var kindsOfText = []kindOfText{
	{"time", 0.9, "%s are times", func(_ *program, s string) bool { return looksLikeTime(s) }},
	{"actor_email", 0.8, "%s are mail addresses", func(_ *program, s string) bool { return mail.MatchString(s) }},
	{"ip", 0.8, "%s are IP addresses", func(_ *program, s string) bool { _, err := netip.ParseAddr(s); return err == nil }},
	{"endpoint", 0.6, "%s are paths of an API", func(_ *program, s string) bool { return strings.Contains(s, "/api/") }},
	{"method", 0.9, "%s are HTTP methods", func(_ *program, s string) bool {
		return slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}, strings.ToUpper(s))
	}},
	{"status", 0.9, "%s are HTTP statuses", func(_ *program, s string) bool { return httpStatus.MatchString(s) }},
	{"outcome", 0.8, "%s are words for results", func(p *program, s string) bool { _, ok := p.outcomes[strings.ToLower(s)]; return ok }},
	{"user_agent", 0.6, "%s are programs with their versions", func(_ *program, s string) bool { return agent.MatchString(s) }},
}

var (
	mail       = regexp.MustCompile(`^[^@\s]+@[^@\s]+\.[^@\s]+$`)
	httpStatus = regexp.MustCompile(`^[1-5]\d\d( [A-Za-z ]+)?$`)
	agent      = regexp.MustCompile(`^(Mozilla/|[A-Za-z][\w.-]*/\d+(\.\d+)*)`)
	dayFirst   = regexp.MustCompile(`^(\d{1,2})([/.-])(\d{1,2})[/.-](\d{4}|\d\d)(?:(,? )(\d{1,2}:\d\d)(:\d\d)?(?:[.,]\d+)?( ?[AaPp][Mm])?)?$`)
)

// guess decides on one column: by its name if the shipped mapping knows it and
// the values do not speak against it, else by its values.
func (p *program) guess(c *GuessedColumn, values []string, rows int) {
	named := ""
	if slots := p.columns[fold(c.Column)]; len(slots) > 0 {
		t := p.slots[slots[0]].targets[0]
		named, c.rank = fieldNames[t.field], int(t.prio)
	}
	byValue, why := "", ""
	for _, k := range kindsOfText {
		n := 0
		for _, v := range values {
			if k.is(p, v) {
				n++
			}
		}
		if len(values) > 0 && float64(n) >= k.share*float64(len(values)) {
			byValue, why = k.field, fmt.Sprintf(k.why, share(n, len(values)))
			break
		}
	}
	checked := slices.ContainsFunc(kindsOfText, func(k kindOfText) bool { return k.field == named })
	switch {
	case named != "" && len(values) == 0:
		c.Field, c.Why = named, "its name; it is empty here"
	case named != "" && byValue == named:
		c.Field, c.Why = named, "its name, and "+why
	case byValue == "actor_email" && named == "actor":
		c.Field, c.Why, c.mail = "actor", "its name, and "+why, true
	case byValue != "":
		c.Field, c.Why, c.rank = byValue, why, 300
	case named != "" && !checked:
		c.Field, c.Why = named, "its name"
	case named != "":
		c.Why = fmt.Sprintf("its name says %s, its values do not", named)
	case strings.HasSuffix(fold(c.Column), "id") && rows > 1 && len(values) == rows && distinct(values):
		c.Field, c.Why, c.rank = "source_id", "its name ends in id and no value is there twice", 300
	default:
		c.Why = "nothing tells"
	}
}

func share(n, of int) string {
	if n == of {
		return "all values"
	}
	return fmt.Sprintf("%d %% of the values", n*100/of)
}

func distinct(values []string) bool {
	sorted := slices.Sorted(slices.Values(values))
	return len(slices.Compact(sorted)) == len(values)
}

// looksLikeTime also takes what can be read in two ways.
func looksLikeTime(s string) bool {
	if dayFirst.MatchString(tidy([]byte(s))) {
		return true
	}
	c, err := (&program{}).clock("")
	if err != nil {
		return false
	}
	if _, ok := c.parse([]byte(s)); ok {
		return true
	}
	if digitsIn([]byte(s)) == len(s) && (len(s) < 10 || len(s) > 19) {
		return false // a number, and no Unix time of this century
	}
	_, how := parseTime(s, 0)
	return how == exact && len(s) >= 10
}

// times finds out how the times of a column are written, over all of them.
func (g *Guess) times(column string, values []string) {
	var day, month []string // proof that the first number is the day, the month
	shapes := map[string]bool{}
	for _, v := range values {
		m := dayFirst.FindStringSubmatch(tidy([]byte(v)))
		if m == nil {
			g.Zoned = g.Zoned && (strings.HasSuffix(v, "Z") || strings.HasSuffix(v, "UTC") || zoned.MatchString(v) || digitsIn([]byte(v)) >= 10)
			continue
		}
		g.Zoned = false
		if over(m[1]) || m[2] == "." {
			day = append(day, v)
		}
		if over(m[3]) && m[2] != "." {
			month = append(month, v)
		}
		shapes[shapeOf(m)] = true
	}
	if len(shapes) == 0 {
		return
	}
	first, second := "DD", "MM"
	switch {
	case len(day) > 0 && len(month) > 0:
		g.Notes = append(g.Notes, fmt.Sprintf("column %q: day and month stand in both orders (%s, %s): no layout is right for all rows", column, day[0], month[0]))
		return
	case len(month) > 0:
		first, second = "MM", "DD"
	case len(day) == 0:
		g.Notes = append(g.Notes, fmt.Sprintf("column %q: %s may be day/month or month/day and no row says which: write layout: [DD/MM/YYYY HH:mm] or [MM/DD/YYYY HH:mm] under time, or these times are not read", column, values[0]))
		return
	}
	for s := range shapes {
		g.Layouts = append(g.Layouts, strings.NewReplacer("1", first, "2", second).Replace(s))
	}
	slices.SortFunc(g.Layouts, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	g.Layouts = slices.Compact(g.Layouts)
}

var zoned = regexp.MustCompile(`:\d\d([.,]\d+)?\s?[+-]\d\d:?\d\d$`)

func over(number string) bool { return len(number) == 2 && number > "12" }

// shapeOf writes a layout with 1 and 2 for day and month.
func shapeOf(m []string) string {
	s := "1" + m[2] + "2" + m[2] + "YYYY"[:len(m[4])]
	if m[6] == "" {
		return s
	}
	hour := "HH"
	if m[8] != "" {
		hour = "h"
	}
	s += m[5] + hour + ":mm"
	if m[7] != "" {
		s += ":ss"
	}
	if m[8] != "" {
		s += strings.Repeat(" ", len(m[8])-2) + "A"
	}
	return s
}

// Mapping writes the proposal as a mapping file.
func (g *Guess) Mapping(name, zone string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# Proposed from a header and %d rows: read it before it is used.\n", g.Rows)
	for _, n := range g.Notes {
		fmt.Fprintf(&b, "# TO DECIDE: %s\n", strings.Map(func(r rune) rune {
			if r < ' ' {
				return ' '
			}
			return r
		}, n))
	}
	fmt.Fprintf(&b, "version: 1\nname: %s\nformat: csv\nuses: [tables, tools]\n\nfields:\n", name)
	by := map[string][]GuessedColumn{}
	for _, c := range g.Columns {
		by[c.Field] = append(by[c.Field], c)
		if c.mail {
			by["actor_email"] = append(by["actor_email"], c)
		}
	}
	list := func(field string) string {
		cs := by[field]
		slices.SortStableFunc(cs, func(a, b GuessedColumn) int { return cmp.Compare(a.rank, b.rank) })
		var names []string
		for _, c := range cs {
			names = append(names, fmt.Sprintf("%q", c.Column))
		}
		return "[" + strings.Join(names, ", ") + "]"
	}
	extra := map[string]string{
		"trace": ", as: tail", "duration": ", unit: ms", "initiator": ", values: initiators", "access": ", values: accesses", "tool": ", when: [tool., unknown]",
	}
	if len(g.Layouts) > 0 {
		extra["time"] = fmt.Sprintf(", layout: [%s]", strings.Join(quoteAll(g.Layouts), ", "))
	}
	if !g.Zoned {
		extra["time"] += fmt.Sprintf(", zone: %s", cmp.Or(zone, "UTC"))
	}
	for f := range fKind {
		field := fieldNames[f]
		if len(by[field]) == 0 {
			continue
		}
		if x := extra[field]; x != "" {
			fmt.Fprintf(&b, "  %s: {from: %s%s}\n", field, list(field), x)
		} else {
			fmt.Fprintf(&b, "  %s: %s\n", field, list(field))
		}
	}
	b.WriteString("\nkind:\n  const: api_call\n\noutcome:\n")
	texts := list("outcome")
	if len(by["outcome"]) == 0 {
		texts = list("status")
	}
	fmt.Fprintf(&b, "  text: %s\n  code: %s\n  error: %s\n", texts, list("reason"), list("error"))
	b.WriteString("\nvalues:\n  outcomes: {\"true\": ok, \"false\": error, \"yes\": ok, \"no\": error, pass: ok, rejected: denied, not allowed: denied}\n")
	return []byte(b.String())
}

func quoteAll(list []string) (out []string) {
	for _, s := range list {
		out = append(out, fmt.Sprintf("%q", s))
	}
	return out
}
