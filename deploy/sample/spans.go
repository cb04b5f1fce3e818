package sample

import (
	"encoding/hex"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// traced is what a run's trace is like, beside its steps.
type traced struct {
	slower float64 // times that all of it takes
	tokens float64 // times the tokens of its model calls
	loops  int     // turns of model and first tool more
	lost   bool    // nothing of it was exported
}

// spans records the trace of a run as one OTLP request: the agent, a call of the
// model before the first tool and after the last, and the tools between, with
// the names of the GenAI semantic conventions.
func (g *generator) spans(r run, id, trace string, starts []time.Time, end time.Time) {
	if r.trace.lost || !g.traces {
		return
	}
	d := g.spanDice
	model := models[len(r.agent.id+r.agent.name)%len(models)]
	root := g.ids.hex(16)
	var out []byte
	long := 1.0 // one run in forty reads something long
	if d.chance(0.025) {
		long = 3 + d.Float64()
	}
	span := func(name, operation string, from, to time.Time, failed bool, more func(b []byte) []byte) {
		attrs := text(nil, "gen_ai.operation.name", operation)
		attrs = text(attrs, "gen_ai.agent.id", r.agent.id)
		attrs = text(attrs, "agentrail.run.id", id)
		parent, own := root, g.ids.hex(16)
		if operation == "invoke_agent" {
			parent, own = "", root
		}
		out = append(out, spanBytes(trace, own, parent, name, from, to, failed, more(attrs))...)
	}
	chat := func(at time.Time) time.Time {
		took := time.Duration(float64(d.span(800*time.Millisecond, 3*time.Second)) * max(r.trace.slower, 1))
		span("chat "+model, "chat", at, at.Add(took), false, func(b []byte) []byte {
			in := math.Exp(8+d.NormFloat64()*0.35) * long * max(r.trace.tokens, 1)
			return number(number(b, "gen_ai.usage.input_tokens", int64(in)), "gen_ai.usage.output_tokens", int64(d.between(150, 900)))
		})
		return at.Add(took)
	}
	last := chat(r.start)
	for i, s := range r.steps {
		took := time.Duration(float64(d.span(200*time.Millisecond, 900*time.Millisecond)) * max(r.trace.slower, 1))
		span("execute_tool "+s.tool.name, "execute_tool", starts[i], starts[i].Add(took), s.bad(), func(b []byte) []byte { return text(b, "gen_ai.tool.name", s.tool.name) })
		last = starts[i].Add(took)
	}
	for range r.trace.loops {
		last = chat(last)
		span("execute_tool "+r.steps[0].tool.name, "execute_tool", last, last.Add(300*time.Millisecond), false, func(b []byte) []byte { return text(b, "gen_ai.tool.name", r.steps[0].tool.name) })
	}
	if last = chat(last); last.After(end) {
		end = last
	}
	span("invoke_agent "+r.agent.name, "invoke_agent", r.start, end, false, func(b []byte) []byte { return b })
	scope := message(nil, 2, out)
	resource := message(nil, 1, message(nil, 1, pair("service.name", message(nil, 1, []byte("agent-runtime")))))
	g.add(SourceTraces, trace, end, message(nil, 1, append(resource, scope...)))
}

// spanBytes is a span as a member of a list of spans.
func spanBytes(trace, id, parent, name string, from, to time.Time, failed bool, attributes []byte) []byte {
	var b []byte
	for _, f := range []struct {
		num protowire.Number
		hex string
	}{{1, trace}, {2, id}, {4, parent}} {
		if raw, err := hex.DecodeString(f.hex); err == nil && len(raw) > 0 {
			b = message(b, f.num, raw)
		}
	}
	b = message(b, 5, []byte(name))
	b = protowire.AppendFixed64(protowire.AppendTag(b, 7, protowire.Fixed64Type), uint64(from.UnixNano()))
	b = protowire.AppendFixed64(protowire.AppendTag(b, 8, protowire.Fixed64Type), uint64(to.UnixNano()))
	b = append(b, attributes...)
	if failed {
		b = message(b, 15, protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), 2))
	}
	return message(nil, 2, b)
}

func message(b []byte, num protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), content)
}

// pair is a key with its value, as attributes are.
func pair(key string, value []byte) []byte {
	return message(message(nil, 1, []byte(key)), 2, value)
}

// text appends an attribute of a span.
func text(b []byte, key, value string) []byte {
	return message(b, 9, pair(key, message(nil, 1, []byte(value))))
}

func number(b []byte, key string, value int64) []byte {
	return message(b, 9, pair(key, protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), uint64(value))))
}
