package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Leaves returns the values of an event that is written in the format, by
// dotted path or by key: texts without their escapes, other values as they are
// written. A name that stands twice in an object is an error: readers would not
// agree which of the two counts.
func Leaves(formatName string, doc []byte) (map[string]string, error) {
	if lines[formatName] != nil {
		out, err := members(formatName, doc)
		for key, value := range out {
			out[key] = unescaped(value)
		}
		return out, err
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	out := map[string]string{}
	if err := leaf(d, "", out, 0); err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read event: something follows it")
	}
	return out, nil
}

// maxLeafDepth bounds how deep objects lie in each other.
const maxLeafDepth = 200

func leaf(d *json.Decoder, path string, out map[string]string, depth int) error {
	if depth > maxLeafDepth {
		return errors.New("objects lie too deep in each other")
	}
	t, err := d.Token()
	if err != nil {
		return err
	}
	switch v := t.(type) {
	case json.Delim:
		return leavesIn(d, v, path, out, depth)
	case string:
		if columnOfJSON(path) && len(v) > 1 && v[0] == '{' {
			inner := json.NewDecoder(bytes.NewReader([]byte(v)))
			inner.UseNumber()
			return leaf(inner, path, out, depth+1)
		}
		out[path] = v
	case json.Number:
		out[path] = v.String()
	case bool:
		out[path] = strconv.FormatBool(v)
	}
	return nil // null is nothing
}

// columnOfJSON reports paths whose value is JSON in a column of text where the
// event is kept as Parquet.
func columnOfJSON(path string) bool { return path == "unmapped" }

func leavesIn(d *json.Decoder, open json.Delim, path string, out map[string]string, depth int) error {
	seen := map[string]bool{}
	for i := 0; d.More(); i++ {
		at := path + "[" + strconv.Itoa(i) + "]"
		if open == '{' {
			t, err := d.Token()
			if err != nil {
				return err
			}
			name := t.(string) // what a name must be
			if seen[name] {
				return fmt.Errorf("name %.60q stands twice", name)
			}
			seen[name] = true
			if at = name; path != "" {
				at = path + "." + name
			}
		}
		if err := leaf(d, at, out, depth+1); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}
