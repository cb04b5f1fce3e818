package sigma

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"
)

// naiveMatch matches a pattern the obvious way, by recursion.
func naiveMatch(p pattern, s string) bool {
	if len(p) == 0 {
		return s == ""
	}
	switch t := p[0]; t.kind {
	case tokenLiteral:
		return strings.HasPrefix(s, t.lit) && naiveMatch(p[1:], s[len(t.lit):])
	case tokenStar:
		for i := 0; ; {
			if naiveMatch(p[1:], s[i:]) {
				return true
			}
			_, w := utf8.DecodeRuneInString(s[i:])
			if w == 0 {
				return false
			}
			i += w
		}
	default:
		r, w := utf8.DecodeRuneInString(s)
		return w > 0 && (t.kind == tokenOne || slices.Contains(dashes, r)) && naiveMatch(p[1:], s[w:])
	}
}

// naive evaluates every rule of a set on a record, without the index.
func naive(set *Set, r *Record) (out []string) {
	var v view
	v.reset(r, len(set.fields))
	for _, rule := range set.base {
		if rule.root.matches(&v, set.fields) {
			out = append(out, rule.ID)
		}
	}
	return out
}

func indexed(set *Set, r *Record) (out []string) {
	NewEvaluator(set, EvalOptions{}).Record(r, 0, func(m *Match) { out = append(out, m.Rule.ID) })
	return out
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"a*b?c", `a\*b`, `\\*x`, `\\\*`, "*", "", "?*?", "a**b", "é?"} {
		f.Add(s, "a*b?c", true)
		f.Add(s, "aébxc", false)
	}
	f.Fuzz(func(t *testing.T, pat, text string, dash bool) {
		if len(pat) > 40 || len(text) > 40 || strings.Count(pat, "*") > 4 || !utf8.ValidString(pat) || !utf8.ValidString(text) {
			return // a literal that is half a character is looked for by bytes
		}
		p := parsePattern(pat)
		if dash {
			p = p.windash()
		}
		for _, q := range []pattern{p, p.open(true, true), p.open(false, true), p.open(true, false), p.lowered()} {
			if got, want := q.match(text), naiveMatch(q, text); got != want {
				t.Errorf("%q on %q: %v, want %v", pat, text, got, want)
			}
		}
	})
}

func FuzzCondition(f *testing.F) {
	for _, s := range []string{"a and not b", "1 of a*", "all of them or (b)", "not not a", "((a", "of of of", "2 of them", "a | count()"} {
		f.Add(s)
	}
	names := []string{"a", "ab", "b", "_c", "of"}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseCondition(s, names, func(string) *node { return &node{op: opLeaf, item: &item{field: 0, tests: []test{{kind: testNull}}}} })
		if (n == nil) == (err == nil) {
			t.Errorf("%q: %v, %v", s, n, err)
		}
		if n != nil {
			var v view
			v.reset(&Record{}, 1)
			n.matches(&v, []field{newField("x", []string{"x"})})
		}
	})
}

