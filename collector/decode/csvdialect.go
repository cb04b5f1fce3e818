package decode

import (
	"fmt"
	"mime"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // a zone named in a frame is known wherever the frame is read
)

// Dialect says how a table is written. It is kept in Header.ContentType, so
// that a frame says by itself how it is read.
type Dialect struct {
	Delimiter byte   // comma, semicolon or tab; 0: told by the header row
	Zone      string // of times that name none, such as Europe/Berlin; "": the mapping's, else UTC
}

const mediaCSV = "text/csv"

var delimiters = map[string]byte{"comma": ',', "semicolon": ';', "tab": '\t', ",": ',', ";": ';', "\t": '\t', `\t`: '\t'}

// ParseDelimiter returns the delimiter of that name (comma, semicolon, tab) or
// written as it is; "" and auto are 0.
func ParseDelimiter(s string) (byte, error) {
	if s == "" || s == "auto" {
		return 0, nil
	}
	if d, ok := delimiters[s]; ok {
		return d, nil
	}
	return 0, fmt.Errorf("delimiter %q: it is comma, semicolon, tab or auto", s)
}

// NewDialect returns the dialect of that delimiter, as ParseDelimiter reads it,
// and zone.
func NewDialect(delimiter, zone string) (d Dialect, err error) {
	if d.Delimiter, err = ParseDelimiter(delimiter); err != nil {
		return d, err
	}
	d.Zone = zone
	_, err = loadZone(zone)
	return d, err
}

// ContentType returns the media type that says it.
func (d Dialect) ContentType() string {
	params := map[string]string{}
	for _, name := range []string{"comma", "semicolon", "tab"} {
		if delimiters[name] == d.Delimiter {
			params["delimiter"] = name
		}
	}
	if d.Zone != "" {
		params["zone"] = d.Zone
	}
	return mime.FormatMediaType(mediaCSV, params)
}

var bareZone = regexp.MustCompile(`(?i)(;\s*zone=)([^";\s]+)`)

// ParseDialect reads a media type. Table is false if it is that of something
// else than a table.
func ParseDialect(contentType string) (d Dialect, table bool, err error) {
	if !isTable(contentType) {
		return d, false, nil
	}
	// The slash of a zone needs quotes after RFC 2045; who writes by hand forgets them.
	media, params, err := mime.ParseMediaType(bareZone.ReplaceAllString(contentType, `$1"$2"`))
	if media != mediaCSV {
		return d, false, nil
	}
	if err != nil {
		return d, true, fmt.Errorf("content type %q: %w", contentType, err)
	}
	if params["header"] == "absent" {
		return d, true, fmt.Errorf("content type %q: a table needs its header row", contentType)
	}
	d, err = NewDialect(params["delimiter"], params["zone"])
	return d, true, err
}

// isTable looks no further than at the beginning: it is asked for each batch.
func isTable(contentType string) bool {
	n := len(mediaCSV)
	return len(contentType) >= n && strings.EqualFold(contentType[:n], mediaCSV)
}

func loadZone(name string) (*time.Location, error) {
	if name == "Local" { // would be another one elsewhere
		name = "?"
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("zone %q is not known: write one like Europe/Berlin or UTC", name)
	}
	return loc, nil
}
