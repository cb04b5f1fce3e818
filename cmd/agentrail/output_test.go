package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

func TestCleanTakesTheFormOutOfText(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
	f("plain text", "plain text")
	f("two\nlines\tand\rmore", "two lines and more")
	f("\x1b[31mred\x1b[0m", "[31mred[0m")
	f("a\u202eb\u2066c\u200bd\ufeffe", "abcde")
	f("\u009b31m\x7f\x00", "31m")
	f("bad\xff\xfeutf8", "bad\ufffdutf8")
	f("Zürich 東京", "Zürich 東京")
}

func FuzzOutput(f *testing.F) {
	for _, s := range []string{"", "\x1b[2J", "\u202e", "\xff", "a\nb", "\U000e0001", "=1+1", "日本"} {
		f.Add(s, 20)
	}
	f.Fuzz(func(t *testing.T, s string, width int) {
		got := clean(s)
		if !utf8.ValidString(got) {
			t.Errorf("clean(%q) is not UTF-8", s)
		}
		for _, r := range got {
			if hostile(r) {
				t.Errorf("clean(%q) holds %U", s, r)
			}
		}
		var out bytes.Buffer
		columns := []api.Column[string]{{Name: "a", Value: func(s string) string { return s }}, {Name: "b", Value: func(string) string { return "x" }}}
		if err := printTable(&out, width%200, []string{s}, columns); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 2 {
			t.Errorf("table of %q: %q, %v", s, out.String(), err)
		}
		out.Reset()
		var back string
		if err := printJSON(&out, s); err != nil || json.Unmarshal(out.Bytes(), &back) != nil {
			t.Errorf("JSON of %q: %q, %v", s, out.String(), err)
		}
		if utf8.ValidString(s) && back != s {
			t.Errorf("JSON of %q reads back as %q", s, back)
		}
	})
}
