package main

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/notary"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
	"github.com/agentrail/agentrail/sinks/format"
)

// fieldCheck holds the fields of copied events to what their records say: by
// the journal and, if the sink's settings are known, by these; else by the
// record in the copy and the mappings.
type fieldCheck struct {
	mappings *decode.Set
	journal  bool             // there is one: it knows better than a copy
	sink     *sinks.Forwarder // whose copy it is; nil: not known
	known    map[string]map[string]bool
}

// verdict is for notary.CopyOptions.
func (f *fieldCheck) verdict(c *schemas.Copied, b *schemas.Batch, i int) notary.FieldVerdict {
	got, err := leavesOf(c.Format, c.Doc)
	if err != nil || b == nil && f.journal {
		return notary.FieldVerdict{Unknown: true}
	}
	if b == nil {
		return f.byRecord(c, got)
	}
	ev := b.Events[i]
	ev.Shard, ev.Offset, ev.Index = b.Shard, b.Offset, uint32(i) //nolint:gosec // a frame has no 2^32 records
	if ev.Class == schemas.ClassAlert {
		ev.Head = c.Head // its signature was checked, and which one it was depends on the moment
	}
	if f.sink == nil {
		return f.compare(c.Format, f.wanted(c.Format, ev, got), got, nil)
	}
	ev.Head = nil
	doc, sent := f.sink.Preview(b, &ev)
	if !sent {
		return notary.FieldVerdict{Wrong: []string{"the sink does not send this event"}}
	}
	if want := f.sink.Common().Format; want != c.Format {
		return notary.FieldVerdict{Wrong: []string{"it is written as " + c.Format + ", and the sink writes " + want}}
	}
	want, err := leavesOf(c.Format, doc)
	if err != nil {
		return notary.FieldVerdict{Unknown: true}
	}
	return f.exactly(c.Format, want, got)
}

// wanted are the fields of the event, without its record if the copy has none.
func (f *fieldCheck) wanted(name string, ev schemas.Event, got map[string]string) map[string]string {
	whole := fieldsOf(name, &ev)
	ev.Raw = nil
	bare := fieldsOf(name, &ev)
	for path := range whole {
		if _, ok := bare[path]; ok {
			continue
		}
		if _, ok := got[path]; ok {
			return whole
		}
	}
	return bare
}

// recordPath is where formats keep the record, or the document of an event of
// ours: everything in it is checked.
var recordPath = regexp.MustCompile(`(^|\.)(raw|alert|control|evidence|health|raw_data|original|agentrailRaw)(\.|$)`)

// leavesOf are those of the format, and of a record that it keeps as text.
func leavesOf(name string, doc []byte) (map[string]string, error) {
	out, err := format.Leaves(name, doc)
	if err != nil {
		return nil, err
	}
	for path, value := range out {
		if len(value) < 2 || value[0] != '{' || !recordPath.MatchString(path) {
			continue
		}
		if inner, err := format.Leaves("native", []byte(value)); err == nil {
			delete(out, path)
			for at, v := range inner {
				out[path+"."+at] = v
			}
		}
	}
	return out, nil
}

// fieldsOf are the leaves of what the format makes of the event.
func fieldsOf(name string, ev *schemas.Event) map[string]string {
	write, ok := format.Lookup(name)
	if !ok {
		return nil
	}
	out, err := leavesOf(name, write(nil, ev))
	if err != nil {
		return nil // a record with a name twice, which intake flags
	}
	return out
}

// redactionMark is what stands in place of a value that a sink took out.
var redactionMark = regexp.MustCompile(`^(\*\*\*|(hmac-)?sha256:[0-9a-f]{64})$`)

// compare allows for redaction: what is not there, or is a mark, proves nothing.
// Paths in free are not compared.
func (f *fieldCheck) compare(name string, want, got map[string]string, free map[string]bool) (v notary.FieldVerdict) {
	values := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(want)) {
		values[want[path]] = true
		if free[plainPath(path)] {
			continue
		}
		switch has, ok := got[path]; {
		case ok && has == want[path]:
			v.Same++
		case !ok, redactionMark.MatchString(has):
			v.Redacted++
		default:
			v.Wrong = append(v.Wrong, fmt.Sprintf("%s is %.80q, the record says %.80q", path, has, want[path]))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[path]; ok || free[plainPath(path)] || !f.knows(name, path) {
			continue
		}
		if v.Redacted > 0 && (redactionMark.MatchString(got[path]) || values[got[path]]) { // it took another's place
			v.Redacted++
			continue
		}
		v.Wrong = append(v.Wrong, fmt.Sprintf("%s is %.80q, the record says nothing of it", path, got[path]))
	}
	return v
}

