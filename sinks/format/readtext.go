package format

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/agentrail/agentrail/schemas"
)

// readText finds an event in a line of text: CEF, LEEF or an object, behind
// whatever syslog put in front.
func readText(text []byte, wraps int) ([]schemas.Copied, error) {
	for _, f := range []struct{ name, begin string }{{"cef", "CEF:0|Agentrail|"}, {"leef", "LEEF:2.0|Agentrail|"}} {
		at := bytes.Index(text, []byte(f.begin))
		if at < 0 {
			continue
		}
		c, err := readLine(f.name, text[at:])
		if err != nil {
			return nil, err
		}
		header(&c, text[:at])
		return []schemas.Copied{c}, nil
	}
	const most = 8 // braces that may stand in a header
	for n, at := 0, 0; n < most; n++ {
		i := bytes.IndexByte(text[at:], '{')
		if i < 0 {
			break
		}
		at += i
		if got, err := read(text[at:], wraps-1); at > 0 && err == nil {
			for k := range got {
				header(&got[k], text[:at])
			}
			return got, nil
		}
		at++
	}
	return nil, ErrNoEvent
}

var pairForm = regexp.MustCompile(` (event_id|shard|offset|index|digest)="([^"]*)"`)

// header holds what the structured data of syslog say to the event.
func header(c *schemas.Copied, text []byte) {
	says := map[string]string{
		"event_id": c.ID.String(), "shard": strconv.Itoa(int(c.Shard)), "offset": strconv.FormatUint(c.Offset, 10),
		"index": strconv.FormatUint(uint64(c.Index), 10), "digest": c.Digest.String(),
	}
	for _, m := range pairForm.FindAllSubmatch(text, -1) {
		if want := says[string(m[1])]; want != string(m[2]) {
			c.Faults = append(c.Faults, fmt.Sprintf("%s is %.80q in the message's structured data and %q in the event", m[1], m[2], want))
		}
	}
}

// readLine reads a line of CEF or LEEF.
func readLine(name string, line []byte) (schemas.Copied, error) {
	f, err := members(name, line)
	if err != nil {
		return schemas.Copied{}, err
	}
	id, digest, prefix := f["event_id"], f["raw_sha256"], ""
	if name == "cef" {
		id, digest, prefix = f["externalId"], f["agentrailSha256"], "agentrail"
	}
	get := func(key string) string {
		if prefix != "" {
			key = prefix + strings.ToUpper(key[:1]) + key[1:]
		}
		return f[key]
	}
	c, err := named(unescaped(id), unescaped(digest))
	if err != nil {
		return c, err
	}
	shard, errS := strconv.ParseUint(get("shard"), 10, 16)
	offset, errO := strconv.ParseUint(get("offset"), 10, 64)
	index, errI := strconv.ParseUint(get("index"), 10, 32)
	if errS != nil || errO != nil || errI != nil {
		return c, ErrNoEvent
	}
	c.Format, c.Doc, c.Class = name, bytes.Clone(line), get("class")
	c.Shard, c.Offset, c.Index = uint16(shard), offset, uint32(index)
	if raw, ok := f[map[string]string{"cef": "agentrailRaw", "leef": "raw"}[name]]; ok {
		records := [][]byte{[]byte(unescaped(raw))}
		if name == "cef" { // where \\u is text in the record as well as what stands for a character
			records = append(records, []byte(decoded(unescaped(raw))))
		}
		holds(&c, records...)
	}
	c.Head = headOf(unescaped(get("head")))
	return c, nil
}

// members cuts a line into its values by key, still escaped. A key that comes
// twice makes it unreadable: readers would not agree.
func members(name string, line []byte) (map[string]string, error) {
	head, body, ok := cutHeader(string(line), map[string]int{"cef": 7, "leef": 6}[name])
	if !ok {
		return nil, ErrNoEvent
	}
	out := map[string]string{"(header)": head}
	put := func(key, value string) error {
		if _, twice := out[key]; twice {
			return fmt.Errorf("key %.60q stands twice in the line", key)
		}
		out[key] = value
		return nil
	}
	if name == "leef" {
		for pair := range strings.SplitSeq(body, "\t") {
			key, value, ok := strings.Cut(pair, "=")
			if !ok {
				return nil, fmt.Errorf("no key in %.60q", pair)
			}
			if err := put(key, value); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return out, cefMembers(body, put)
}

// cutHeader takes off so many fields that end with a pipe.
func cutHeader(line string, fields int) (head, body string, ok bool) {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '|':
			if fields--; fields == 0 {
				return line[:i], line[i+1:], true
			}
		}
	}
	return "", "", false
}

// cefMembers cuts at the last space before each mark that is not escaped.
func cefMembers(body string, put func(key, value string) error) error {
	key, from, space := "", 0, -1
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '\\':
			i++
		case ' ':
			space = i
		case '=':
			begin := space + 1
			if begin < from {
				return fmt.Errorf("a mark in a value of %.60q is not escaped", key)
			}
			if key != "" {
				if err := put(key, body[from:max(from, begin-1)]); err != nil {
					return err
				}
			} else if begin != 0 {
				return fmt.Errorf("no key in %.60q", body)
			}
			key, from = body[begin:i], i+1
		}
	}
	if key == "" {
		return ErrNoEvent
	}
	return put(key, body[from:])
}

// unescaped undoes what a value is escaped with.
func unescaped(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'u': // of LEEF
			if r, ok := hexRune(s[i+1:]); ok {
				b.WriteRune(r)
				i += 4
				continue
			}
			b.WriteString(`\u`)
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// decoded turns \u and a number into the character.
func decoded(s string) string {
	var b strings.Builder
	for {
		i := strings.Index(s, `\u`)
		if i < 0 {
			return b.String() + s
		}
		b.WriteString(s[:i])
		if r, ok := hexRune(s[i+2:]); ok {
			b.WriteRune(r)
			s = s[i+6:]
			continue
		}
		b.WriteString(`\u`)
		s = s[i+2:]
	}
}

func hexRune(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:4], 16, 16)
	return rune(n), err == nil && utf8.ValidRune(rune(n))
}
