package decode

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/agentrail/agentrail/internal/jsonscan"
	"github.com/agentrail/agentrail/internal/otlpwire"
	"github.com/agentrail/agentrail/schemas"
)

// Codes of a Reject of a span.
const (
	CodeBadTraceID = "bad_trace_id"
	CodeBadSpanID  = "bad_span_id"
)

// ReadSpans reads b.Body, the protobuf form of an OTLP trace request, for the
// first time: a record for each span, pointing at its message. A span without
// a usable id, or larger than lim.RecordBytes, is flagged rejected and costs
// its neighbours nothing. Otherwise it is as Read; Reject.Line is the number of
// the span in the request.
func (m *Mapping) ReadSpans(b *schemas.Batch, lim Limits) (rejects []Reject, err error) {
	if err := m.ForSpans(); err != nil {
		return nil, err
	}
	if uint64(len(b.Body)) > math.MaxUint32 {
		return nil, fmt.Errorf("read spans: %d bytes, at most %d are possible", len(b.Body), uint32(math.MaxUint32))
	}
	lim = lim.orDefaults()
	b.Decoder, b.DecoderVersion, b.Mapping = OTLP, version, m.digest
	r := spanReader{p: m.prog, b: b}
	names := cutter{b: b}
	err = otlpwire.Spans(b.Body, func(s otlpwire.Span) error {
		i := len(b.Records)
		if i >= lim.Records {
			return fmt.Errorf("read spans: more than %d in one request", lim.Records)
		}
		ev := grow(b)
		code, reason := "", ""
		if len(s.Raw) > lim.RecordBytes {
			code, reason = CodeTooLarge, fmt.Sprintf("the span has %d bytes, %d are allowed", len(s.Raw), lim.RecordBytes)
		} else {
			var err error
			if code, reason, err = r.fill(ev, i, s); err != nil {
				return err
			}
		}
		if code != "" {
			*ev = schemas.Event{}
			base(ev, b, i)
			ev.Raw, ev.RawText, ev.Flags = s.Raw, true, schemas.FlagRejected
			rejects = append(rejects, Reject{
				Index: uint32(i), Line: i + 1, Start: uint32(s.Start), Length: uint32(len(s.Raw)), Code: code, Reason: reason,
			})
		}
		if ev.Digest = sha256.Sum256(s.Raw); code == "" {
			ev.ID = names.spanID(r.f.TraceID, r.f.SpanID)
		} else {
			ev.ID = names.nameless(ev.Digest, i)
		}
		b.Records = append(b.Records, schemas.Record{
			Start: uint32(s.Start), Length: uint32(len(s.Raw)), Flags: ev.Flags, ID: ev.ID, Digest: ev.Digest,
		})
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(b.Records) == 0:
		return nil, fmt.Errorf("%w: the request holds no span", ErrNothing)
	case len(rejects) == len(b.Records):
		return rejects, fmt.Errorf("%w: span 1: %s", ErrNothing, rejects[0].Reason)
	}
	return rejects, nil
}

// spansAgain fills the events of a batch that was read before.
func (m *Mapping) spansAgain(b *schemas.Batch) error {
	if err := m.ForSpans(); err != nil {
		return fmt.Errorf("decode batch %d: %w", b.Offset, err)
	}
	events := make([]schemas.Event, len(b.Records))
	r := spanReader{p: m.prog, b: b}
	i := 0
	err := otlpwire.Spans(b.Body, func(s otlpwire.Span) error {
		if i == len(events) || int(b.Records[i].Start) != s.Start || int(b.Records[i].Length) != len(s.Raw) {
			return fmt.Errorf("span %d lies elsewhere than its record says", i)
		}
		rec, ev := &b.Records[i], &events[i]
		if rec.Flags&(schemas.FlagRejected|schemas.FlagSealed) != 0 {
			base(ev, b, i)
			ev.Raw, ev.RawText = s.Raw, true
		} else if _, reason, err := r.fill(ev, i, s); err != nil {
			return fmt.Errorf("span %d: %w", i, err)
		} else if reason != "" {
			return fmt.Errorf("span %d: %s", i, reason)
		}
		ev.ID, ev.Digest, ev.Flags = rec.ID, rec.Digest, rec.Flags
		i++
		return nil
	})
	if err == nil && i != len(events) {
		err = fmt.Errorf("%d records but %d spans", len(events), i)
	}
	if err != nil {
		return fmt.Errorf("decode batch %d: %w", b.Offset, err)
	}
	b.Events = events
	return nil
}

// ForSpans returns an error unless the mapping says what spans are.
func (m *Mapping) ForSpans() error {
	if m.prog.spans == nil {
		return fmt.Errorf("mapping %s has no section spans", m.name)
	}
	return nil
}

// spanReader makes events of the spans of one batch.
type spanReader struct {
	p *program
	b *schemas.Batch

	f        otlpwire.SpanFields // of the span that was read last
	group    *otlpwire.Group     // whose resource is in shared
	same     schemas.Event       // what the resource says, for each of its spans
	prios    [nFields]uint8      // of what it says
	flags    schemas.Flags       // that the resource earned
	sameKind string

	ev   *schemas.Event // being filled
	prio [nFields]uint8 // 255: not found
	kind string         // the operation
	got  schemas.Flags
	hex  []byte // ids as text; only ever appended to
	text []byte // numbers as text; only ever appended to
}

// fromResource is added to the prio of what only the resource says.
const fromResource = 120

// fill makes the event of the i-th span, but for its id and digest, or says
// why it cannot be taken.
func (r *spanReader) fill(ev *schemas.Event, i int, s otlpwire.Span) (code, reason string, err error) {
	if r.group != s.Group {
		if err := r.resource(s.Group); err != nil {
			return "", "", err
		}
	}
	*ev = r.same
	base(ev, r.b, i)
	ev.Raw, ev.RawText = s.Raw, true
	r.ev, r.prio, r.kind, r.got = ev, r.prios, r.sameKind, r.flags
	if r.f, err = otlpwire.ReadSpan(s.Raw, r.attribute); err != nil {
		return "", "", err
	}
	switch {
	case !usable(r.f.TraceID, 16):
		return CodeBadTraceID, notID("trace", 16, r.f.TraceID), nil
	case !usable(r.f.SpanID, 8):
		return CodeBadSpanID, notID("span", 8, r.f.SpanID), nil
	}
	r.meaning()
	r.times()
	ev.Flags = r.got
	return "", "", nil
}

// resource reads what all spans of a group have in common.
func (r *spanReader) resource(g *otlpwire.Group) error {
	r.group, r.same, r.kind, r.got = g, schemas.Event{}, "", 0
	r.ev = &r.same
	for i := range r.prio {
		r.prio[i] = math.MaxUint8
	}
	if err := otlpwire.ReadResource(g.Resource, r.attribute); err != nil {
		return err
	}
	for i, p := range r.prio {
		if p != math.MaxUint8 {
			r.prio[i] = p + fromResource
		}
	}
	r.prios, r.flags, r.sameKind = r.prio, r.got, r.kind
	return nil
}

// attribute takes an attribute that a field wants.
func (r *spanReader) attribute(key []byte, v otlpwire.Value) error {
	for _, w := range r.p.spans.wishes[string(key)] {
		if w.prio >= r.prio[w.field] {
			continue
		}
		text := r.textOf(v)
		if text == "" {
			continue
		}
		r.prio[w.field] = w.prio
		switch w.field {
		case fKind:
			r.kind = text
		case fStatus:
			n, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				r.got |= schemas.FlagNumberTruncated
			}
			r.ev.Status = int32(n)
		case fError:
			r.ev.Reason = text
		case fEndpoint:
			r.ev.Endpoint = cutPath(text)
		default:
			*textOf(r.ev, w.field) = text
		}
	}
	return nil
}

