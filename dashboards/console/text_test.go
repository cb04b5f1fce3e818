package console

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestVisible(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := visible(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
	f("plain text <b>", "plain text <b>")
	f("Grüße, 你好, مرحبا 🙂", "Grüße, 你好, مرحبا 🙂")
	f("a\u202eb", "a⟨U+202E⟩b")
	f("a\nb\t\x00", "a⟨U+000A⟩b⟨U+0009⟩⟨U+0000⟩")
	f("\xff\xc3", "⟨0xFF⟩⟨0xC3⟩")
	f("\ufeff\u00ad\ufe0f\U000e0100\u3164", "⟨U+FEFF⟩⟨U+00AD⟩⟨U+FE0F⟩⟨U+E0100⟩⟨U+3164⟩")
	if got := block("a\n\tb\r"); got != "a\n\tb⟨U+000D⟩" {
		t.Errorf("block gives %q", got)
	}
	if got := cut("äöü", 2); got != "äö…" {
		t.Errorf("cut gives %q", got)
	}
}

func TestNumber(t *testing.T) {
	for in, want := range map[int]string{0: "0", 999: "999", 1000: "1\u202f000", -1234567: "-1\u202f234\u202f567"} {
		if got := number(in); got != want {
			t.Errorf("%d is shown as %q, want %q", in, got, want)
		}
	}
}

func TestNext(t *testing.T) {
	for in, want := range map[string]string{
		"/alerts?x=1": "/alerts?x=1", "": "/", "alerts": "/", "//evil": "/", "https://evil/": "/", "/\\evil": "/", "/a\nb": "/", "%zz": "/",
	} {
		if got := next(in); got != want {
			t.Errorf("next %q is %q, want %q", in, got, want)
		}
	}
}

func FuzzVisible(f *testing.F) {
	f.Add("a\u202eb\xff")
	f.Add("\U000e0041\ufe0f\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, got := range []string{visible(s), strings.NewReplacer("\n", "", "\t", "").Replace(block(s))} {
			if !utf8.ValidString(got) || strings.ContainsFunc(got, hidden) {
				t.Errorf("%q is shown as %q", s, got)
			}
		}
	})
}
