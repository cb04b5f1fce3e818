package alerting

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/agentrail/agentrail/sinks"
)

// AlertmanagersOptions of external Alertmanagers.
type AlertmanagersOptions struct {
	URLs  []string // of the members of a cluster, each with its path prefix. Mandatory.
	Token string   // Bearer; empty: none
	TLS   sinks.TLS
	Now   func() time.Time

	Health HealthFunc // nil: nobody is told
}

// Alertmanagers is a Target: Prometheus Alertmanagers over their API v2. Every
// member of a cluster gets every alert, as its documentation asks for.
type Alertmanagers struct {
	o      AlertmanagersOptions
	urls   []string
	client *http.Client
	ledger *ledger
}

// Bounds of one exchange.
const (
	perPost       = 256 // alerts
	postTimeout   = 10 * time.Second
	forgetAfter   = 15 * time.Minute // an end has been sent again and again for so long
	maxAnswerText = 512
)

// OpenAlertmanagers checks the URLs. It asks nobody.
func OpenAlertmanagers(o AlertmanagersOptions) (*Alertmanagers, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &Alertmanagers{o: o, ledger: newLedger(o.Now)}
	if len(o.URLs) == 0 {
		return nil, errors.New("alerting.urls is empty")
	}
	for _, raw := range o.URLs {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
			return nil, fmt.Errorf("alerting.urls: %q is no address such as https://alertmanager:9093; the token goes to token_file", raw)
		}
		a.urls = append(a.urls, strings.TrimRight(raw, "/"))
		a.ledger.add(a.urls[len(a.urls)-1])
	}
	var err error
	if a.client, err = sinks.NewClient(o.TLS, len(o.URLs)); err != nil {
		return nil, fmt.Errorf("alerting: %w", err)
	}
	return a, nil
}

// Run tells of members that cannot be reached, until ctx ends.
func (a *Alertmanagers) Run(ctx context.Context) error {
	if a.o.Health != nil {
		a.ledger.watch(ctx, 10*time.Second, a.o.Health)
	}
	<-ctx.Done()
	return nil
}

// Receivers returns how the members do.
func (a *Alertmanagers) Receivers() []Receiver { return a.ledger.list() }

// Put posts to every member at once. It is an error if none took everything;
// the others hear of it with the next hand-over of all that goes on.
func (a *Alertmanagers) Put(ctx context.Context, posts []Posting) error {
	errs := make([]error, len(a.urls))
	var wg sync.WaitGroup
	for i, u := range a.urls {
		wg.Go(func() { errs[i] = a.post(ctx, u, posts) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	took := false
	for i, u := range a.urls {
		a.ledger.result(u, errs[i])
		took = took || errs[i] == nil
	}
	if took {
		return nil
	}
	return errors.Join(errs...)
}

// wire is an alert as API v2 takes it.
type wire struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

func (a *Alertmanagers) post(ctx context.Context, to string, posts []Posting) error {
	for len(posts) > 0 {
		n := min(perPost, len(posts))
		docs := make([]wire, 0, n)
		for _, p := range posts[:n] {
			w := wire{map[string]string{}, map[string]string{}, p.Starts, p.Ends, p.Link}
			for k, v := range p.Labels {
				w.Labels[string(k)] = string(v)
			}
			for k, v := range p.Annotations {
				w.Annotations[string(k)] = string(v)
			}
			docs = append(docs, w)
		}
		if err := a.send(ctx, to, docs); err != nil {
			return err
		}
		posts = posts[n:]
	}
	return nil
}

func (a *Alertmanagers) send(ctx context.Context, to string, docs []wire) error {
	body, err := json.Marshal(docs)
	if err != nil {
		return fmt.Errorf("encode alerts: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to+"/api/v2/alerts", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("post alerts to %s: %w", to, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if a.o.Token != "" {
		req.Header.Set("Authorization", "Bearer "+a.o.Token)
	}
	res, err := a.client.Do(req)
	if err != nil {
		return fmt.Errorf("post alerts: %w", err)
	}
	defer res.Body.Close()
	said, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerText))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("post alerts to %s: answered %s: %s", to, res.Status, text(strings.TrimSpace(string(said)), maxAnswerText))
	}
	if err != nil {
		return fmt.Errorf("post alerts to %s: read answer: %w", to, err)
	}
	return nil
}

// Told says that whoever was given an alert tells its people, and that an end
// has arrived when it was sent for long enough.
func (a *Alertmanagers) Told(_ context.Context, p *Posting, end bool) Told {
	if end && a.o.Now().Sub(p.Ends) < forgetAfter {
		return ToldNobody
	}
	return ToldAll
}

// Forget has nothing to do.
func (a *Alertmanagers) Forget(*Posting) {}