// FuzzLoad gives the loader any bytes: it must not crash, must name what it
// refuses, and what it loads must match the same with the index and without.
func FuzzLoad(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomRule(rand.New(rand.NewPCG(seed, 1)), 0), `{"f":"abc","g":["x","ABD"]}`)
	}
	f.Add("title: c\ncorrelation: {type: temporal, rules: [x], timespan: 1m}\n", `{}`)
	f.Add("title: f\nlogsource: {product: p}\nfilter: {rules: any, s: {f|re|i: 'sk.*k'}, condition: not s}\n---\ntitle: x\nlogsource: {product: p}\ndetection: {s: [a, b], condition: s}", `{"f":"SKk"}`)
	f.Add("a: &a [*a]\n--- \n&b\n*b", `[1]`)
	f.Fuzz(func(t *testing.T, rules, doc string) {
		set, err := Load(fstest.MapFS{"r.yml": {Data: []byte(rules)}}, "", Options{AnyLogsource: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, why := range set.Refused {
			if r, ok := why.(*Refusal); !ok || r.Line < 1 || r.Reason == "" { //nolint:errorlint // never wrapped
				t.Errorf("refused without a place or a reason: %v", why)
			}
		}
		r, err := ParseRecord([]byte(doc))
		if err != nil {
			return
		}
		for _, rule := range set.base { // correlations silence their rules; here all speak
			rule.silent, rule.ins = false, nil
		}
		if got, want := indexed(set, r), naive(set, r); !slices.Equal(got, want) {
			t.Errorf("with index %v, without %v", got, want)
		}
	})
}

var (
	randomMods  = []string{"", "|contains", "|startswith", "|endswith", "|cased", "|contains|all", "|re", "|re|i", "|neq", "|contains|windash", "|endswith|cased", "|base64offset|contains", "|lt", "|fieldref"}
	randomTexts = []string{"abc", "ABD", "a*c", "*", "x?z", "sk", "K", "-a", "/b", "Ünï", "abcdefgh", "c:\\\\x", "longerliteral", "ſ", "YWJj"}
)

// randomRule writes a rule over few fields and texts, so that many match.
func randomRule(r *rand.Rand, n int) string {
	pick := func(ss []string) string { return ss[r.IntN(len(ss))] }
	var b strings.Builder
	fmt.Fprintf(&b, "title: r%d\nlogsource: {product: p}\ndetection:\n", n)
	for _, id := range []string{"s1", "s2", "t"} {
		fmt.Fprintf(&b, "  %s:\n", id)
		if r.IntN(6) == 0 {
			fmt.Fprintf(&b, "    - '%s'\n    - '%s'\n", pick(randomTexts), pick(randomTexts))
			continue
		}
		for _, f := range []string{"f", "g"}[:1+r.IntN(2)] {
			mod := pick(randomMods)
			switch mod {
			case "|lt":
				fmt.Fprintf(&b, "    %s|lt: %d\n", f, r.IntN(5))
			case "|fieldref":
				fmt.Fprintf(&b, "    %s|fieldref: h\n", f)
			case "|re", "|re|i":
				fmt.Fprintf(&b, "    %s%s: '%s'\n", f, mod, pick([]string{"a.c", "(abc|abd)+", "^sk", "k.*longer", "x{2,3}", "[a-c]bc$", "desk(top)?", "k|s"}))
			case "|base64offset|contains":
				fmt.Fprintf(&b, "    %s%s: abc\n", f, mod)
			default:
				fmt.Fprintf(&b, "    %s%s: ['%s', '%s']\n", f, mod, pick(randomTexts), pick(randomTexts))
			}
		}
	}
	fmt.Fprintf(&b, "  condition: %s\n", pick([]string{"s1", "s1 and s2", "s1 or t", "1 of s*", "all of them", "s1 and not t", "not s1 and s2", "2 of them", "not 1 of s*"}))
	return b.String()
}

// TestIndexChangesNothing holds the index against plain evaluation, over
// random rules and random records.
func TestIndexChangesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	var rules []string
	for i := range 600 {
		rules = append(rules, randomRule(r, i))
	}
	set, err := Load(fstest.MapFS{"r.yml": {Data: []byte(strings.Join(rules, "---\n"))}}, "", Options{AnyLogsource: true})
	if err != nil || len(set.Refused) > 0 {
		t.Fatal(err, set.Refused)
	}
	if len(set.index.always) > len(set.base)/2 {
		t.Errorf("%d of %d rules have no literal: the index is of no use", len(set.index.always), len(set.base))
	}
	words := append([]string{"abc", "abd", "axxc", "xyz", "SK", "desktop", "K", "longerliteralabc", "xx -a", "y /b", "ünï", "C:\\x", "YWJj", "IGFiY", "3"}, randomTexts...)
	total := 0
	for range 500 {
		doc := "{"
		for i, f := range []string{"f", "g", "h"} {
			if i > 0 {
				doc += ","
			}
			doc += fmt.Sprintf("%q:[%q,%q]", f, words[r.IntN(len(words))], words[r.IntN(len(words))]+words[r.IntN(len(words))])
		}
		rec, err := ParseRecord([]byte(doc + "}"))
		if err != nil {
			t.Fatal(err)
		}
		got, want := indexed(set, rec), naive(set, rec)
		if !slices.Equal(got, want) {
			t.Fatalf("%s: with index %v, without %v", doc, got, want)
		}
		total += len(got)
	}
	if total < 1000 {
		t.Errorf("only %d matches: the records try nothing", total)
	}
}
