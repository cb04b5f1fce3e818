package jsonscan_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/internal/jsonscan"
	"github.com/google/go-cmp/cmp"
)

var wide = jsonscan.Limits{Depth: 10_000, Keys: 1 << 30}

// scan reads data as one whole document: white space may follow, nothing else.
func scan(t *jsonscan.Trie, data string, lim jsonscan.Limits) (*jsonscan.Scanner, error) {
	var s jsonscan.Scanner
	end, err := s.Scan(t, []byte(data), 0, lim)
	if err == nil && strings.Trim(data[end:], " \t\r\n") != "" {
		err = fmt.Errorf("data after the value at byte %d", end)
	}
	return &s, err
}

// The cases are those of JSON's grammar that parsers get wrong, in the three
// classes of JSONTestSuite: to be accepted, to be rejected, and left open by
// the standard (where ours accepts and notes).
func TestGrammar(t *testing.T) {
	yes := []string{
		`[]`, `{}`, ` [] `, `[ ]`, `{ }`, "\t[\n1\r]\n", `[[]   ]`, `[""]`, `["a"]`, `""`, `" "`, `"asd"`, `42`, `-0`, `0`, `-1`, `null`, `true`, `false`,
		`[null, 1, "1", {}]`, `[1,null,null,null,2]`, `[1]  `, `[false]`, `[2] `, `[123e65]`, `[0e+1]`, `[0e1]`, `[ 4]`, `[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]`,
		`[20e1]`, `[-123]`, `[-0]`, `[1E22]`, `[1E-2]`, `[1E+2]`, `[123e45]`, `[123.456e78]`, `[1e-2]`, `[1e+2]`, `[123.456789]`,
		`{"asd":"sdf", "dfg":"fgh"}`, `{"":0}`, `{"foo\u0000bar": 42}`, `{ "min": -1.0e+28, "max": 1.0e+28 }`, `{"a":[]}`, `{"title":"\u041f\u043e"}`, "{\n\"a\": \"b\"\n}",
		`["\u0060\u012a\u12AB"]`, `["\uD801\udc37"]`, `["\ud83d\ude39\ud83d\udc8d"]`, `["\"\\\/\b\f\n\r\t"]`, `["\\u0000"]`, `["\""]`, `["a/*b*/c/*d//e"]`, `["\\a"]`, `["\\n"]`,
		`["\u0012"]`, `["\uFFFF"]`, `[ "asd"]`, "[\"\U0010ffff\"]", "[\"\uffff\"]", `["\u0000"]`, `["\u002c"]`, "[\"π\"]", "[\"asd \"]", `" "`, `["\uDBFF\uDFFF"]`, `["new\u00A0line"]`, "[\"\u2028\"]", "[\"\u2029\"]",
		`["\u0061\u30af\u30EA\u30b9"]`, "[\"new\u00a0line\"]", `["\uA66D"]`, `["\u005C"]`, "[\"⍂㈴⍂\"]", `["\u200B"]`, `["\uFDD0"]`, `["\u0022"]`, "[\"€𝄞\"]", "[\"a\u007fa\"]",
		// long strings and keys around the steps of eight bytes
		`{"1234567":1,"12345678":2,"123456789":3}`, `["1234567","12345678","123456789012345","1234567890123456"]`,
	}
	no := []string{
		``, ` `, `[1 true]`, `[a` + "\xe5" + `]`, `["": 1]`, `[""],`, `[,1]`, `[1,,2]`, `["x",,]`, `["x"]]`, `["",]`, `["x"`, `[x`, `[3[4]]`, `[,]`, `[-]`, `[   , ""]`, "[\"a\",\n4\n,1,", `[1,]`, `[1,,]`, "[\"\va\"\\f]", `[*]`, `[""`, `[1,`, "[1,\n1\n,1", `[{}`,
		`[fals]`, `[nul]`, `[tru]`, `[True]`, `[++1234]`, `[+1]`, `[+Inf]`, `[-01]`, `[-1.0.]`, `[-2.]`, `[-NaN]`, `[.-1]`, `[.2e-3]`, `[0.1.2]`, `[0.3e+]`, `[0.3e]`, `[0.e1]`, `[0E+]`, `[0E]`, `[0e+]`, `[0e]`, `[1.0e+]`, `[1.0e-]`, `[1.0e]`, `[1 000.0]`, `[1eE2]`, `[2.e+3]`, `[2.e-3]`, `[2.e3]`, `[9.e+]`, `[Inf]`, `[NaN]`, "[\uff11]", `[1+2]`, `[0x1]`, `[0x42]`, `[Infinity]`, `[0e+-1]`, `[-123.123foo]`, `[123` + "\xe5" + `]`, `[1e1` + "\xe5" + `]`, `[-Infinity]`, `[-foo]`, `[- 1]`, `[-012]`, `[-.123]`, `[-1x]`, `[1ea]`, `[1.]`, `[.123]`, `[1.2a-3]`, `[1.8011670033376514H-308]`, `[012]`, `0123`, `-`, `1.`, `1e`,
		`["x", truth]`, `{[: "x"}` + "\n", `{"x", null}`, `{"x"::"b"}`, `{"a":"a" 123}`, `{key: 'value'}`, `{"a" b}`, `{:"b"}`, `{"a" "b"}`, `{"a":`, `{"a"`, `{1:1}`, `{9999E9999:1}`, `{null:null,null:null}`, `{"id":0,,,,,}`, `{'a':0}`, `{"id":0,}`, `{"a":"b"}/**/`, `{"a":"b"}/**//`, `{"a":"b"}//`, `{"a":"b"}/`, `{"a":"b",,"c":"d"}`, `{a: "b"}`, `{"a":"a`, `{ "foo" : "bar", "a" }`, `{"a":"b"}#`, `{`, `{"`, `{"a":1`, `{"a":1,`, `{,`,
		`["\uD800\"]`, `["\uD800\u"]`, `["\uD800\u1"]`, `["\uD800\u1x"]`, `[é]`, `["\` + "\x00" + `"]`, `["\x00"]`, `["\\\"]`, "[\"\\\t\"]", "[\"\\\U0001f300\"]", `["\"]`, `["\u00A"]`, `["\uD834\uDd"]`, `["\uD800\uD800\x"]`, `["\u` + "\xe5" + `"]`, `["\a"]`, `["\uqqqq"]`, `["\` + "\xe5" + `"]`, `[\u0020"asd"]`, `[\n]`, `"`, `['single quote']`, `abc`, `["\`, "[\"a\x00a\"]", "[\"new\nline\"]", "[\"\t\"]", `"\UA66D"`, `""x`, `"\u12"`, `"\ud83`,
		`<.>`, `[<null>]`, `[1]x`, `[1]]`, `["asd]`, "a\xc3\xa5", `[True]`, `1]`, `{"x": true,`, `[][]`, `]`, "\xef\xbb{}", "\xe5", `[`, `2@`, `{}}`, `{"":`, `{"a":/*comment*/"b"}`, `{"a": true} "x"`, `['`, `[,`, `[{`, `["a`, `["a"`, `{]`, `{,`, `{[`, `{"a`, `{'a'`, `["\{["\{["\{["\{`, "\u00a0[]", `*`, `{"a":"b"}#{}`, "[\u2060]", `[\u000A""]`, `[1`, `[ false, nul`, `[ true, fals`, `[ false, tru`, `{"asd":"asd"`, "[\f]", "\f[]", "[\u2060]", "\xef\xbb\xbf",
		strings.Repeat("[", 100_000), strings.Repeat(`[{"":`, 50_000),
	}
	open := []struct {
		doc   string
		notes jsonscan.Notes
	}{
		{`[0.4e00669999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999969999999006]`, jsonscan.NumberTooLarge},
		{`[1.5e+9999]`, jsonscan.NumberTooLarge},
		{`[-1e+9999]`, jsonscan.NumberTooLarge},
		{`[1e400]`, jsonscan.NumberTooLarge},
		{`[1e-400]`, 0},
		{`[123456789012345678901234567890]`, jsonscan.NumberTooLarge},
		{`[-123123123123123123123123123123]`, jsonscan.NumberTooLarge},
		{`[18446744073709551615]`, 0},
		{`[18446744073709551616]`, jsonscan.NumberTooLarge},
		{`[-9223372036854775808]`, 0},
		{`[-9223372036854775809]`, jsonscan.NumberTooLarge},
		{`["\uDADA"]`, jsonscan.BadUTF8},
		{`["\uD888\u1234"]`, jsonscan.BadUTF8},
		{`["\uD800\n"]`, jsonscan.BadUTF8},
		{`["\uDd1ea"]`, jsonscan.BadUTF8},
		{`["\uD800\uD800\n"]`, jsonscan.BadUTF8},
		{`["\ud800"]`, jsonscan.BadUTF8},
		{`["\ud800abc"]`, jsonscan.BadUTF8},
		{`["\uDd1e\uD834"]`, jsonscan.BadUTF8},
		{`["\uDFAA"]`, jsonscan.BadUTF8},
		{"[\"\xff\"]", jsonscan.BadUTF8},
		{"[\"\xe6\x97\xa5\xd1\x88\xfa\"]", jsonscan.BadUTF8},
		{"[\"\xf4\xbf\xbf\xbf\"]", jsonscan.BadUTF8},
		{"[\"\xc0\xaf\"]", jsonscan.BadUTF8},
		{"[\"\xed\xa0\x80\"]", jsonscan.BadUTF8},
		{"[\"\x81\"]", jsonscan.BadUTF8},
		{"[\"\xe0\xff\"]", jsonscan.BadUTF8},
		{"{\"\xff\":1}", jsonscan.BadUTF8},
		{"[\"long enough for a step \xff\"]", jsonscan.BadUTF8},
		{`["\u0000"]`, jsonscan.ControlChar},
		{`["\b"]`, jsonscan.ControlChar},
		{`["\n\t\r"]`, 0},
		{`{"a":1,"a":2}`, jsonscan.DuplicateKey},
		{`{"a":1,"A":2}`, jsonscan.CaseTwin},
		{`{"a":1,"\u0061":2}`, jsonscan.DuplicateKey},
		{`{"\u0061":1,"a":2}`, jsonscan.DuplicateKey},
		{`{"\u0041bc":1,"abc":2}`, jsonscan.CaseTwin},
		{`{"a":{"a":1},"b":{"a":2}}`, 0},
		{`[{"a":1},{"a":2}]`, 0},
		{`{"a":{"b":1,"c":2},"b":1}`, 0},
		{`{"x":[{"a":1,"B":2,"b":3}]}`, jsonscan.CaseTwin},
		{`{"@":1,"` + "`" + `":2}`, 0},
		{`{"[":1,"{":2}`, 0},
		{`{"longer than eight":1,"LONGER than eight":2}`, jsonscan.CaseTwin},
		{`{"exactly8":1,"exactly8":2}`, jsonscan.DuplicateKey},
		{`{"":1,"":2}`, jsonscan.DuplicateKey},
		{`{"a":1,"a ":2}`, 0},
		{`{"é":1,"\u00e9":2}`, jsonscan.DuplicateKey},
	}
	for _, doc := range yes {
		if _, err := scan(nil, doc, wide); err != nil {
			t.Errorf("%s: rejected: %v", doc, err)
		}
	}
	for _, doc := range no {
		if _, err := scan(nil, doc, wide); err == nil {
			t.Errorf("%.80s: accepted", doc)
		}
	}
	for _, c := range open {
		if s, err := scan(nil, c.doc, wide); err != nil || s.Notes != c.notes {
			t.Errorf("%s: notes %b, %v; want notes %b", c.doc, s.Notes, err, c.notes)
		}
	}
}

func TestLimits(t *testing.T) {
	lim := jsonscan.Limits{Depth: 64, Keys: 1000}
	f := func(name, doc string, lim jsonscan.Limits, want jsonscan.Code, at int) {
		t.Helper()
		var s jsonscan.Scanner
		_, err := s.Scan(nil, []byte(doc), 0, lim)
		var e *jsonscan.Error
		if errors.As(err, &e); e == nil {
			e = &jsonscan.Error{}
		}
		if e.Code != want || e.At != at {
			t.Errorf("%s: code %d at %d, want %d at %d", name, e.Code, e.At, want, at)
		}
	}
	f("64 deep", strings.Repeat("[", 64)+strings.Repeat("]", 64), lim, jsonscan.OK, 0)
	f("65 deep", strings.Repeat("[", 65)+strings.Repeat("]", 65), lim, jsonscan.TooDeep, 64)
	f("65 deep, objects", strings.Repeat(`{"a":`, 65)+"1"+strings.Repeat("}", 65), lim, jsonscan.TooDeep, 320)
	f("1000 keys", keys(1000), lim, jsonscan.OK, 0)
	f("1001 keys", keys(1001), lim, jsonscan.TooManyKeys, len(keys(1000)))
	f("a million keys", keys(1_000_000), lim, jsonscan.TooManyKeys, len(keys(1000)))
	f("cut off", `{"a":tr`, lim, jsonscan.Truncated, 7)
	f("cut off in an escape", `{"a":"\`, lim, jsonscan.Truncated, 7)
	f("line feed in lines", "{\"a\":\n1}", jsonscan.Limits{Depth: 64, Keys: 10, Lines: true}, jsonscan.Truncated, 5)
	f("line feed elsewhere", "{\"a\":\n1}", lim, jsonscan.OK, 0)
	f("bad byte", `{"a":?}`, lim, jsonscan.BadJSON, 5)
}

// keys makes an object with n keys.
func keys(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"key%07d":1`, i)
	}
	b.WriteByte('}')
	return b.String()
}

func TestDuplicateAmongManyKeys(t *testing.T) {
	doc := strings.TrimSuffix(keys(5000), "}") + `,"key0000000":1}`
	if s, err := scan(nil, doc, wide); err != nil || s.Notes != jsonscan.DuplicateKey {
		t.Errorf("notes %b, %v", s.Notes, err)
	}
	if s, err := scan(nil, keys(5000), wide); err != nil || s.Notes != 0 {
		t.Errorf("notes %b, %v", s.Notes, err)
	}
}

func TestPaths(t *testing.T) {
	paths := []string{"a.b", "a", "list[].x", "list", "m[][]", "Deep.er.Est", "s"}
	trie, err := jsonscan.Compile(paths)
	if err != nil {
		t.Fatal(err)
	}
	doc := `{"A":{"B":1.5,"c":[{"b":2}]},"list":[{"x":"p"},{"y":1},{"X":null}],"m":[[1],[2,"3"]],"deep":{"ER":{"est":true}},"s":"q\u00e9"}`
	s, err := scan(trie, doc, wide)
	if err != nil {
		t.Fatal(err)
	}
	type found struct{ Path, Text string }
	var got []found
	for _, h := range s.Hits {
		text := doc[h.Start:h.End]
		if h.Escaped {
			text = string(jsonscan.Unescape(nil, []byte(text)))
		}
		got = append(got, found{paths[h.Slot], text})
	}
	want := []found{
		{"a.b", "1.5"},
		{"a", `{"B":1.5,"c":[{"b":2}]}`},
		{"list[].x", "p"},
		{"list[].x", "null"},
		{"list", `[{"x":"p"},{"y":1},{"X":null}]`},
		{"m[][]", "1"},
		{"m[][]", "2"},
		{"m[][]", "3"},
		{"Deep.er.Est", "true"},
		{"s", "qé"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, bad := range [][]string{{"a..b"}, {"a", "A"}, {"[]"}, {"a."}} {
		if _, err := jsonscan.Compile(bad); err == nil {
			t.Errorf("Compile(%q) has no error", bad)
		}
	}
}

// FuzzScan compares with encoding/json: the same documents are valid, and the
// same values are found in them.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		`{"a":{"b":"x"},"n":1.5e3}`, `{"A":{"B":"\ud83d\ude39"}}`, `{"a":{"b":"\ud800"}}`, `[1,2,{"a":null}]`, `{"a":1,"A":2}`, `{"n":-0}`, "{\"a\":{\"b\":\"\xff\"}}",
		`{"a":{"b":"long text without anything special, \"quoted\" and so on"}}`, ` {"n" : 12345678901234567890 } `, `"\u12`, `{"a":`,
	} {
		f.Add([]byte(s))
	}
	trie, err := jsonscan.Compile([]string{"a.b", "n"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := scan(trie, string(data), wide)
		if valid := json.Valid(data); valid != (err == nil) {
			t.Fatalf("%q: encoding/json says %v, ours says %v", data, valid, err)
		}
		if err != nil || s.Notes&(jsonscan.DuplicateKey|jsonscan.CaseTwin) != 0 {
			return // with equal keys the two merge objects in different ways
		}
		var want any
		if json.Unmarshal(data, &want) != nil {
			return // a number beyond float64
		}
		got := [2]any{}
		for _, h := range s.Hits {
			if h.Kind == jsonscan.String {
				got[h.Slot] = string(jsonscan.Unescape(nil, data[h.Start:h.End]))
			} else if err := json.Unmarshal(data[h.Start:h.End], &got[h.Slot]); err != nil {
				t.Fatalf("%q: hit %+v: %v", data, h, err)
			}
		}
		if d := cmp.Diff([2]any{at(want, "a", "b"), at(want, "n")}, got); d != "" {
			t.Fatalf("%q (-encoding/json +ours):\n%s", data, d)
		}
	})
}

// at follows keys without regard to case.
func at(v any, path ...string) any {
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = nil
		for k, e := range m {
			if len(k) == len(key) && strings.EqualFold(k, key) {
				v = e
			}
		}
	}
	return v
}

// FuzzFind holds Find against Scan on valid documents.
func FuzzFind(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1},"A":{"B":[1,2]}}`))
	f.Add([]byte(`{"a":{"b":"x\\"},"a":3}`))
	trie, err := jsonscan.Compile([]string{"a.b"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok := jsonscan.Find(data, "a.b")
		s, err := scan(trie, string(data), jsonscan.Limits{Depth: 60, Keys: 1 << 30})
		if err != nil || len(strings.Trim(string(data), " \t\r\n")) == 0 || strings.Trim(string(data), " \t\r\n")[0] != '{' || s.Notes&(jsonscan.DuplicateKey|jsonscan.CaseTwin) != 0 || strings.Contains(string(data), "[") {
			return
		}
		if ok != (len(s.Hits) > 0) {
			t.Fatalf("%q: Find says %v, Scan found %d", data, ok, len(s.Hits))
		}
		if ok && got != s.Hits[0] {
			t.Fatalf("%q: Find gives %+v, Scan %+v", data, got, s.Hits[0])
		}
	})
}