// textOf returns the text of a value: a view into the body where it is a string.
func (r *spanReader) textOf(v otlpwire.Value) string {
	if v.Kind == otlpwire.String {
		return r.view(v.Data)
	}
	from := len(r.text)
	r.text = v.AppendText(r.text)
	return r.view(r.text[from:])
}

// view is b as a string that is not copied.
func (r *spanReader) view(b []byte) string {
	if !utf8.Valid(b) {
		r.got |= schemas.FlagBadUTF8
	}
	return jsonscan.View(b)
}

// meaning says what the span is about and how it ended.
func (r *spanReader) meaning() {
	ev, f := r.ev, &r.f
	ev.Trace, ev.Span = r.id(f.TraceID), r.id(f.SpanID)
	ev.SourceAction = r.view(f.Name)
	k, ok := r.p.spans.known[r.kind]
	if !ok {
		k = r.p.spans.general
	}
	ev.Kind, ev.Action, ev.Access = k.name, k.action, k.access
	if ok && ev.Tool != "" && k.access == schemas.AccessUnknown {
		ev.Access = accessOf(r.p.tools, ev.Tool)
	}
	switch f.Status {
	case 2:
		ev.Outcome, ev.OutcomeText = schemas.OutcomeError, "error"
		if len(f.Message) > 0 && ev.Reason == "" {
			ev.Reason = r.view(f.Message)
		}
	case 1:
		ev.Outcome, ev.OutcomeText = schemas.OutcomeOK, "ok"
	default: // left unset by whoever saw no error
		ev.Outcome, ev.OutcomeText = schemas.OutcomeOK, "unset"
	}
	if ev.Outcome == schemas.OutcomeOK {
		ev.Reason = ""
	}
}