// exactly allows for nothing but the head that an alert carries.
func (f *fieldCheck) exactly(name string, want, got map[string]string) (v notary.FieldVerdict) {
	for _, path := range slices.Sorted(maps.Keys(want)) {
		switch has, ok := got[path]; {
		case ok && has == want[path]:
			v.Same++
		case !ok:
			v.Wrong = append(v.Wrong, path+" is missing")
		default:
			v.Wrong = append(v.Wrong, fmt.Sprintf("%s is %.80q, the sink writes %.80q", path, has, want[path]))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[path]; !ok && f.knows(name, path) && !isHead(path) {
			v.Wrong = append(v.Wrong, fmt.Sprintf("%s is %.80q, the sink writes nothing there", path, got[path]))
		}
	}
	return v
}

func isHead(path string) bool {
	return path == "agentrailHead" || slices.ContainsFunc(strings.Split(path, "."), func(s string) bool { return s == "head" })
}

// byRecord reads the record again by the mapping that fits best.
func (f *fieldCheck) byRecord(c *schemas.Copied, got map[string]string) notary.FieldVerdict {
	best := notary.FieldVerdict{Unknown: true}
	at := slices.IndexFunc(c.Records, func(r []byte) bool { return sha256.Sum256(r) == c.Digest })
	class, ok := schemas.ParseClass(c.Class)
	if at < 0 || !ok {
		return best
	}
	logs := map[schemas.Class][]string{
		schemas.ClassAlert: {"alert"}, schemas.ClassControl: {"control"}, schemas.ClassEvidence: {"head", "statement"}, schemas.ClassHealth: {"health", "dead_letter"},
	}[class]
	names := []string{decode.Self}
	if class == schemas.ClassActivity {
		logs = []string{"audit"}
		names = slices.DeleteFunc(f.mappings.Names(), func(n string) bool { return n == decode.Self })
	}
	for _, name := range names {
		for _, log := range logs {
			want, free := f.read(name, log, class, c, c.Records[at], got)
			if want == nil {
				continue
			}
			if v := f.compare(c.Format, want, got, free); best.Unknown || len(v.Wrong) < len(best.Wrong) || len(v.Wrong) == len(best.Wrong) && v.Same > best.Same {
				best = v
			}
		}
	}
	if best.Same == 0 && len(best.Wrong) > 0 {
		return notary.FieldVerdict{Unknown: true} // no mapping here is for it
	}
	return best
}

// read returns the fields that the record has by a mapping, and the paths of
// those that are not of the record but of how it came here: they differ when it
// comes in another way.
func (f *fieldCheck) read(name, log string, class schemas.Class, c *schemas.Copied, record []byte, got map[string]string) (want map[string]string, free map[string]bool) {
	m, err := f.mappings.Mapping(name)
	if err != nil || m.Table() {
		return nil, nil
	}
	var ways [2]map[string]string
	for i := range ways {
		b := &schemas.Batch{
			Header: schemas.Header{Tenant: fmt.Sprintf("tenant-%d", i), Source: fmt.Sprintf("source-%d", i), Log: log, Class: class, ContentType: "application/json", Received: int64(i+1) * 1_000_000_007},
			Body:   slices.Clone(record),
		}
		if class != schemas.ClassActivity {
			b.Flags = schemas.BatchSelf
		}
		if rejects, err := m.Read(b, decode.Limits{RecordBytes: 64 << 20, Keys: 1 << 20, Records: 2}); err != nil || len(rejects) > 0 || len(b.Events) != 1 {
			return nil, nil
		}
		ev := b.Events[0]
		ev.ID, ev.Shard, ev.Offset, ev.Index, ev.Head = c.ID, uint16(i), uint64(i), uint32(i), nil //nolint:gosec // 0 or 1
		if i == 1 {
			ev.Flags = ^schemas.FlagSealed
		}
		ways[i] = f.wanted(c.Format, ev, got)
	}
	free = map[string]bool{}
	for i := range ways {
		for path, value := range ways[i] {
			if other, ok := ways[1-i][path]; !ok || other != value {
				free[plainPath(path)] = true
			}
		}
	}
	for path := range got {
		if isHead(path) {
			free[plainPath(path)] = true
		}
	}
	return ways[0], free
}

// plainPath is the path without the numbers of list elements.
func plainPath(path string) string { return elementNumber.ReplaceAllString(path, "[]") }

var elementNumber = regexp.MustCompile(`\[[0-9]+\]`)

// knows reports whether the format has such a field for some event: others were
// added by those who kept the copy.
func (f *fieldCheck) knows(name, path string) bool {
	if recordPath.MatchString(path) {
		return true
	}
	set := f.known[name]
	if set == nil {
		set = map[string]bool{}
		for _, ev := range fullEvents() {
			for p := range fieldsOf(name, &ev) {
				set[plainPath(p)] = true
			}
		}
		if f.known == nil {
			f.known = map[string]map[string]bool{}
		}
		f.known[name] = set
	}
	return set[plainPath(path)]
}

// fullEvents are events that have every field between them.
func fullEvents() (out []schemas.Event) {
	for class := schemas.ClassActivity; class <= schemas.ClassHealth; class++ {
		for _, action := range []string{"x", "agent.edit", "subscription.edit"} {
			for _, fits := range []bool{true, false} {
				ev := schemas.Event{Class: class, Status: 1, Duration: 1, Time: 1, Received: 1, Flags: ^schemas.FlagSealed, Outcome: schemas.OutcomeDenied, Denial: schemas.DenialPolicy, Autonomous: schemas.TriYes}
				for _, field := range reflect.ValueOf(&ev).Elem().Fields() {
					if field.Kind() == reflect.String {
						field.SetString("x")
					}
				}
				ev.Action = action
				if fits {
					ev.IP, ev.Method, ev.ActorEmail, ev.Kind = "192.0.2.1", "GET", "a@example.com", schemas.KindSpan
				}
				out = append(out, ev)
				ev.Agent, ev.Actor, ev.ActorEmail = "", "", ""
				out = append(out, ev)
			}
		}
	}
	return out
}
