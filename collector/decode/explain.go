package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/internal/jsonscan"
	"github.com/agentrail/agentrail/schemas"
)

// Origin says where the value of a field of an event came from.
type Origin struct {
	Field string
	Path  string // in the record; "" if Why says it all
	Why   string // where it does not come from a path, such as "the endpoint"
	Value string // as the event has it
}

// Explanation is what a mapping made of one record.
type Explanation struct {
	Event   *schemas.Event
	Origins []Origin // in the order of the fields
	Unread  []string // paths of the record that the mapping does not name
}

// fieldNames are the names of the fields that paths fill, by number.
var fieldNames = func() (names [nFields]string) {
	t := reflect.TypeFor[fields]()
	for i := range t.NumField() {
		names[i] = t.Field(i).Tag.Get("yaml")
	}
	names[fKind], names[fPresent], names[fOutcome], names[fCode], names[fError] = "kind", "kind", "outcome", "reason", "error"
	names[fWhy] = "why"
	return names
}()

// Explain reads the records of b as Read does and calls yield with what became
// of each that could be read. It costs what reading does several times over
// and is for people who write a mapping.
func (m *Mapping) Explain(b *schemas.Batch, lim Limits, yield func(Explanation)) ([]Reject, error) {
	rejects, err := m.Read(b, lim)
	if err != nil && !errors.Is(err, ErrNothing) {
		return rejects, err
	}
	r := m.pool.Get().(*reader)
	defer m.release(r)
	r.b = b
	var t *table
	if b.Decoder == CSV && len(b.Records) > 0 {
		var terr error
		if t, terr = m.newTable(r, &schemas.Batch{Header: b.Header, Body: b.Body}); terr != nil {
			return rejects, terr
		}
	}
	for i := range b.Events {
		ev := &b.Events[i]
		if ev.Flags&schemas.FlagRejected != 0 {
			continue
		}
		data := b.Body[:b.Records[i].Start+b.Records[i].Length]
		e := Explanation{Event: ev}
		if t != nil {
			t.rows = rows{head: t.head, data: data, max: len(data), cells: t.rows.cells}
			t.rows.split(int(b.Records[i].Start), true)
			data = t.find(b.Body)
			e.Unread = m.unreadColumns(t)
		} else {
			if _, err := r.scan.Scan(m.prog.trie, data, int(b.Records[i].Start), jsonscan.Limits{Depth: 10_000, Keys: len(data)}); err != nil {
				return rejects, fmt.Errorf("explain record %d: %w", i, err)
			}
			e.Unread = m.unreadPaths(ev.Raw)
		}
		r.fill(new(schemas.Event), data)
		e.Origins = r.origins(ev, data, t)
		yield(e)
	}
	return rejects, err
}

// origins finds the values that count, as choose does, and then what comes from
// elsewhere.
func (r *reader) origins(ev *schemas.Event, data []byte, t *table) []Origin {
	var won [nFields]int
	for i := range won {
		won[i] = -1
	}
	for i := range r.scan.Hits {
		h := &r.scan.Hits[i]
		for _, tg := range r.p.slots[h.Slot].targets {
			// choose has left the best priority that a value has, and of one
			// path the last value counts, of a list's elements the first.
			if fits(h.Kind, tg.field) && h.Kind != jsonscan.Null && h.Start < h.End && r.set&(1<<tg.field) != 0 && tg.prio == r.prio[tg.field] &&
				(won[tg.field] < 0 || !tg.list) {
				won[tg.field] = i
			}
		}
	}
	if won[fTime] >= 0 {
		won[fTime] = r.timeHit(data, won[fTime])
	}
	if won[fOutcome] >= 0 { // of several the worst
		won[fOutcome] = int(r.at[fOutcome])
	}
	var out []Origin
	for f := range nFields {
		o := Origin{Field: fieldNames[f], Value: valueOf(ev, f)}
		switch at := won[f]; {
		case f == fPresent && r.set&(1<<fKind) != 0, f == fTime && ev.Flags&schemas.FlagTimeMissing != 0 && at >= 0:
			continue
		case at >= 0 && (o.Value != "" || f == fError || f == fPresent || f == fCode || f == fWhy):
			h := &r.scan.Hits[at]
			o.Path = r.p.names[h.Slot]
			if t != nil {
				o.Path = t.columnOf(h.Slot)
			}
			if o.Value == "" {
				o.Value = string(data[h.Start:h.End])
			}
		case f == fCode || f == fWhy || f == fError || f == fPresent || o.Value == "":
			continue
		default:
			o.Why = r.why(f)
		}
		if o.Path == "" && o.Why == "" {
			continue
		}
		out = append(out, o)
	}
	return out
}