// times reads start and duration.
func (r *spanReader) times() {
	ev, start, end := r.ev, r.f.Start, r.f.End
	switch {
	case start == 0:
		r.got |= schemas.FlagTimeMissing
		ev.Time = r.b.Received
	case start > math.MaxInt64:
		r.got |= schemas.FlagTimeSaturated
		ev.Time = math.MaxInt64
	default:
		ev.Time = int64(start)
	}
	if ev.Time > r.b.Received+farFuture {
		r.got |= schemas.FlagTimeFuture
	}
	switch {
	case end == 0 || start == 0:
	case end < start:
		r.got |= schemas.FlagTimeReversed
	default:
		ev.Duration = int64(min(end-start, math.MaxInt64))
	}
}

// id returns an id as hexadecimal digits.
func (r *spanReader) id(b []byte) string {
	if cap(r.hex)-len(r.hex) < 2*len(b) {
		r.hex = make([]byte, 0, 4096)
	}
	from := len(r.hex)
	r.hex = hex.AppendEncode(r.hex, b)
	return jsonscan.View(r.hex[from:])
}

// usable reports whether an id has its length and is not all zero.
func usable(id []byte, size int) bool {
	if len(id) != size {
		return false
	}
	for _, c := range id {
		if c != 0 {
			return true
		}
	}
	return false
}

func notID(what string, size int, id []byte) string {
	return fmt.Sprintf("the %s id %x is not %d bytes of which one is not zero", what, id[:min(len(id), 32)], size)
}

// spanID names the event of a span: a span that is sent again has the same id.
func (c *cutter) spanID(trace, span []byte) schemas.ID {
	c.begin(bySpan)
	c.part(string(trace))
	c.part(string(span))
	sum := sha256.Sum256(c.named)
	return schemas.ID(sum[:16])
}

// nameless names a span that has no id of its own, by its bytes and its place
// among the spans of the request.
func (c *cutter) nameless(d schemas.Digest, i int) schemas.ID {
	c.begin(byContent)
	c.part(string(d[:]))
	c.named = binary.BigEndian.AppendUint32(c.named, uint32(i))
	sum := sha256.Sum256(c.named)
	return schemas.ID(sum[:16])
}
