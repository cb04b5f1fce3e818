package decode

import (
	"strings"
	"unicode/utf8"

	"github.com/agentrail/agentrail/internal/jsonscan"
	"github.com/agentrail/agentrail/schemas"
)

// kind sets the kind, and what the kind alone says about action and access.
func (r *reader) kind(ev *schemas.Event, data []byte) {
	p, name := r.p, ""
	switch {
	case p.kindConst.name != "":
		r.known(ev, p.kindConst)
		return
	case p.kindLog:
		name = r.b.Log
	case r.set&(1<<fKind) != 0:
		name = r.string(data, &r.scan.Hits[r.at[fKind]])
	case r.set&(1<<fPresent) != 0:
		name = p.slots[r.scan.Hits[r.at[fPresent]].Slot].kind
	}
	if name == "" || len(name) > 64 {
		name = p.kindDefault
	}
	k, ok := p.kinds[string(r.lower(name))]
	if !ok {
		k.name = strings.ToLower(name)
		r.got |= schemas.FlagUnknownKind
	}
	r.known(ev, k)
}

func (r *reader) known(ev *schemas.Event, k kind) {
	ev.Kind = k.name
	fallBack(&ev.Action, k.action)
	if ev.Access == schemas.AccessUnknown {
		ev.Access = k.access
	}
}

// call sets what the endpoint and the tool say about action and access.
func (r *reader) call(ev *schemas.Event) {
	given := r.set&(1<<fAccess) != 0 && ev.Access != schemas.AccessUnknown
	if ev.Endpoint != "" {
		rt := r.route(ev)
		if rt.unknown {
			r.got |= schemas.FlagUnknownEndpoint
		}
		if ev.Action == "" {
			ev.Action = rt.action
		}
		if !given {
			ev.Access = rt.access
		}
	}
	if ev.Action == "" {
		ev.Action = "unknown"
	}
	if ev.Tool != "" && !given && ev.Action == "tool.execute" {
		ev.Access = r.tool(ev.Tool)
	}
}

// route looks the endpoint up, and in the table only if it is a new one.
func (r *reader) route(ev *schemas.Event) *route {
	r.low = append(append(append(r.low[:0], ev.Method...), ' '), ev.Endpoint...)
	if rt := r.calls[string(r.low)]; rt != nil {
		return rt
	}
	rt, parts := r.p.paths.find(ev.Method, ev.Endpoint)
	for i, part := range parts {
		switch rt.holes[i].field {
		case fAgent:
			fallBack(&ev.Agent, part)
		case fRun:
			fallBack(&ev.Run, part)
		case fSubscription:
			fallBack(&ev.Subscription, part)
		case fTool:
			fallBack(&ev.Tool, part)
		case fTarget:
			fallBack(&ev.Target, part)
		}
	}
	if len(parts) == 0 && len(r.low) < 256 {
		if r.calls == nil || len(r.calls) >= cacheSize {
			r.calls = map[string]*route{}
		}
		r.calls[string(r.low)] = rt
	}
	return rt
}

func fallBack(s *string, other string) {
	if *s == "" {
		*s = other
	}
}

func (r *reader) tool(name string) schemas.Access {
	a, ok := r.access[name]
	if ok {
		return a
	}
	if a = accessOf(r.p.tools, name); len(name) < 256 {
		if r.access == nil || len(r.access) >= cacheSize {
			r.access = map[string]schemas.Access{}
		}
		r.access[strings.Clone(name)] = a
	}
	return a
}

// outcome weighs, in this order: a code that names a denial, a status that
// says no, an error text (also behind a 200), the outcome as a word, a code of
// another kind, a status that says yes. Words that say why it was done are the
// reason of what was not refused and did not fail.
func (r *reader) outcome(ev *schemas.Event, data []byte) {
	code, failure, failed := "", "", r.set&(1<<fError) != 0
	if r.set&(1<<fCode) != 0 {
		code = r.string(data, &r.scan.Hits[r.at[fCode]])
	}
	if failed {
		switch h := &r.scan.Hits[r.at[fError]]; h.Kind {
		case jsonscan.String, jsonscan.Number:
			failure = r.string(data, h)
		case jsonscan.False:
			failed = false
		}
	}
	ev.OutcomeText = r.text
	byStatus, denial := r.p.status(ev.Status)
	if d := r.denial(code, failure); d != schemas.DenialNone {
		ev.Denial, ev.Outcome = d, schemas.OutcomeDenied
		if d == schemas.DenialThrottled {
			ev.Outcome = schemas.OutcomeError
		}
	} else {
		switch {
		case byStatus > schemas.OutcomeOK:
			ev.Outcome, ev.Denial = byStatus, denial
		case failed:
			ev.Outcome = schemas.OutcomeError
			if r.out == schemas.OutcomeDenied {
				ev.Outcome = r.out
			}
		case r.out != schemas.OutcomeUnknown:
			ev.Outcome = r.out
		case code != "" && r.text == "" && byStatus == schemas.OutcomeUnknown:
			ev.Outcome = schemas.OutcomeError
		case r.text == "":
			ev.Outcome = byStatus
		}
		if ev.Outcome == schemas.OutcomeDenied && ev.Denial == schemas.DenialNone {
			ev.Denial = schemas.DenialPolicy
		}
	}
	if ev.Outcome != schemas.OutcomeOK {
		if ev.Reason = code; code == "" {
			ev.Reason = failure
		}
	}
	if r.set&(1<<fWhy) != 0 && (ev.Outcome == schemas.OutcomeOK || ev.Outcome == schemas.OutcomeUnknown) {
		ev.Reason = r.string(data, &r.scan.Hits[r.at[fWhy]])
	}
	ev.Reason = bounded(ev.Reason)
}

// maxReason is how much of its words an event holds as its reason, bytes; the
// record has them whole.
const maxReason = 4 << 10

// bounded cuts the text, between two characters, and says so by an ellipsis.
func bounded(s string) string {
	if len(s) <= maxReason {
		return s
	}
	n := maxReason
	for n > maxReason-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// denial says what kind of no a code, or the first word of an error text, is.
func (r *reader) denial(code, failure string) schemas.Denial {
	if code != "" {
		if d := r.p.denials[string(r.lower(code))]; d != schemas.DenialNone {
			return d
		}
	}
	if failure == "" {
		return schemas.DenialNone
	}
	n := 0
	for n < len(failure) && n < 64 && (failure[n] == '_' || failure[n]-'0' <= 9 || failure[n]|0x20-'a' <= 'z'-'a') {
		n++
	}
	return r.p.denials[string(r.lower(failure[:n]))]
}

func (p *program) status(code int32) (schemas.Outcome, schemas.Denial) {
	if code != 0 {
		for _, s := range p.statuses {
			if code >= s.from && code <= s.to {
				return s.outcome, s.denial
			}
		}
	}
	return schemas.OutcomeUnknown, schemas.DenialNone
}

// cutPath leaves the path of a URL.
func cutPath(s string) string {
	if s != "" && s[0] != '/' {
		if i := strings.Index(s, "://"); i >= 0 {
			rest := s[i+3:]
			if j := strings.IndexByte(rest, '/'); j >= 0 {
				s = rest[j:]
			} else {
				return "/"
			}
		}
	}
	if i := strings.IndexByte(s, '?'); i >= 0 {
		s = s[:i]
	}
	if i := strings.IndexByte(s, '#'); i >= 0 {
		s = s[:i]
	}
	return s
}
