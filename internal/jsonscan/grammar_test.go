package jsonscan_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestGrammarByName has the kinds of documents that TestGrammar lacks and that
// the public conformance suites test: y is to be accepted, n to be rejected, i
// is left open by the standard: there ours does as encoding/json. make
// integration reads the files of JSONTestSuite itself.
func TestGrammarByName(t *testing.T) {
	f := func(name string, want byte, doc string) {
		t.Helper()
		valid := json.Valid([]byte(doc))
		if valid != (want == 'y') && want != 'i' {
			t.Errorf("%s: encoding/json says %v; the case is wrong", name, valid)
		}
		if _, err := scan(nil, doc, wide); (err == nil) != valid {
			t.Errorf("%s: %.60q: %v; encoding/json says %v", name, doc, err, valid)
		}
	}
	f("array of null", 'y', `[null]`)
	f("array with a line feed before its end", 'y', "[7\n]")
	f("array of a negative number", 'y', `[-7]`)
	f("array of true", 'y', `[true]`)
	f("number alone, negative and real", 'y', `-0.5`)
	f("object of one string", 'y', `{"k":"v"}`)
	f("object with the same key twice", 'y', `{"k":"v","k":"w"}`)
	f("object with the same key and value twice", 'y', `{"k":"v","k":"v"}`)
	f("object of long strings", 'y', `{"k":[{"id":"`+strings.Repeat("z", 60)+`"}],"id":"`+strings.Repeat("z", 60)+`"}`)
	f("string of escapes in another script", 'y', `{"k":"\u0416\u0417\u0418"}`)
	f("string that ends a plane", 'y', "[\"\U0001bffe\"]")
	f("string of a pair of surrogates in mixed case", 'y', `["\uD834\udd1E"]`)
	f("escape of two bytes in UTF-8", 'y', `["\u0124"]`)
	f("escape of three bytes in UTF-8", 'y', `["\u0822"]`)
	f("escape of a line feed", 'y', `["a\u000Ab"]`)
	f("delete character as it is", 'y', "[\"\x7f\"]")
	f("noncharacter at the end of the last plane", 'y', `["\uDBFF\uDFFF"]`)
	f("noncharacter at the end of the first plane", 'y', `["\uFFFF"]`)
	f("invisible plus", 'y', `["\u2064"]`)

	f("array of bytes that are not UTF-8", 'n', "[\xfe]")
	f("array with a colon", 'n', `[3:4]`)
	f("number and a zero byte", 'n', "7\x00")
	f("number and a byte that is not UTF-8", 'n', "[7\xe5]\n")
	f("exponent of a byte that is not UTF-8", 'n', "[7e\xe5]")
	f("object of an emoji", 'n', "{\U0001f600}")
	f("object with a comma at its end and a key that is not UTF-8", 'n', "{\"\xb8\":\"0\",}")
	f("zero byte outside a string", 'n', "[\x00]")
	f("lone byte of Latin 1", 'n', "\xe8")
	f("identifier beyond ASCII", 'n', "ä")

	f("number below the least float64", 'i', `[321.5e-987]`)
	f("number of a huge exponent", 'i', `[0.3e00`+strings.Repeat("9", 90)+`7]`)
	f("number above the greatest float64", 'i', `[321e100001]`)
	f("number below the least negative float64", 'i', `[-321e100001]`)
	f("number that underflows", 'i', `[321e-10000001]`)
	f("integer beyond 64 bits", 'i', `[200000000000000000000]`)
	f("integer far below 64 bits", 'i', `[-`+strings.Repeat("83", 25)+`]`)
	f("key that is the second half of a pair", 'i', `{"\uDFAB":0}`)
	f("UTF-16LE with a byte order mark", 'i', "\xff\xfe[\x00\"\x00\xe8\x00\"\x00]\x00")
	f("UTF-16LE without one", 'i', "[\x00\"\x00\xe8\x00\"\x00]\x00")
	f("UTF-16BE without one", 'i', "\x00[\x00\"\x00\xe8\x00\"\x00]")
	f("string of Latin 1", 'i', "[\"\xe8\"]")
	f("overlong sequence of six bytes", 'i', "[\"\xfc\x83\xbf\xbf\xbf\xbf\"]")
	f("overlong zero of six bytes", 'i', "[\"\xfc\x80\x80\x80\x80\x80\"]")
	f("arrays 400 deep", 'i', strings.Repeat("[", 400)+strings.Repeat("]", 400))
	f("byte order mark", 'i', "\xef\xbb\xbf[]")
}
