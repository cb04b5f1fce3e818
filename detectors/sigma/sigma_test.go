package sigma_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/agentrail/agentrail/detectors/sigma"
)

// load compiles one file of rules.
func load(t testing.TB, rules string, m *sigma.Map) *sigma.Set {
	t.Helper()
	set, err := sigma.Load(fstest.MapFS{"r.yml": {Data: []byte(rules)}}, "", sigma.Options{Map: m, AnyLogsource: true})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// ruleOf wraps a detection, given with two blanks of indent.
func ruleOf(detection string) string {
	return "title: t\nlogsource: {product: p}\ndetection:\n" + detection
}

func record(t testing.TB, doc string) *sigma.Record {
	t.Helper()
	r, err := sigma.ParseRecord([]byte(doc))
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return r
}

func fires(t testing.TB, set *sigma.Set, doc string) bool {
	t.Helper()
	n := 0
	sigma.NewEvaluator(set, sigma.EvalOptions{}).Record(record(t, doc), 0, func(*sigma.Match) { n++ })
	return n > 0
}

// TestModifiers holds a line of a detection against records that it must match
// and records that it must not.
func TestModifiers(t *testing.T) {
	m, err := sigma.ParseMap("m", []byte("version: 1\nplaceholders: {Servers: ['srv*', db1], One: x}\n"))
	if err != nil {
		t.Fatal(err)
	}
	f := func(line string, match, miss []string) {
		t.Helper()
		set := load(t, ruleOf("  s:\n    "+line+"\n  condition: s\n"), m)
		if len(set.Refused) > 0 {
			t.Errorf("%s: %v", line, set.Refused)
			return
		}
		for _, doc := range match {
			if !fires(t, set, doc) {
				t.Errorf("%s does not match %s", line, doc)
			}
		}
		for _, doc := range miss {
			if fires(t, set, doc) {
				t.Errorf("%s matches %s", line, doc)
			}
		}
	}
	l := func(docs ...string) []string { return docs }

	// Plain values, wildcards, escapes.
	f(`f: Abc`, l(`{"f":"aBC"}`, `{"f":["x","abc"]}`), l(`{"f":"abcd"}`, `{"f":null}`, `{}`, `{"F":"abc"}`))
	f(`f: ÄÖ`, l(`{"f":"äö"}`), l(`{"f":"ao"}`))
	f(`f: 4688`, l(`{"f":4688}`, `{"f":"4688"}`, `{"f":4688.0}`), l(`{"f":46880}`))
	f(`f: true`, l(`{"f":true}`, `{"f":"TRUE"}`), l(`{"f":false}`))
	f(`f: 'a*c?'`, l(`{"f":"abbcd"}`, `{"f":"acé"}`), l(`{"f":"abc"}`, `{"f":"xacd"}`))
	f(`f: 'a\*c'`, l(`{"f":"a*c"}`), l(`{"f":"abc"}`))
	f(`f: 'a\\*c'`, l(`{"f":"a\\bc"}`, `{"f":"a\\c"}`), l(`{"f":"a*c"}`, `{"f":"abc"}`))
	f(`f: 'a\\\*c'`, l(`{"f":"a\\*c"}`), l(`{"f":"a\\bc"}`))
	f(`f: 'C:\x\y'`, l(`{"f":"c:\\x\\y"}`), nil)
	f(`f: 'C:\\x'`, l(`{"f":"c:\\x"}`), l(`{"f":"c:\\\\x"}`))
	f(`f: '\\\\srv'`, l(`{"f":"\\\\srv"}`), l(`{"f":"\\srv"}`))
	f(`f: '*'`, l(`{"f":""}`, `{"f":"x"}`), l(`{}`, `{"f":null}`))
	f(`f: ''`, l(`{"f":""}`), l(`{}`, `{"f":null}`, `{"f":"x"}`))
	f(`f: null`, l(`{}`, `{"f":null}`), l(`{"f":""}`, `{"f":0}`))
	f(`f: [a, b]`, l(`{"f":"b"}`), l(`{"f":"c"}`))
	f(`a.b: x`, l(`{"a":{"b":"x"}}`, `{"a.b":"x"}`, `{"a":[{"b":"y"},{"b":"x"}]}`), l(`{"a":"x"}`))
	f(`f|exists: true`, l(`{"f":null}`, `{"f":""}`, `{"f":{"x":1}}`), l(`{}`))
	f(`f|exists: false`, l(`{"g":1}`), l(`{"f":null}`))
	// Parts of strings.
	f(`f|contains: bC`, l(`{"f":"aBcd"}`), l(`{"f":"b c"}`))
	f(`f|startswith: ab`, l(`{"f":"ABx"}`), l(`{"f":"xab"}`))
	f(`f|endswith: '\cmd.exe'`, l(`{"f":"C:\\CMD.exe"}`), l(`{"f":"C:\\cmd.exe1"}`))
	f(`f|contains|all: [a, b]`, l(`{"f":"bxa"}`), l(`{"f":"a"}`, `{"f":"b"}`))
	f(`f|contains: 'a*b'`, l(`{"f":"xa--bx"}`), l(`{"f":"ba"}`))
	f(`f|cased: Abc`, l(`{"f":"Abc"}`), l(`{"f":"abc"}`))
	f(`f|contains|cased: Abc`, l(`{"f":"xAbcx"}`), l(`{"f":"xabcx"}`))
	f(`f|neq: a`, l(`{"f":"b"}`, `{}`), l(`{"f":"A"}`))
	f(`f|neq: [a, b]`, l(`{"f":"c"}`), l(`{"f":"a"}`, `{"f":"b"}`))
	f(`f|contains|neq: a`, l(`{"f":"b"}`), l(`{"f":"xa"}`))
	// Regular expressions.
	f(`f|re: 'a.c$'`, l(`{"f":"xabc"}`), l(`{"f":"ABC"}`, `{"f":"a\nc"}`, `{"f":"abcd"}`))
	f(`f|re|i: 'sk[0-9]{2}'`, l(`{"f":"xSK12"}`), l(`{"f":"sk1"}`))
	f(`f|re|m: '^b$'`, l(`{"f":"a\nb"}`), l(`{"f":"ab"}`))
	f(`f|re|s: 'a.c'`, l(`{"f":"a\nc"}`), nil)
	f(`f|re|i|m: '^B$'`, l(`{"f":"a\nb"}`), nil)
	// Encodings.
	f(`f|base64: foo`, l(`{"f":"Zm9v"}`), l(`{"f":"foo"}`))
	f(`f|base64offset|contains: foobar`, l(`{"f":"xxZm9vYmFyxx"}`, `{"f":"IGZvb2Jhcg=="}`, `{"f":"ICBmb29iYXI="}`), l(`{"f":"Zm9vYmF6"}`))
	f(`f|wide|base64: ab`, l(`{"f":"YQBiAA=="}`), nil)
	f(`f|utf16le|base64: ab`, l(`{"f":"YQBiAA=="}`), nil)
	f(`f|utf16be|base64: ab`, l(`{"f":"AGEAYg=="}`), nil)
	f(`f|utf16|base64: ab`, l(`{"f":"//5hAGIA"}`), nil)
	f(`f|wide: ab`, l(`{"f":"a\u0000b\u0000"}`), l(`{"f":"ab"}`))
	f(`f|windash|contains: ' -f'`, l(`{"f":"x -f"}`, `{"f":"x /F"}`, `{"f":"x –f"}`, `{"f":"x —f"}`, `{"f":"x ―f"}`), l(`{"f":"x +f"}`, `{"f":"x f"}`))
	f(`f|windash|contains: 'a-b'`, l(`{"f":"a-b"}`), l(`{"f":"a/b"}`))
	f(`f|windash|contains|all: [' -a', ' -b']`, l(`{"f":"x /b -a"}`), l(`{"f":"x /b /c"}`))
	f(`f|base64offset|contains|all: [abcdef, ghijkl]`, l(`{"f":"YWJjZGVm Z2hpamts"}`), l(`{"f":"YWJjZGVm"}`))
	// Numbers, networks, dates.
	f(`f|lt: 5`, l(`{"f":4}`, `{"f":"4.9"}`), l(`{"f":5}`, `{"f":"x"}`, `{}`))
	f(`f|lte: 5`, l(`{"f":5}`), l(`{"f":6}`))
	f(`f|gt: -1.5`, l(`{"f":-1}`), l(`{"f":-2}`))
	f(`f|gte: 5`, l(`{"f":5}`), l(`{"f":4}`))
	f(`f|cidr: 10.0.0.0/8`, l(`{"f":"10.1.2.3"}`, `{"f":"::ffff:10.1.2.3"}`), l(`{"f":"11.0.0.1"}`, `{"f":"10.x"}`))
	f(`f|cidr: ['fe80::/10', 192.168.1.1]`, l(`{"f":"fe80::1"}`, `{"f":"192.168.1.1"}`), l(`{"f":"2001::1"}`))
	f(`f|hour: 23`, l(`{"f":"2026-11-25T23:10:00+02:00"}`, `{"f":"2026-11-25 23:10:00"}`), l(`{"f":"2026-11-25T22:10:00Z"}`))
	f(`f|hour|gte: 20`, l(`{"f":1764192600}`), l(`{"f":"2026-11-25 19:59:59"}`, `{"f":"soon"}`))
	f(`f|minute: 10`, l(`{"f":"2026-11-25T23:10:00Z"}`), nil)
	f(`f|day: 25`, l(`{"f":"2026-11-25"}`), l(`{"f":"2026-11-24"}`))
	f(`f|week: 48`, l(`{"f":"2026-11-25"}`), nil)
	f(`f|month: 11`, l(`{"f":"2026-11-25"}`), nil)
	f(`f|year: [2025, 2026]`, l(`{"f":"2026-11-25"}`), l(`{"f":"2024-11-25"}`))
	// Other fields, placeholders.
	f(`f|fieldref: g`, l(`{"f":"A","g":"a"}`), l(`{"f":"a","g":"b"}`, `{"f":"a"}`, `{}`))
	f(`f|fieldref|neq: g`, l(`{"f":"a","g":"b"}`), l(`{"f":"a","g":"A"}`, `{"f":"a"}`, `{"g":"a"}`))
	f(`f|fieldref|startswith: g`, l(`{"f":"abc","g":"AB"}`), l(`{"f":"xab","g":"ab"}`))
	f(`f|fieldref|endswith: g`, l(`{"f":"abc","g":"bc"}`), l(`{"f":"abc","g":"ab"}`))
	f(`f|fieldref|contains: g`, l(`{"f":"abc","g":"b"}`), l(`{"f":"abc","g":"x"}`))
	f(`f|expand: '%Servers%'`, l(`{"f":"SRV9"}`, `{"f":"db1"}`), l(`{"f":"db2"}`))
	f(`f|expand: '\%a%One%'`, l(`{"f":"%ax"}`), l(`{"f":"ax"}`))
	f(`f: '%Servers%'`, l(`{"f":"%servers%"}`), l(`{"f":"srv1"}`))
	f(`f|contains|expand: 'p-%One%'`, l(`{"f":"ap-xb"}`), nil)
}

// TestKeywords finds text in any value of a record, not in its keys.
func TestKeywords(t *testing.T) {
	f := func(detection string, match, miss string) {
		t.Helper()
		set := load(t, ruleOf(detection), nil)
		if len(set.Refused) > 0 || !fires(t, set, match) || fires(t, set, miss) {
			t.Errorf("%s: refused %v; must match %s and not %s", detection, set.Refused, match, miss)
		}
	}
	f("  k: [evil, 'a*z']\n  condition: k\n", `{"x":{"y":["be EVIL!"]}}`, `{"evil":1}`)
	f("  k: [evil, 'a*z']\n  condition: k\n", `{"x":"-a12z-"}`, `{"x":"a","y":"z"}`)
	f("  k:\n    '|all': [one, two]\n  condition: k\n", `{"x":"one","y":"two"}`, `{"x":"one"}`)
	f("  k: evil\n  condition: k\n", `{"x":"evil"}`, `{"x":"ev"}`)
	f("  k:\n    - evil\n    - f: 1\n  condition: k\n", `{"f":1}`, `{"f":2}`)
	f("  k:\n    '|re': 'e[v]il'\n  condition: k\n", `{"x":"an evil"}`, `{"x":"EVIL"}`)
	f("  k: [4104]\n  condition: k\n", `{"x":4104}`, `{"x":1}`)
}

// TestConditions goes through the grammar. a, b and _c hold where the record
// has that letter.
func TestConditions(t *testing.T) {
	f := func(condition, match, miss string) {
		t.Helper()
		set := load(t, ruleOf("  sel_a: {a: 1}\n  sel_b: {b: 1}\n  _c: {c: 1}\n  condition: "+condition+"\n"), nil)
		if len(set.Refused) > 0 {
			t.Errorf("%s: %v", condition, set.Refused)
			return
		}
		doc := func(letters string) string {
			var fs []string
			for _, l := range letters {
				fs = append(fs, fmt.Sprintf("%q:1", string(l)))
			}
			return "{" + strings.Join(fs, ",") + "}"
		}
		for s := range strings.FieldsSeq(match) {
			if !fires(t, set, doc(strings.Trim(s, "-"))) {
				t.Errorf("%s does not match %s", condition, s)
			}
		}
		for s := range strings.FieldsSeq(miss) {
			if fires(t, set, doc(strings.Trim(s, "-"))) {
				t.Errorf("%s matches %s", condition, s)
			}
		}
	}
	f("sel_a", "a ab", "b -")
	f("sel_a and sel_b", "ab", "a b -")
	f("sel_a or sel_b and _c", "a bc abc", "b c")
	f("(sel_a or sel_b) and _c", "ac bc", "a b c")
	f("not sel_a and sel_b", "b bc", "a ab -")
	f("not (sel_a or sel_b)", "c -", "a b")
	f("not not sel_a", "a", "b")
	f("sel_a AND NOT sel_b", "a", "ab")
	f("1 of them", "a b", "c -")
	f("any of sel_*", "a b", "c -")
	f("all of them", "ab abc", "a b")
	f("all of sel_*", "ab", "a")
	f("2 of *", "ab ac bc", "a b c")
	f("1 of *_a", "a", "b")
	f("1 of _*", "c", "ab")
	f("not 1 of sel_*", "c -", "a")
	f("[sel_a, sel_b]", "a b", "c")
}

// TestRefusals loads rules that must be refused by name, together with a good
// one that must go on.
func TestRefusals(t *testing.T) {
	good := "title: good\nid: good\nlogsource: {product: p}\ndetection: {s: {f: good}, condition: s}\n"
	f := func(rule, line, reason string) {
		t.Helper()
		set := load(t, good+"---\n"+rule, nil)
		if len(set.Rules) != 1 || set.Rules[0].ID != "good" || !fires(t, set, `{"f":"good"}`) {
			t.Errorf("%s: the good rule did not go on: %d rules", reason, len(set.Rules))
		}
		for _, err := range set.Refused {
			if strings.HasPrefix(err.Error(), "r.yml:"+line+": ") && strings.Contains(err.Error(), reason) {
				return
			}
		}
		t.Errorf("no refusal at line %s with %q: %v", line, reason, set.Refused)
	}
	line := func(l string) string { return ruleOf("  s:\n    " + l + "\n  condition: s\n") }
	f("title: x\nid: [\n", "5", "not YAML")
	f("- a\n- b\n", "6", "a rule is a map")
	f("logsource: {product: p}\ndetection: {s: {f: 1}, condition: s}\n", "6", "no title")
	f("title: x\ndetection: {s: {f: 1}, condition: s}\n", "6", "no logsource")
	f("title: x\nlogsource: {product: p}\n", "6", "no detection")
	f("title: x\nlevel: huge\nlogsource: {product: p}\ndetection: {s: {f: 1}, condition: s}\n", "7", `level "huge"`)
	f("title: x\nid: good\nlogsource: {product: p}\ndetection: {s: {f: 1}, condition: s}\n", "6", `id or name "good"`)
	f("action: global\ntitle: x\n", "6", "Sigma 1")
	f(line("f|sounds: x"), "10", `unknown modifier "sounds"`)
	f(line("f|i: x"), "10", "belongs behind re")
	f(line("f|re: '('"), "10", "regular expression")
	f(line("f|re: '(?=a)'"), "10", "regular expression")
	f(line("f|re: '"+strings.Repeat("a", 10_000)+"'"), "10", "10000 bytes")
	f(line("f|re: 'a{1000}{1000}'"), "10", "regular expression")
	f(line("f|cidr: 10.0.0.0/99"), "10", "no network")
	f(line("f|gt: ten"), "10", "no number")
	f(line("f|exists: maybe"), "10", "true or false")
	f(line("f|re|cidr: x"), "10", "exclude one another")
	f(line("f|base64: 'a*'"), "10", "wildcards cannot be encoded")
	f(line("f|contains: null"), "10", "null cannot be modified")
	f(line("f|expand: '%Unknown%'"), "10", "%Unknown% is not configured")
	f(line("f: []"), "10", "empty")
	f(line("f: {a: 1}"), "10", "neither text nor number")
	f(line("f: 1\n    f: 2"), "11", "twice")
	f(line("<<: {a: 1}"), "10", "merge keys")
	f(ruleOf("  s: {}\n  condition: s\n"), "9", "empty")
	f(ruleOf("  s: {f: 1}\n"), "9", "no condition")
	f(ruleOf("  s: {f: 1}\n  condition: s and\n"), "10", "ends where")
	f(ruleOf("  s: {f: 1}\n  condition: t\n"), "10", `names "t"`)
	f(ruleOf("  s: {f: 1}\n  condition: 1 of t*\n"), "10", "no identifier fits")
	f(ruleOf("  s: {f: 1}\n  condition: (s\n"), "10", ") belongs")
	f(ruleOf("  s: {f: 1}\n  condition: s | count() > 5\n"), "10", "write a correlation")
	f(ruleOf("  s: {f: 1}\n  timeframe: 5m\n  condition: s\n"), "10", "write a correlation")
	f(ruleOf("  s: {f: 1}\n  condition: "+strings.Repeat("not ", 200)+"s\n"), "10", "nested deeper")
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	f("title: bomb\n"+bomb, "7", "aliases are written out")
	corr := func(body string) string { return "title: c\nid: c\ncorrelation:\n" + body }
	f(corr("  type: event_count\n  rules: [good]\n  timespan: 0s\n  condition: {gte: 2}\n"), "11", "timespan is 0")
	f(corr("  type: event_count\n  rules: [good]\n  timespan: 10y\n  condition: {gte: 2}\n"), "11", "longer than 366d")
	f(corr("  type: event_count\n  rules: [good]\n  timespan: soon\n  condition: {gte: 2}\n"), "11", "is not a number")
	f(corr("  type: event_count\n  rules: [good]\n  timespan: 5m\n  condition: {gte: many}\n"), "12", `"many" is no number`)
	f(corr("  type: event_count\n  rules: [good]\n  timespan: 5m\n  condition: {gte: '5'}\n"), "12", "is no number")
	f(corr("  type: event_count\n  rules: [good]\n  timespan: 5m\n  condition: {gte: 1000000}\n"), "12", "keeps no more")
	f(corr("  type: event_count\n  rules: [good]\n  timespan: 5m\n  condition: {atleast: 5}\n"), "12", "unknown key")
	f(corr("  type: event_count\n  rules: [good]\n  timespan: 5m\n"), "9", "no condition")
	f(corr("  type: value_count\n  rules: [good]\n  timespan: 5m\n  condition: {gte: 5}\n"), "12", "names no field")
	f(corr("  type: frequency\n  rules: [good]\n  timespan: 5m\n"), "9", "is none of")
	f(corr("  type: temporal\n  rules: [good, gone]\n  timespan: 5m\n"), "6", `"gone", which is not loaded`)
	f(corr("  type: temporal\n  rules: [good]\n  timespan: 5m\n  window: sliding\n"), "12", `unknown key "window"`)
	f(corr("  type: temporal\n  rules: [good]\n  group-by: [u]\n  aliases: {u: {other: x}}\n  timespan: 5m\n"), "12", "the correlation does not")
	f(corr("  type: temporal\n  rules: [good, c]\n  timespan: 5m\n"), "6", "leads back to itself: c -> c")
	f("title: x\nlogsource: {product: q}\nfilter: {rules: [good], s: {f: 1}, condition: s}\n", "8", "the filter is for logsource product: q")
	f("title: x\nlogsource: {product: p}\nfilter: {rules: [gone], s: {f: 1}, condition: s}\n", "8", "which is not loaded")
	f("title: x\nlogsource: {product: p}\nfilter: {s: {f: 1}, condition: s}\n", "8", "names no rules")
}

// TestFilters are ANDed, as written, onto the rules that they name or whose
// logsource they have.
func TestFilters(t *testing.T) {
	rule := "title: r\nname: r\nlogsource: {product: p, service: x}\ndetection: {s: {f: 1}, condition: s}\n---\n"
	f := func(filter string, good, bad bool) {
		t.Helper()
		set := load(t, rule+"title: f\nlogsource: {product: p}\nfilter:\n"+filter, nil)
		if len(set.Refused) > 0 || set.Filters != 1 {
			t.Fatalf("%s: %v", filter, set.Refused)
		}
		if fires(t, set, `{"f":1,"u":"admin"}`) != good || fires(t, set, `{"f":1,"u":"eve"}`) != bad {
			t.Errorf("%s", filter)
		}
	}
	f("  rules: [r]\n  s: {u: admin}\n  condition: not s\n", false, true)
	f("  rules: [r]\n  s: {u: admin}\n  condition: s\n", true, false)
	f("  rules: any\n  s: {u: admin}\n  condition: not s\n", false, true)
}

// TestLogsource holds rules against the records of their logsource only.
func TestLogsource(t *testing.T) {
	m, err := sigma.ParseMap("m", []byte("version: 1\nfields: {Image: [Image, proc.path]}\nlogsources:\n- {product: windows, category: process_creation, when: {EventID: [1, 4688]}}\n- {product: linux}\n"))
	if err != nil {
		t.Fatal(err)
	}
	f := func(logsource string, unserved int, doc string, want bool) {
		t.Helper()
		set, err := sigma.Load(fstest.MapFS{"a/b.yaml": {Data: []byte("title: t\nlogsource: " + logsource + "\ndetection: {s: {Image: x}, condition: s}\n")}}, "", sigma.Options{Map: m})
		if err != nil || len(set.Refused) > 0 {
			t.Fatal(err, set.Refused)
		}
		if got := len(set.Unserved()); got != unserved {
			t.Errorf("%s: %d unserved", logsource, got)
		}
		if got := fires(t, set, doc); got != want {
			t.Errorf("%s on %s: %v", logsource, doc, got)
		}
	}
	f("{product: windows}", 0, `{"EventID":1,"Image":"x"}`, true)
	f("{product: windows}", 0, `{"EventID":4688,"proc":{"path":"X"}}`, true)
	f("{product: windows}", 0, `{"EventID":2,"Image":"x"}`, false)
	f("{category: process_creation}", 0, `{"EventID":1,"Image":"x"}`, true)
	f("{product: windows, service: security}", 1, `{"EventID":1,"Image":"x"}`, false)
	f("{product: linux}", 0, `{"Image":"x"}`, true)
	if _, err := sigma.ParseMap("m", []byte("version: 1\nlogsources: [{product: x, when: {a|b: 1}}]\n")); err == nil || !strings.Contains(err.Error(), "unknown modifier") {
		t.Errorf("a map with a bad selection: %v", err)
	}
	if _, err := sigma.ShippedMap(); err != nil {
		t.Error(err)
	}
}

// TestMatchedFields says which values made a rule match.
func TestMatchedFields(t *testing.T) {
	set := load(t, ruleOf("  s:\n    f|contains: [a, b]\n    g: null\n  k: [secret]\n  n: {h: 1}\n  condition: s and k and not n\n"), nil)
	var got string
	sigma.NewEvaluator(set, sigma.EvalOptions{}).Record(record(t, `{"f":["xa","yb","z"],"t":"a secret"}`), int64(time.Second), func(m *sigma.Match) { got = fmt.Sprint(m.Fields()) })
	if want := "map[f:[xa yb] g:[] keywords:[a secret]]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
