package format

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// ErrNoEvent says that a line holds no event in any of the formats.
var ErrNoEvent = errors.New("no event of ours in a known format, with its id, its place and the digest of its record")

// maxWraps is how deep an event may lie in what exports and protocols put
// around it.
const maxWraps = 6

// Read finds the events in one line of a copy: in any of the formats, as it was
// sent (an envelope of Splunk, a log of Datadog, a message of syslog, an array)
// or as receivers export it.
func Read(line []byte) ([]schemas.Copied, error) { return read(line, maxWraps) }

func read(text []byte, wraps int) ([]schemas.Copied, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || wraps == 0 {
		return nil, ErrNoEvent
	}
	switch text[0] {
	case '{':
		return readObject(text, wraps)
	case '[':
		var list []json.RawMessage
		if json.Unmarshal(text, &list) != nil {
			break
		}
		var out []schemas.Copied
		for _, doc := range list {
			got, err := read(doc, wraps-1)
			if err != nil {
				return nil, err
			}
			out = append(out, got...)
		}
		return out, nil
	case '"':
		var inner string
		if json.Unmarshal(text, &inner) == nil {
			return read([]byte(inner), wraps-1)
		}
	}
	return readText(text, wraps)
}

// envelopes are members in which exports and protocols put an event, the surest
// first.
var envelopes = []string{"event", "_source", "udm", "agentrail", "result", "_raw", "body", "message", "raw"}

func readObject(doc []byte, wraps int) ([]schemas.Copied, error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(doc, &top); err != nil {
		return nil, fmt.Errorf("read line: %w", err)
	}
	var c schemas.Copied
	var err error
	switch {
	case top["event_id"] != nil && top["offset"] != nil:
		c, err = readNative(doc)
	case top["class_uid"] != nil && top["raw_data_hash"] != nil:
		c, err = readOCSF(doc)
	case top["ecs"] != nil && top["event"] != nil && top["agentrail"] != nil:
		c, err = readECS(doc)
	case top["metadata"] != nil && top["additional"] != nil:
		c, err = readUDM(doc)
	default:
		for _, name := range envelopes {
			if inner := top[name]; inner != nil {
				if got, err := read(inner, wraps-1); err == nil {
					return got, nil
				}
			}
		}
		return nil, ErrNoEvent
	}
	if err != nil {
		return nil, err
	}
	if _, err := Leaves(c.Format, doc); err != nil {
		return nil, err
	}
	c.Doc = bytes.Clone(doc)
	return []schemas.Copied{c}, nil
}

// native is what a copy in the native format says; a finding or a head in
// another format holds it whole.
type native struct {
	ID       string          `json:"event_id"`
	Class    string          `json:"class"`
	Shard    uint16          `json:"shard"`
	Offset   *uint64         `json:"offset"`
	Index    uint32          `json:"index"`
	Digest   string          `json:"raw_sha256"`
	Head     *schemas.Head   `json:"head"`
	Raw      json.RawMessage `json:"raw"`
	Alert    json.RawMessage `json:"alert"`
	Control  json.RawMessage `json:"control"`
	Evidence json.RawMessage `json:"evidence"`
	Health   json.RawMessage `json:"health"`
}

func readNative(doc []byte) (schemas.Copied, error) {
	var n native
	if err := json.Unmarshal(doc, &n); err != nil {
		return schemas.Copied{}, fmt.Errorf("read event: %w", err)
	}
	c, err := named(n.ID, n.Digest)
	if err != nil || n.Offset == nil {
		return c, ErrNoEvent
	}
	c.Format, c.Class, c.Shard, c.Offset, c.Index, c.Head = "native", n.Class, n.Shard, *n.Offset, n.Index, n.Head
	raw := n.Raw
	for _, own := range []json.RawMessage{n.Alert, n.Control, n.Evidence, n.Health} {
		if len(own) > 0 {
			raw = own
		}
	}
	if len(raw) > 0 {
		c.Records, c.Spaced = [][]byte{raw}, true
		var text string
		if raw[0] == '"' && json.Unmarshal(raw, &text) == nil {
			c.Records = append(c.Records, []byte(text))
		}
	}
	var own schemas.Head
	if len(n.Evidence) > 0 && json.Unmarshal(n.Evidence, &own) == nil && own.Signature != "" {
		c.Signs = &own
	}
	return c, nil
}

// named reads the two that every event has.
func named(id, digest string) (c schemas.Copied, err error) {
	a, errA := hex.DecodeString(id)
	b, errB := hex.DecodeString(digest)
	if errA != nil || errB != nil || len(a) != len(c.ID) || len(b) != len(c.Digest) {
		return c, ErrNoEvent
	}
	copy(c.ID[:], a)
	copy(c.Digest[:], b)
	return c, nil
}

