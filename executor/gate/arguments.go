package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Arguments is what a call's arguments say about where it goes and how much it
// changes.
type Arguments struct {
	Destinations []Place
	Items        int    // at least 1
	Ambiguous    string // why the arguments can be read in more than one way
}

// Place is where a call goes, as its arguments name it.
type Place struct {
	Argument string // path of keys in the arguments: to, message.cc
	Value    string
	Resolved string // for a path: where it leads when links are followed; empty if not known
}

// maxDepth of arguments.
const maxDepth = 32

// ReadArguments finds the destinations in the JSON arguments of a call: the
// values of arguments whose name says so (path, to, cc, channel, project, ...),
// at any depth, and values elsewhere that are nothing but an address, a URL or
// an absolute path, unless the argument holds content by its name (body, text,
// ...). The arguments in also are destinations whatever their name. A key that comes twice, or in two spellings that differ in case only,
// makes the arguments ambiguous: the tool may read another one than the gates.
func ReadArguments(raw []byte, also ...string) Arguments {
	w := &walker{out: Arguments{Items: 1}, also: also}
	if len(bytes.TrimSpace(raw)) == 0 {
		return w.out
	}
	if !utf8.Valid(raw) {
		w.out.Ambiguous = "they are not valid UTF-8"
		return w.out
	}
	w.dec = json.NewDecoder(bytes.NewReader(raw))
	w.dec.UseNumber()
	err := w.value("", "", 0)
	if err == nil {
		if _, more := w.dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows them")
		}
	}
	if err != nil && w.out.Ambiguous == "" {
		w.out.Ambiguous = "they cannot be read: " + err.Error()
	}
	return w.out
}

type walker struct {
	dec  *json.Decoder
	also []string
	out  Arguments
}

// value reads one value; key is the name of the argument that it belongs to.
func (w *walker) value(path, key string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("they are nested deeper than %d", maxDepth)
	}
	t, err := w.dec.Token()
	if err != nil {
		return err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return w.object(path, key, depth)
		}
		return w.list(path, key, depth)
	case string:
		w.text(path, key, t)
	case json.Number:
		if NamesPlace(key) || slices.Contains(w.also, path) {
			w.add(path, t.String())
		}
	}
	return nil
}

func (w *walker) object(path, key string, depth int) error {
	seen := map[string]string{}
	for w.dec.More() {
		t, err := w.dec.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		low := strings.ToLower(name)
		if other, twice := seen[low]; twice && w.out.Ambiguous == "" {
			w.out.Ambiguous = fmt.Sprintf("the keys %s and %s are the same to some readers", quote(other), quote(name))
		}
		seen[low] = name
		inner := name
		if !NamesPlace(name) && NamesPlace(key) {
			inner = key // {"to": {"address": ...}} is a destination, too
		}
		if err := w.value(join(path, name), inner, depth+1); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

func (w *walker) list(path, key string, depth int) error {
	n := 0
	for w.dec.More() {
		if err := w.value(path, key, depth+1); err != nil {
			return err
		}
		n++
	}
	w.out.Items = max(w.out.Items, n)
	_, err := w.dec.Token()
	return err
}

func (w *walker) text(path, key, v string) {
	if v == "" {
		return
	}
	if NamesPlace(key) || slices.Contains(w.also, path) || !HoldsContent(key) && address(v) {
		w.add(path, v)
	}
}

func (w *walker) add(path, v string) {
	w.out.Destinations = append(w.out.Destinations, Place{Argument: path, Value: v})
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// normal is the name of an argument without case and separators: projectKey and
// project_key are one.
func normal(key string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == ' ' || r == '.' {
			return -1
		}
		return r
	}, strings.ToLower(key))
}

// places are names of arguments that say where a call goes; endings do so at
// the end of a longer name.
var (
	places = set("path paths source sources destination destinations dest target targets file files filename folder folderid dir directory " +
		"to cc bcc from replyto recipient recipients email emails mail attendee attendees invitee invitees member members assignee user users username " +
		"channel channels channelid channelname conversation conversationid thread room roomid chat chatid group groups list listid " +
		"project projects projectid projectkey repo repos repository repositories owner org organization namespace branch ref remote " +
		"url urls uri uris link href host hostname domain server endpoint webhook callback bucket object objecttype recordtype record recordid " +
		"space spaceid spacekey workspace workspaceid team teamid board boardid site siteid drive driveid parent parentid document documentid docid " +
		"database table schema collection index queue topic calendar calendarid tenant account environment env issue issueid issuekey key keys id ids phone number")
	endings  = []string{"path", "url", "uri", "email", "emails", "channel", "folder", "project", "repo", "repository", "recipient", "recipients", "bucket", "host", "webhook", "address", "addresses"}
	contents = set("content contents text body message messages description summary title subject newtext oldtext comment note notes query prompt html markdown data value reason")
)

func set(words string) map[string]bool {
	out := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		out[w] = true
	}
	return out
}

// NamesPlace reports whether an argument of that name says where a call goes.
func NamesPlace(key string) bool {
	k := normal(key)
	if places[k] {
		return true
	}
	if trimmed := strings.TrimSuffix(key, "s"); strings.HasSuffix(trimmed, "Id") || strings.HasSuffix(trimmed, "ID") || strings.HasSuffix(trimmed, "_id") {
		return true
	}
	for _, e := range endings {
		if strings.HasSuffix(k, e) {
			return true
		}
	}
	return false
}

// HoldsContent reports whether an argument of that name holds text that may say
// anything, addresses included.
func HoldsContent(key string) bool { return contents[normal(key)] }

// address reports whether a value is nothing but an e-mail address, a URL or an
// absolute path.
func address(v string) bool {
	v = strings.TrimSpace(v)
	if strings.ContainsAny(v, " \t\r\n") && !strings.Contains(v, "@") {
		return false
	}
	if strings.HasPrefix(v, "/") || strings.Contains(v, "://") {
		return true
	}
	if len(strings.Fields(v)) > 3 {
		return false
	}
	local, domain, found := strings.Cut(v, "@")
	return found && local != "" && strings.Contains(domain, ".")
}
