package response

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
)

func init() { Register("platform", openPlatform) }

// platformConfig calls the API of an agent platform. Which calls there are is
// config, since not all are public.
type platformConfig struct {
	Common Common `yaml:",inline"`
	// URL of the platform, without the path of a call.
	URL string `yaml:"url"`
	// Token is sent as Authorization: Bearer.
	Token     plug.Secret `yaml:"token"`
	TokenFile string      `yaml:"token_file"`
	// Headers are sent with each call.
	Headers map[string]string `yaml:"headers"`
	// Actions are the calls of each action. Default: subscription.pause disables the trigger, subscription.remove deletes the
	// subscription.
	Actions map[string]platformAction `yaml:"actions"`
}

// platformAction is how one action is done, taken back and read back.
type platformAction struct {
	Do   platformCall `yaml:"do"`
	Undo platformCall `yaml:"undo"`
	Read platformRead `yaml:"read"` // without a path nothing can be confirmed by the platform itself
}

// platformCall is one request. In path and body {target}, {response}, {reason},
// {author} and {tenant} stand for what the action is about; in a body {image}
// is the document that Read gave before anything was done.
type platformCall struct {
	Method string `yaml:"method"`
	Path   string `yaml:"path"`
	Body   string `yaml:"body"`
}

// platformRead is the request that says how things are.
type platformRead struct {
	Method string `yaml:"method"` // default: GET
	Path   string `yaml:"path"`
	Body   string `yaml:"body"`
	// Field is the dotted path of the value in the answer.
	Field string `yaml:"field"`
	// InForce and Active are the values that say so.
	InForce []string `yaml:"in_force"`
	Active  []string `yaml:"active"`
	// Gone are the statuses that say that the target is not there: in force.
	Gone []int `yaml:"gone"`
}

// defaultActions are the calls that are public.
func defaultActions() map[string]platformAction {
	const trigger = "/api/triggers/{target}"
	return map[string]platformAction{
		PauseSubscription: {
			Do:   platformCall{http.MethodPatch, trigger, `{"enabled": false}`},
			Undo: platformCall{http.MethodPatch, trigger, `{"enabled": true}`},
			Read: platformRead{Path: trigger, Field: "enabled", InForce: []string{"false"}, Active: []string{"true"}, Gone: []int{404, 410}},
		},
		RemoveSubscription: {
			Do:   platformCall{http.MethodPost, "/api/v1/deleteagentsubscription", `{"subscriptionId": "{target}"}`},
			Undo: platformCall{http.MethodPost, "/api/v1/createagentsubscription", `{image}`},
			Read: platformRead{Path: trigger, Gone: []int{404, 410}},
		},
	}
}

type platform struct {
	conf   platformConfig
	client *http.Client
}

func openPlatform(c plug.Config, d Deps) (*Opened, error) {
	p := &platform{conf: platformConfig{Common: defaultCommon()}, client: d.HTTP}
	if err := c.Decode(&p.conf); err != nil {
		return nil, err
	}
	if p.conf.Actions == nil {
		p.conf.Actions = defaultActions()
	}
	if err := errors.Join(p.conf.Common.check(), checkURL(p.conf.URL), p.check()); err != nil {
		return nil, c.Errorf("%v", err)
	}
	p.conf.URL = strings.TrimRight(p.conf.URL, "/")
	o := p.conf.Common.opened(p, func(action string) bool { return p.conf.Actions[action].Do.Path != "" })
	o.Image = p.image
	for _, a := range p.conf.Actions {
		o.Blind = o.Blind || a.Read.Path == ""
	}
	return o, nil
}

func (p *platform) check() error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(p.conf.Actions)) {
		a := p.conf.Actions[name]
		if !slices.Contains(allActions, name) {
			faults = append(faults, fmt.Errorf("actions: %q is none of %s", name, strings.Join(allActions, ", ")))
		}
		if a.Do.Path == "" || a.Undo.Path == "" {
			faults = append(faults, fmt.Errorf("actions: %s needs do and undo, each with method, path and body", name))
		}
		if a.Read.Path != "" && len(a.Read.Gone) == 0 && (a.Read.Field == "" || len(a.Read.InForce) == 0) {
			faults = append(faults, fmt.Errorf("actions: read of %s needs field and in_force, or gone", name))
		}
		for _, path := range []string{a.Do.Path, a.Undo.Path, a.Read.Path} {
			if path != "" && !strings.HasPrefix(path, "/") {
				faults = append(faults, fmt.Errorf("actions: path %q of %s does not begin with /", path, name))
			}
		}
	}
	return errors.Join(faults...)
}

