package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// maxOutput of a run, bytes.
const maxOutput = 64 << 10

// Problem codes of steps.
const (
	codeTemplate = "template_unresolved"
	codeSource   = "source_unknown"
	codeBounds   = "bounds_exceeded"
	codePanic    = "internal_error"
)

// stepError is why a step, and with it the run, ended.
type stepError struct {
	code   string
	denied bool
	err    error
}

func (e *stepError) Error() string { return e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// steps runs the steps of the spec until one fails. A step that breaks ends its
// own run and no other.
func (e *Engine) steps(j *job) {
	defer func() {
		if p := recover(); p != nil {
			e.o.Log.Error("step broke", "run", j.run.ID, "panic", p, "stack", string(debug.Stack()))
			j.fail(&stepError{code: codePanic, err: fmt.Errorf("a step broke: %v", p)})
		}
	}()
	for i, s := range j.spec.Steps {
		err := context.Cause(j.ctx)
		if most := j.spec.Bounds.Steps; err == nil && most > 0 && i >= most {
			err = &stepError{code: codeBounds, err: fmt.Errorf("the run has done all of the %d steps that it may", most)}
		}
		if err == nil {
			err = e.step(j, s)
		}
		if ended := context.Cause(j.ctx); err != nil && ended != nil && !decided(err) {
			err = ended // what the step says follows from it
		}
		if err != nil {
			j.fail(err)
			if j.run.Status == state.Failed || j.run.Status == state.Denied {
				j.run.Reason = "step " + s.Name + ": " + j.run.Reason
			}
			return
		}
	}
	j.run.Status = state.Success
}

// decided reports whether the gates denied, other than because they could not be
// asked.
func decided(err error) bool {
	s, ok := errors.AsType[*stepError](err)
	return ok && s.denied && s.code != gate.CodeInternal
}

func (e *Engine) step(j *job, s executor.Step) error {
	switch {
	case s.Retrieve != nil:
		return e.retrieve(j, s.Name, *s.Retrieve)
	case s.Action != nil:
		return e.action(j, s.Name, *s.Action)
	case s.Think != nil:
		return e.think(j, s.Name, *s.Think)
	}
	text, err := j.values.text(s.Output.Text)
	if err != nil {
		return &stepError{code: codeTemplate, err: err}
	}
	j.run.Output = trail.Cut(text, maxOutput)
	return nil
}

// action makes the call of a step. Where it goes stands in the spec; the rest of
// the arguments may be filled in.
func (e *Engine) action(j *job, name string, a executor.Action) error {
	filled, err := j.values.fill(map[string]any(a.Arguments))
	if err != nil {
		return &stepError{code: codeTemplate, err: err}
	}
	args, _ := filled.(map[string]any)
	if args == nil {
		args = map[string]any{}
	}
	c := e.newCall(a.Tool, name)
	c.step = stepFacts{write: a.Access != "read", destructive: a.Destructive, apiKey: a.Auth == "api_key", scopes: a.Scopes}
	for _, d := range j.spec.Destinations {
		if d.Name == a.Destination {
			args[d.Argument], c.step.argument = d.ID, d.Argument
		}
	}
	if c.out.Arguments, err = json.Marshal(args); err != nil {
		return &stepError{code: codeTemplate, err: fmt.Errorf("arguments of %s have no JSON: %w", a.Tool, err)}
	}
	res, err := e.call(j, c)
	if err != nil {
		return err
	}
	j.values.keep(name, answer{text: res.Text, json: res.JSON})
	return nil
}

// retrieve reads from sources until it has as many items and bytes as it may.
// What was left out is said at the end of the text.
func (e *Engine) retrieve(j *job, name string, r executor.Retrieve) error {
	var text bytes.Buffer
	var all []json.RawMessage
	items, cut := 0, ""
	for _, source := range r.From {
		tool, args, ok := e.o.Actions.Source(source)
		if !ok {
			return &stepError{code: codeSource, err: fmt.Errorf("no tool reads source %q; an admin may add it to sources of the executor", source)}
		}
		c := e.newCall(tool, name)
		c.out.Arguments = args
		c.step.operator = !slices.ContainsFunc(j.spec.Inputs, func(in executor.Input) bool { return in.Source == source && in.Kind == "web" })
		res, err := e.call(j, c)
		if err != nil {
			return err
		}
		if res.Truncated {
			cut = "the answer of " + source + " was longer than an answer may be"
		}
		for _, item := range split(res) {
			if r.Items > 0 && items >= r.Items {
				cut = fmt.Sprintf("cut at %d items", r.Items)
				break
			}
			if r.Bytes > 0 && text.Len()+len(item.text)+1 > int(r.Bytes) {
				cut = fmt.Sprintf("cut at %d bytes", r.Bytes)
				break
			}
			items++
			text.WriteString(item.text)
			text.WriteByte('\n')
			if item.json != nil {
				all = append(all, item.json)
			}
		}
	}
	if cut != "" {
		fmt.Fprintf(&text, "[agentrail: %s]\n", cut)
	}
	list, err := json.Marshal(map[string]any{"items": all, "count": items, "cut": cut})
	if err != nil {
		return &stepError{code: action.CodeFailed, err: fmt.Errorf("what was read has no JSON: %w", err)}
	}
	j.values.keep(name, answer{text: text.String(), json: list})
	return nil
}

// split takes an answer apart: a list in JSON, or an object with one list in it,
// into its elements; anything else is one item.
func split(r action.Result) (out []answer) {
	var list []json.RawMessage
	if len(r.JSON) > 0 && json.Unmarshal(r.JSON, &list) != nil {
		var object map[string]json.RawMessage
		if json.Unmarshal(r.JSON, &object) == nil {
			for _, key := range slices.Sorted(maps.Keys(object)) {
				var inner []json.RawMessage
				if json.Unmarshal(object[key], &inner) == nil && inner != nil {
					if list != nil {
						list = nil
						break
					}
					list = inner
				}
			}
		}
	}
	if list == nil {
		return []answer{{text: r.Text}}
	}
	for _, item := range list {
		var text string
		if json.Unmarshal(item, &text) != nil {
			text = string(item)
		}
		out = append(out, answer{text: text, json: item})
	}
	return out
}

// think asks the model. It has no tools: whatever the content tells it, it can
// only answer with text.
func (e *Engine) think(j *job, name string, t executor.Think) error {
	task, content, err := j.values.prompt(t.Prompt)
	if err != nil {
		return &stepError{code: codeTemplate, err: err}
	}
	c := e.newCall("model", name)
	c.out.Server, c.out.Access = "model", gate.Read
	c.out.Arguments, err = json.Marshal(map[string]string{"task": task, "content": content})
	if err != nil {
		return &stepError{code: codeTemplate, err: err}
	}
	var got action.Answer
	_, err = e.recorded(j, c, func() (action.Result, error) {
		s, err := e.standing(j.ctx, j)
		if err != nil {
			return action.Result{}, c.deny(broken(err))
		}
		rules := e.o.Rules()
		a := gate.Action{Mode: j.mode, Tool: "model", Access: gate.Read, User: j.run.User, Agent: s.Agent, Now: e.o.Now()}
		v := j.usage.admit(a, func(a gate.Action) gate.Verdict { return e.rules.of(rules, j.spec, j.digest).think.Decide(j.ctx, a) })
		if !v.Allow {
			return action.Result{}, c.deny(v)
		}
		defer j.usage.release()
		c.out.Verdict = v
		land, err := e.board(j)
		if err != nil {
			return action.Result{}, c.grounded(err)
		}
		defer land()
		got, err = e.o.Actions.Think(j.ctx, action.Prompt{Task: task, Text: content, Tokens: t.Tokens, Rounds: max(1, t.Rounds)})
		c.out.Ended = e.o.Now()
		if err != nil {
			return action.Result{}, c.failed(j, err)
		}
		c.out.Status = trail.StatusOK
		return action.Result{}, nil
	})
	if err != nil {
		return err
	}
	j.values.keep(name, answer{text: got.Text})
	return nil
}