// timeHit returns the value that the time was read from, or -1.
func (r *reader) timeHit(data []byte, first int) int {
	unit, best, prio := r.p.rules[fTime].unit, -1, 256
	if _, how := parseTime(r.string(data, &r.scan.Hits[first]), unit); how != unusable {
		return first
	}
	for i := range r.scan.Hits {
		h := &r.scan.Hits[i]
		for _, tg := range r.p.slots[h.Slot].targets {
			if tg.field != fTime || int(tg.prio) >= prio || h.Kind < jsonscan.Number || h.Kind > jsonscan.String {
				continue
			}
			if _, how := parseTime(r.string(data, h), unit); how != unusable {
				best, prio = i, int(tg.prio)
			}
		}
	}
	return best
}

// why says where a field that no path filled has its value from.
func (r *reader) why(f int) string {
	if f < fKind && r.p.rules[f].fixed != "" {
		return "constant of the mapping"
	}
	switch f {
	case fKind:
		switch {
		case r.p.kindConst.name != "":
			return "constant of the mapping"
		case r.set&(1<<fPresent) != 0:
			return "an object that is there"
		}
		return "default of the mapping"
	case fAction, fAccess, fAgent, fRun, fSubscription, fTool, fTarget:
		return "kind, endpoint or tool"
	case fOutcome:
		return "status, code or error"
	case fTime:
		return "time of receipt"
	}
	return ""
}

// valueOf returns the field as the event has it.
func valueOf(ev *schemas.Event, f int) string {
	if f != fLog && f < fKind && texts[f] != 0 {
		return *textOf(ev, uint8(f))
	}
	known := func(name string) string {
		if name == "unknown" {
			return ""
		}
		return name
	}
	switch f {
	case fTime:
		return string(schemas.AppendTime(nil, ev.Time))
	case fEndpoint:
		return ev.Endpoint
	case fStatus, fDuration:
		if v, ok := ev.Lookup(map[int]string{fStatus: "status", fDuration: "duration_ns"}[f]); ok {
			return v.Str
		}
	case fInitiator:
		return known(ev.Initiator.String())
	case fAccess:
		return known(ev.Access.String())
	case fAutonomous:
		return known(ev.Autonomous.String())
	case fKind:
		return ev.Kind
	case fOutcome:
		return known(ev.Outcome.String())
	case fCode, fWhy:
		return ev.Reason
	}
	return ""
}

// columnOf returns the name of the column that a slot's value stands in.
func (t *table) columnOf(slot uint16) string {
	name := ""
	for _, col := range t.bound {
		if slices.Contains(col.slots, slot) && col.index < len(t.rows.cells) && !nothing(t.rows.cells[col.index].text(t.rows.data)) {
			name = t.head.Columns[col.index]
		}
	}
	return name
}

func (m *Mapping) unreadColumns(t *table) (out []string) {
	for i, c := range t.rows.cells {
		switch {
		case i >= len(t.head.Columns):
			return append(out, "(behind the last column)")
		case !m.Reads(t.head.Columns[i]) && !nothing(c.text(t.rows.data)):
			out = append(out, t.head.Columns[i])
		}
	}
	return out
}

// unreadPaths returns the paths of values that the mapping does not name.
func (m *Mapping) unreadPaths(raw []byte) (out []string) {
	named := map[string]bool{}
	for _, p := range m.prog.names {
		named[strings.ToLower(p)] = true
	}
	seen := map[string]bool{}
	walk(json.NewDecoder(bytes.NewReader(raw)), "", func(path string) {
		low := strings.ToLower(path)
		if !named[low] && !seen[low] {
			seen[low] = true
			out = append(out, path)
		}
	})
	return out
}

// walk calls yield with the path of each value that is neither an object nor a
// list, nor null.
func walk(dec *json.Decoder, path string, yield func(string)) {
	dec.UseNumber()
	tok, err := dec.Token()
	if err != nil {
		return
	}
	switch tok {
	case json.Delim('{'):
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return
			}
			name, _ := key.(string)
			if path != "" {
				name = path + "." + name
			}
			walk(dec, name, yield)
		}
	case json.Delim('['):
		for dec.More() {
			walk(dec, path+"[]", yield)
		}
	case nil, "":
		return
	default:
		yield(path)
		return
	}
	if _, err := dec.Token(); errors.Is(err, io.EOF) {
		return
	}
}
