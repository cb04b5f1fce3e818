package format_test

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// readCEF reads a line as the standard says: seven fields of a header between
// pipes, and members that begin where a word stands before an equals sign that
// is not escaped.
func readCEF(line string) (header []string, members map[string]string, err error) {
	var field strings.Builder
	i := 0
	for ; i < len(line) && len(header) < 7; i++ {
		switch c := line[i]; {
		case c == '|':
			header = append(header, field.String())
			field.Reset()
		case c == '\\' && i+1 < len(line):
			i++
			field.WriteByte(line[i])
		default:
			field.WriteByte(c)
		}
	}
	if len(header) < 7 || header[0] != "CEF:0" {
		return nil, nil, fmt.Errorf("header %q", header)
	}
	members, line = map[string]string{}, line[i:]
	keys := regexp.MustCompile(`(?:^| )(\w+)=`).FindAllStringSubmatchIndex(line, -1)
	for n, at := range keys {
		end := len(line)
		if n+1 < len(keys) {
			end = keys[n+1][0]
		}
		key := line[at[2]:at[3]]
		if _, twice := members[key]; twice {
			return nil, nil, fmt.Errorf("%s is there twice", key)
		}
		members[key] = unescape(line[at[1]:end], map[byte]string{'n': "\n", 'r': "\r"})
	}
	return header, members, nil
}

// readLEEF reads what LEEF writes, and takes back how it writes what the
// format has no escapes for.
func readLEEF(line string) (header []string, members map[string]string, err error) {
	header = strings.SplitN(line, "|", 7)
	if len(header) < 7 || header[0] != "LEEF:2.0" || header[5] != "x09" {
		return nil, nil, fmt.Errorf("header %q", header)
	}
	members = map[string]string{}
	for m := range strings.SplitSeq(header[6], "\t") {
		key, value, ok := strings.Cut(m, "=")
		if _, twice := members[key]; !ok || twice {
			return nil, nil, errors.New(m)
		}
		members[key] = unescape(value, map[byte]string{'n': "\n", 'r': "\r", 'u': ""})
	}
	return header[:6], members, nil
}

// unescape takes backslashes away; u, where it is known, has four digits.
func unescape(s string, known map[byte]string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		i++
		to, ok := known[s[i]]
		switch {
		case ok && to == "" && i+4 < len(s):
			r, _ := strconv.ParseUint(s[i+1:i+5], 16, 32)
			out.WriteRune(rune(r))
			i += 4
		case ok:
			out.WriteString(to)
		default:
			out.WriteByte(s[i])
		}
	}
	return out.String()
}

// shown is the text as a CEF reader gets it: what misleads as its number.
func shown(s string) string {
	var out strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r != '\n' && r != '\r' && (misleads(r) || r == utf8.RuneError && n == 1) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
		s = s[n:]
	}
	return out.String()
}

// checkLine reads a line back and compares the fields that hold the text.
func checkLine(name string, line []byte, ev *schemas.Event) error {
	valid := string([]rune(ev.Target)) // each bad byte is one U+FFFD
	want := map[string]string{}
	var header []string
	var got map[string]string
	var err error
	switch name {
	case "cef":
		header, got, err = readCEF(string(line))
		want["cs4"], want["agentrailTenant"], want["externalId"] = shown(ev.Target), shown(ev.Target), ev.ID.String()
	case "leef":
		header, got, err = readLEEF(string(line))
		want["resource"], want["tenant"], want["event_id"] = valid, valid, ev.ID.String()
	}
	if err != nil {
		return err
	}
	if header[1] != "Agentrail" || header[2] != "Agentrail" {
		return fmt.Errorf("header %q", header)
	}
	for key, w := range want {
		if got[key] != w {
			return fmt.Errorf("%s is %q, want %q", key, got[key], w)
		}
	}
	return nil
}

func TestCEF(t *testing.T) {
	ev := schemas.Event{Class: schemas.ClassActivity, Action: `a|b\c` + "\n", Target: `k=v \ act=forged`, IP: "2001:db8::1"}
	header, got, err := readCEF(string(format.CEF(nil, &ev)))
	if err != nil {
		t.Fatal(err)
	}
	if header[4] != `a|b\c ` || header[6] != "1" {
		t.Errorf("header %q", header)
	}
	for key, want := range map[string]string{"cs4": ev.Target, "act": ev.Action, "c6a2": "2001:db8::1", "agentrailTime": "1970-01-01T00:00:00.000000000Z"} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
}

func TestLEEF(t *testing.T) {
	ev := schemas.Event{Class: schemas.ClassActivity, Action: "a|b\t", Target: "x\ty=forged\nu\\t", IP: "10.0.0.1", Time: 1_764_000_000_123_456_789}
	header, got, err := readLEEF(string(format.LEEF(nil, &ev)))
	if err != nil {
		t.Fatal(err)
	}
	if header[4] != "a b " {
		t.Errorf("header %q", header)
	}
	for key, want := range map[string]string{"resource": ev.Target, "action": ev.Action, "src": "10.0.0.1", "devTime": "2025-11-24T16:00:00.123+0000"} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
}
