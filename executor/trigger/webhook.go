package trigger

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/internal/webhooksig"
)

// Config is what the operator lets agents be triggered by. Specs name webhooks
// and folders; they do not define them.
type Config struct {
	// Webhooks that may start agents.
	Webhooks []Webhook `yaml:"webhooks"`
	// Folders whose new files may start agents.
	Folders []Folder `yaml:"folders"`
}

// Webhook is a name under which content may be posted, with what it is
// authenticated by: a signature of Standard Webhooks, or a bearer token.
type Webhook struct {
	// Name by which specs refer to it, and the last part of its path.
	Name string `yaml:"name"`
	// Secret of Standard Webhooks: whsec_ and 24 to 64 bytes in base64.
	Secret     plug.Secret `yaml:"secret"`
	SecretFile string      `yaml:"secret_file"`
	// Token is a bearer token of at least 16 characters, for senders that do not sign.
	Token     plug.Secret `yaml:"token"`
	TokenFile string      `yaml:"token_file"`
}

const (
	maxContent = 1 << 20 // bytes of what triggers a run
	maxEventID = 200
)

// hook is a webhook with its secrets read.
type hook struct {
	key   webhooksig.Key
	token string
}

var hookName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func (t *Triggers) openHooks() error {
	var faults []error
	for i := range t.o.Config.Webhooks {
		w := t.o.Config.Webhooks[i]
		if err := t.openHook(w); err != nil {
			faults = append(faults, fmt.Errorf("open webhook %q: %w", w.Name, err))
		}
	}
	return errors.Join(faults...)
}

func (t *Triggers) openHook(w Webhook) error {
	if err := plug.Resolve(&w); err != nil {
		return err
	}
	h := &hook{token: w.Token.Reveal()}
	switch {
	case !hookName.MatchString(w.Name):
		return errors.New("a name has lower-case letters, digits and dashes")
	case t.hooks[w.Name] != nil:
		return errors.New("it is listed twice")
	case (w.Secret == "") == (w.Token == ""):
		return errors.New("write one of secret_file and token_file")
	case w.Token != "" && len(h.token) < 16:
		return errors.New("the token is shorter than 16 characters")
	}
	if w.Secret != "" {
		var err error
		if h.key, err = webhooksig.Parse(w.Secret.Reveal()); err != nil {
			return err
		}
	}
	t.hooks[w.Name] = h
	return nil
}

// Handler takes what is posted to a webhook, whose name is the path value name.
// The answer is 202 when every subscription has its run, or had it before; 503
// asks the sender to send the same again.
func (t *Triggers) Handler() http.Handler { return http.HandlerFunc(t.serve) }

func (t *Triggers) serve(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code, detail string) {
		t.metrics.refused.Inc()
		problem.Write(w, problem.Details{Status: status, Code: code, Detail: detail})
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(http.StatusMethodNotAllowed, "method_not_allowed", "post the content")
		return
	}
	name, id := r.PathValue("name"), r.Header.Get("webhook-id")
	h := t.hooks[name]
	if h == nil {
		refuse(http.StatusNotFound, "resource_not_found", "there is no such webhook; an admin may add it to webhooks of the executor")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxContent))
	switch _, large := errors.AsType[*http.MaxBytesError](err); {
	case large:
		refuse(http.StatusRequestEntityTooLarge, "body_too_large", fmt.Sprintf("content has at most %d bytes", maxContent))
		return
	case err != nil:
		refuse(http.StatusBadRequest, "invalid_request", "the body could not be read")
		return
	}
	if id == "" || len(id) > maxEventID {
		refuse(http.StatusBadRequest, "invalid_request", fmt.Sprintf("send the header webhook-id, of at most %d bytes, and the same one when you send again", maxEventID))
		return
	}
	if err := h.authentic(r.Header, body, t.o.Now()); err != nil {
		refuse(http.StatusUnauthorized, "authentication_required", err.Error())
		return
	}
	started, again, err := t.content(r.Context(), "webhook", func(c *executor.Content) bool { return c.Webhook == name }, "webhook:"+name+":"+id, body)
	if err != nil {
		t.o.Log.Warn("webhook is not taken; the sender is asked to send again", "webhook", name, "error", err)
		problem.Write(w, problem.Details{Status: http.StatusServiceUnavailable, Code: "not_now", Detail: "not every subscription could take it: " + err.Error(), RetryAfter: 10 * time.Second})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(map[string]any{"runs": started, "duplicates": again})
}

// authentic checks the token, or the signature over id, time and body.
func (h *hook) authentic(header http.Header, body []byte, now time.Time) error {
	if h.token != "" {
		given, ok := strings.CutPrefix(header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(given), []byte(h.token)) != 1 {
			return errors.New("the bearer token is missing or wrong")
		}
		return nil
	}
	return h.key.Verify(header, now, body)
}

// content starts a run of every live subscription of every published agent whose
// trigger matches. An error means that it should be tried again; those that have
// their run do not get a second one then.
func (t *Triggers) content(ctx context.Context, kind string, match func(*executor.Content) bool, key string, content []byte) (started []string, again int, err error) {
	t.mu.Lock()
	specs, _, err := t.read(ctx)
	t.mu.Unlock()
	if err != nil {
		return nil, 0, err
	}
	return t.start(ctx, specs, kind, match, key, content)
}

func (t *Triggers) start(ctx context.Context, specs map[string]*executor.Spec, kind string, match func(*executor.Content) bool, key string, content []byte) (started []string, again int, err error) {
	started = []string{}
	var faults []error
	for name, spec := range specs {
		if spec.Trigger == nil || spec.Trigger.Content == nil || !match(spec.Trigger.Content) {
			continue
		}
		subs, err := t.o.Store.Subscriptions(ctx, state.SubscriptionFilter{Agent: name})
		if err != nil {
			return started, again, err
		}
		for _, sub := range subs {
			r, err := t.o.Engine.Start(ctx, run.Request{Subscription: sub.ID, Mode: gate.Background, Initiator: trail.InitiatorContent, Content: content, Key: key})
			switch {
			case err == nil:
				t.metrics.started.WithLabelValues(kind).Inc()
				started = append(started, r.ID)
			case errors.Is(err, state.ErrDuplicate):
				again++
			case errors.Is(err, state.ErrNotFound): // it was deleted meanwhile
			default:
				faults = append(faults, fmt.Errorf("subscription %s: %w", sub.ID, err))
			}
		}
	}
	return started, again, errors.Join(faults...)
}
