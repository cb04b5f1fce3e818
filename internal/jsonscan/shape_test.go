package jsonscan_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/internal/jsonscan"
	"github.com/google/go-cmp/cmp"
)

// result is all that a scan says.
type result struct {
	End   int
	Err   string
	Notes jsonscan.Notes
	Hits  []jsonscan.Hit
}

func read(s *jsonscan.Scanner, trie *jsonscan.Trie, doc string, lim jsonscan.Limits) (r result) {
	var err error
	if r.End, err = s.Scan(trie, []byte(doc), 0, lim); err != nil {
		r.Err = err.Error()
	}
	r.Notes, r.Hits = s.Notes, append(r.Hits, s.Hits...)
	return r
}

// alike reads the document with a scanner that has seen others and with a new
// one: what was seen before must make no difference.
func alike(t *testing.T, s *jsonscan.Scanner, trie *jsonscan.Trie, doc string, lim jsonscan.Limits) {
	t.Helper()
	var fresh jsonscan.Scanner
	if d := cmp.Diff(read(&fresh, trie, doc, lim), read(s, trie, doc, lim)); d != "" {
		t.Fatalf("%q (-fresh scanner +used scanner):\n%s", doc, d)
	}
}

func compiled(t testing.TB) *jsonscan.Trie {
	t.Helper()
	trie, err := jsonscan.Compile([]string{"a", "b.c", "l[].x", "l", "o", "o.p[][].q"})
	if err != nil {
		t.Fatal(err)
	}
	return trie
}

func TestExpectedKeys(t *testing.T) {
	trie := compiled(t)
	lim := jsonscan.Limits{Depth: 8, Keys: 40}
	docs := []string{
		`{"a":1,"b":{"c":2,"d":3},"l":[{"x":1},{"x":2}],"z":0}`,
		`{"a":1,"b":{"c":2,"d":3},"l":[{"x":1},{"x":2}],"z":0}`,
		`{"a":1,"l":[{"x":1,"y":2},{"y":3}],"z":0}`, // some are missing, one is new
		`{"z":1,"a":2,"b":{"d":1,"c":2}}`,           // in another order
		`{"a":1,"b":2,"z":3,"a":4}`,                 // twice, the first one where it is expected
		`{"a":1,"new":2,"new":3}`,                   // twice, learned in between
		`{"a":1,"B":{"c":1}}`,                       // another case
		`{"a":1,"b":{"c":1},"B":2}`,                 // two cases of one key
		`{"\u0061":1,"a":2}`, `{"a":1,"\u0061":2}`,  // two ways to write it
		"{\"k\xff\":1}", "{\"k\xff\":1}", `{"é":1}`, `{"é":1}`, // never taken for granted
		`{"b":[{"c":1}],"l":{"x":1}}`,                            // an array for an object and the reverse
		`{"b":{"c":1},"l":[[{"x":1}],{"x":2}]}`,                  // one more level
		`{"o":{"p":[[{"q":1}],[{"q":2},{"q":3}]]}}`,              // and two
		`{"o":{"p":[[{"q":1}],[{"q":2},{"Q":3,"q":4}]]},"a" :1}`, // white space before the colon
		`{"ab":1}`, `{"a`, `{"a"`, `{"a":`, `{"a":1,"b`, `{"a"1}`,
		`{"a":1,"b":{"c":{"d":{"e":{"f":{"g":{"h":{"i":{}}}}}}}}}`,
		`{` + strings.Repeat(`"n":1,`, 50) + `"n":1}`,
		`["a",{"a":1},{"a":2,"a":3}]`, `7`,
	}
	var s jsonscan.Scanner
	for range 3 {
		for _, doc := range docs {
			alike(t, &s, trie, doc, lim)
		}
	}
	other, err := jsonscan.Compile([]string{"z"}) // what was learned belongs to the trie
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range []*jsonscan.Trie{other, nil, trie} {
		for _, doc := range docs {
			alike(t, &s, tr, doc, lim)
		}
	}
}

// A scanner that is full of keys that never came again forgets them, and learns
// what comes then.
func TestStrangeKeysAreForgotten(t *testing.T) {
	trie := compiled(t)
	var s jsonscan.Scanner
	lim := jsonscan.Limits{Depth: 8, Keys: 1000}
	for i := range 3000 {
		var b strings.Builder
		for k := range 9 {
			fmt.Fprintf(&b, `{"k%d.%d":[{"x":1}],"n":`, i, k%7)
		}
		alike(t, &s, trie, `{"l":[{"x":`+b.String()+"1"+strings.Repeat("}", 9)+`}]}`, lim)
		if r := read(&s, trie, fmt.Sprintf(`{"a":1,"t%d":2,"a":3}`, i), lim); r.Err != "" || r.Notes != jsonscan.DuplicateKey {
			t.Fatal(i, r)
		}
	}
	doc := []byte(`{"a":1,"b":{"c":2}}`)
	if n := testing.AllocsPerRun(100, func() { _, _ = s.Scan(trie, doc, 0, lim) }); n > 0 {
		t.Errorf("%v allocations for a record as before", n)
	}
}

func FuzzExpectedKeys(f *testing.F) {
	f.Add(`{"a":1,"b":{"c":2}}`, `{"a":1,"b":{"c":2},"a":3}`)
	f.Add(`{"a":1,"l":[{"x":1}]}`, `{"A":1,"l":[{"x":1,"X":2}],"a":3}`)
	f.Add(`{"o":{"p":[[{"q":1}]]}}`, `{"o":{"p":[{"q":1}]}`)
	trie := compiled(f)
	f.Fuzz(func(t *testing.T, before, doc string) {
		var s jsonscan.Scanner
		lim := jsonscan.Limits{Depth: 20, Keys: 100}
		for _, d := range []string{before, before, doc, before, doc} {
			alike(t, &s, trie, d, lim)
			lim.Lines = !lim.Lines
		}
	})
}