// Do makes the call of the action.
func (p *platform) Do(ctx context.Context, o Order) error {
	return p.call(ctx, p.conf.Actions[o.Action].Do, o)
}

// Undo makes the call that takes it back.
func (p *platform) Undo(ctx context.Context, o Order) error {
	return p.call(ctx, p.conf.Actions[o.Action].Undo, o)
}

func (p *platform) call(ctx context.Context, c platformCall, o Order) error {
	status, _, err := p.request(ctx, c, o)
	if err != nil {
		return err
	}
	return statusError(status)
}

// State reads back.
func (p *platform) State(ctx context.Context, o Order) (State, error) {
	is, _, err := p.read(ctx, o)
	return is, err
}

// image keeps the document that undo may have to put back.
func (p *platform) image(ctx context.Context, o Order) (json.RawMessage, error) {
	if !strings.Contains(p.conf.Actions[o.Action].Undo.Body, "{image}") {
		return nil, nil
	}
	_, answer, err := p.read(ctx, o)
	if err == nil && !json.Valid(answer) {
		err = errors.New("platform answers something that is no JSON")
	}
	return answer, err
}

func (p *platform) read(ctx context.Context, o Order) (State, []byte, error) {
	r := p.conf.Actions[o.Action].Read
	if r.Path == "" {
		return Unknown, nil, nil
	}
	def(&r.Method, http.MethodGet)
	status, answer, err := p.request(ctx, platformCall{r.Method, r.Path, r.Body}, o)
	switch {
	case err != nil:
		return Unknown, nil, err
	case slices.Contains(r.Gone, status):
		return InForce, answer, nil
	}
	if err := statusError(status); err != nil {
		return Unknown, nil, err
	}
	if r.Field == "" {
		return Active, answer, nil
	}
	value, ok := lookup(answer, r.Field)
	switch {
	case !ok:
		return Unknown, answer, nil
	case slices.Contains(r.InForce, value):
		return InForce, answer, nil
	case len(r.Active) == 0 || slices.Contains(r.Active, value):
		return Active, answer, nil
	}
	return Unknown, answer, nil
}

func (p *platform) request(ctx context.Context, c platformCall, o Order) (int, []byte, error) {
	if o.Target == "." || o.Target == ".." { // a path would go up
		return 0, nil, fmt.Errorf("%w: %q is no id", ErrRefused, o.Target)
	}
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "Idempotency-Key": {o.ID}}
	for k, v := range p.conf.Headers {
		h.Set(k, v)
	}
	if p.conf.Token != "" {
		h.Set("Authorization", "Bearer "+p.conf.Token.Reveal())
	}
	return exchange(ctx, p.client, time.Duration(p.conf.Common.Timeout), c.Method, p.conf.URL+fill(c.Path, o, url.PathEscape), h, []byte(fill(c.Body, o, jsonText)))
}

// fill puts what the order is about into a template; each value is escaped for
// its place, so that no id can say more than an id.
func fill(template string, o Order, escape func(string) string) string {
	return strings.NewReplacer(
		"{target}", escape(o.Target), "{response}", escape(o.ID), "{reason}", escape(o.Reason), "{author}", escape(o.Author),
		"{tenant}", escape(o.Tenant), "{image}", string(o.Image),
	).Replace(template)
}

// jsonText writes s as it stands within the quotes of a JSON string.
func jsonText(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return string(b[1 : len(b)-1])
}

// lookup returns the value at a dotted path of a JSON document, as text.
func lookup(doc []byte, path string) (string, bool) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return "", false
	}
	for key := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return "", false
		}
		if v, ok = m[key]; !ok {
			return "", false
		}
	}
	switch v := v.(type) {
	case string:
		return v, true
	case bool, json.Number:
		return fmt.Sprint(v), true
	}
	return "", false
}