// rest is where an event's place stands in a format that has no field for it.
type rest struct {
	ID     string  `json:"event_id"` // of an event in the native form
	Class  string  `json:"class"`
	Shard  uint16  `json:"shard"`
	Offset *uint64 `json:"offset"`
	Index  uint32  `json:"index"`
}

// placed reads the rest of an event that a format names by id and digest: its
// place, or all of it in the native form, which must not contradict.
func placed(formatName, id, digest string, doc json.RawMessage, record *string) (schemas.Copied, error) {
	c, err := named(id, digest)
	if err != nil {
		return c, err
	}
	var text string
	if len(doc) > 0 && doc[0] == '"' && json.Unmarshal(doc, &text) == nil {
		doc = json.RawMessage(text) // a column of text, as in Parquet
	}
	var r rest
	if json.Unmarshal(doc, &r) != nil || r.Offset == nil {
		return c, ErrNoEvent
	}
	if r.ID != "" {
		n, err := readNative(doc)
		if err != nil {
			return c, err
		}
		if n.ID != c.ID || n.Digest != c.Digest {
			n.Faults = append(n.Faults, "id or digest is another one in the event that it holds whole")
		}
		n.Format = formatName
		return n, nil
	}
	c.Format, c.Class, c.Shard, c.Offset, c.Index = formatName, r.Class, r.Shard, *r.Offset, r.Index
	if record != nil {
		c.Records = [][]byte{[]byte(*record)}
	}
	return c, nil
}

func readOCSF(doc []byte) (schemas.Copied, error) {
	var o struct {
		Metadata struct {
			UID     string `json:"uid"`
			Version string `json:"version"`
		} `json:"metadata"`
		Hash struct {
			Value string `json:"value"`
		} `json:"raw_data_hash"`
		Raw      *string         `json:"raw_data"`
		Unmapped json.RawMessage `json:"unmapped"`
	}
	if err := json.Unmarshal(doc, &o); err != nil {
		return schemas.Copied{}, fmt.Errorf("read event: %w", err)
	}
	name := "ocsf"
	if strings.HasPrefix(o.Metadata.Version, "1.9") {
		name = "ocsf-1.9-dev"
	}
	return placed(name, o.Metadata.UID, o.Hash.Value, o.Unmapped, o.Raw)
}

func readECS(doc []byte) (schemas.Copied, error) {
	var o struct {
		Event struct {
			ID       string  `json:"id"`
			Hash     string  `json:"hash"`
			Original *string `json:"original"`
		} `json:"event"`
		Agentrail json.RawMessage `json:"agentrail"`
	}
	if err := json.Unmarshal(doc, &o); err != nil {
		return schemas.Copied{}, fmt.Errorf("read event: %w", err)
	}
	return placed("ecs", o.Event.ID, o.Event.Hash, o.Agentrail, o.Event.Original)
}

func readUDM(doc []byte) (schemas.Copied, error) {
	var o struct {
		Metadata struct {
			ID string `json:"productLogId"`
		} `json:"metadata"`
		Additional struct {
			Class  string  `json:"class"`
			Shard  uint16  `json:"shard"`
			Offset uint64  `json:"offset,string"`
			Index  uint32  `json:"index"`
			Digest string  `json:"raw_sha256"`
			Raw    *string `json:"raw"`
			Head   string  `json:"head"`
		} `json:"additional"`
	}
	if err := json.Unmarshal(doc, &o); err != nil {
		return schemas.Copied{}, fmt.Errorf("read event: %w", err)
	}
	a := &o.Additional
	c, err := named(o.Metadata.ID, a.Digest)
	if err != nil {
		return c, err
	}
	c.Format, c.Class, c.Shard, c.Offset, c.Index = "udm", a.Class, a.Shard, a.Offset, a.Index
	if a.Raw != nil {
		holds(&c, []byte(*a.Raw))
	}
	c.Head = headOf(a.Head)
	return c, nil
}

// holds notes the record of an event that a format keeps as text, and the head
// in it, if it is one.
func holds(c *schemas.Copied, records ...[]byte) {
	c.Records = records
	var own schemas.Head
	if c.Class == schemas.ClassEvidence.String() && json.Unmarshal(records[0], &own) == nil && own.Signature != "" {
		c.Signs = &own
	}
}

// headOf reads a signed head in text; nil if it is none.
func headOf(text string) *schemas.Head {
	var h schemas.Head
	if text == "" || json.Unmarshal([]byte(text), &h) != nil {
		return nil
	}
	return &h
}
