package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/response"
)

// Executor is where the pages learn what is subscribed to, paused, reviewed and
// answered. They only read there: what people decide goes into the journal as a
// control, and the executor takes it from there. Safe for concurrent use.
type Executor struct {
	// At returns the address and a token that may read, or "" while there is none.
	At func() (base, token string)
	// Tenant whose executor it is; to others there is none. Mandatory.
	Tenant string

	mu    sync.Mutex
	known map[string]answer
}

// answer is kept for a moment, so that many open pages are one question.
type answer struct {
	body []byte
	at   time.Time
}

const (
	askPatience = 3 * time.Second
	maxAnswer   = 16 << 20
	answerLife  = time.Second
)

var errNoExecutor = errors.New("no executor is configured")

// refusedAnswer is an answer that is not 200.
type refusedAnswer struct {
	status int
	detail string
}

func (e *refusedAnswer) Error() string {
	return fmt.Sprintf("the executor answers %d: %s", e.status, e.detail)
}

// get asks the executor on behalf of a page of the tenant.
func (e *Executor) get(ctx context.Context, tenant, path string, into any) error {
	if !e.serves(tenant) {
		return errNoExecutor
	}
	base, token := e.At()
	if base == "" {
		return errNoExecutor
	}
	e.mu.Lock()
	kept, ok := e.known[path]
	e.mu.Unlock()
	if !ok || time.Since(kept.at) > answerLife {
		body, err := ask(ctx, base+platform.Prefix+path, token)
		if err != nil {
			return err
		}
		kept = answer{body, time.Now()}
		e.mu.Lock()
		if e.known == nil || len(e.known) > 256 {
			e.known = map[string]answer{}
		}
		e.known[path] = kept
		e.mu.Unlock()
	}
	if err := json.Unmarshal(kept.body, into); err != nil {
		return fmt.Errorf("read answer of the executor: %w", err)
	}
	return nil
}

func (e *Executor) serves(tenant string) bool { return e != nil && e.At != nil && e.Tenant == tenant }

func ask(ctx context.Context, at, token string) ([]byte, error) {
	ctx, done := context.WithTimeout(ctx, askPatience)
	defer done()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("ask executor: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	hc := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := hc.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask executor: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask executor: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var p struct{ Detail string }
		_ = json.Unmarshal(body, &p) // whoever answers else has none
		return nil, &refusedAnswer{resp.StatusCode, p.Detail}
	}
	return body, nil
}

func (e *Executor) subscriptions(ctx context.Context, tenant string) ([]platform.Subscription, error) {
	var list platform.SubscriptionList
	err := e.get(ctx, tenant, "/subscriptions", &list)
	return list.Subscriptions, err
}

func (e *Executor) pauses(ctx context.Context, tenant string) ([]platform.Pause, error) {
	var list platform.PauseList
	err := e.get(ctx, tenant, "/pauses", &list)
	return list.Pauses, err
}

func (e *Executor) agents(ctx context.Context, tenant string) ([]platform.Agent, error) {
	var list platform.AgentList
	err := e.get(ctx, tenant, "/agents", &list)
	return list.Agents, err
}

func (e *Executor) review(ctx context.Context, tenant, name string) (v platform.Review, err error) {
	err = e.get(ctx, tenant, "/agents/"+url.PathEscape(name)+"/review", &v)
	return v, err
}

func (e *Executor) runs(ctx context.Context, tenant string, q url.Values) ([]platform.Run, error) {
	var list platform.RunList
	err := e.get(ctx, tenant, "/runs?"+q.Encode(), &list)
	return list.Runs, err
}

func (e *Executor) run(ctx context.Context, tenant, id string) (v platform.Run, err error) {
	err = e.get(ctx, tenant, "/runs/"+url.PathEscape(id), &v)
	return v, err
}

func (e *Executor) responses(ctx context.Context, tenant string, q url.Values) (response.List, error) {
	var list response.List
	err := e.get(ctx, tenant, "/responses?"+q.Encode(), &list)
	return list, err
}

func (e *Executor) response(ctx context.Context, tenant, id string) (v response.View, err error) {
	err = e.get(ctx, tenant, "/responses/"+url.PathEscape(id), &v)
	return v, err
}

// unreachable says in words why the executor says nothing; "" if it did answer
// or if there is none.
func (c *Console) unreachable(err error) string {
	switch {
	case err == nil, errors.Is(err, errNoExecutor):
		return ""
	}
	c.log.Warn("executor cannot be asked", "err", err)
	return "The executor cannot be asked now: " + err.Error() + ". What it has paused stays paused. See its log and GET /readyz there."
}
