package receivers

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/agentrail/agentrail/sinks/sinktest"
)

// secret is good as a token, a key and a webhook's secret.
const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// serve puts the handler behind the listener, with the refusals in front. Paths
// that ask and do not send are left alone.
func serve(o Options, h http.Handler, r *Receiver) (*Receiver, error) {
	faulty := &sinktest.Faulty{Next: h, Script: func(n int, req *http.Request) sinktest.Fault {
		switch o.refusal(n) {
		case Outage:
			return sinktest.Fault{Status: http.StatusInternalServerError}
		case Busy:
			return sinktest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}
		case Absurd:
			return sinktest.Fault{Status: http.StatusTooManyRequests, Header: absurdHeader(n)}
		case TooLarge:
			return sinktest.Fault{Status: http.StatusRequestEntityTooLarge}
		case Denied:
			return sinktest.Fault{Status: http.StatusUnauthorized}
		case Garbled:
			return sinktest.Fault{Garble: true}
		}
		return sinktest.Fault{}
	}}
	srv := &http.Server{Handler: faulty, ReadHeaderTimeout: time.Minute, ErrorLog: quiet}
	var done sync.WaitGroup
	done.Go(func() {
		if err := srv.Serve(o.Listener); !errors.Is(err, http.ErrServerClosed) {
			quiet.Print(err)
		}
	})
	r.stop = append(r.stop, func() {
		_ = srv.Close()
		_ = o.Listener.Close()
		done.Wait()
	})
	return r, nil
}

// keep writes a secret of the sink to a file. What cannot be written is a file
// that the sink does not find.
func (o Options) keep(name, value string) (file string) {
	file = filepath.Join(o.Dir, name)
	if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
		quiet.Print(err)
	}
	return file
}

// endpoint is the URL of an address and the sink's lines to trust it.
func endpoint(address, caFile string) (url, more string) {
	if caFile != "" {
		return "https://" + address, "tls: {ca_file: " + caFile + "}\n"
	}
	return "http://" + address, ""
}

func openSplunk(o Options) (*Receiver, error) {
	h := &sinktest.HEC{Token: secret, Ack: true, Poison: o.Poison, Lose: o.Lose, MaxBytes: 4 << 20}
	return serve(o, h, &Receiver{
		Events: counted(h.Events), Violations: h.Violations,
		Fields: func(address, ca string) string {
			url, more := endpoint(address, ca)
			return "url: " + url + "\ntoken_file: " + o.keep("token", secret) + "\nack_poll: 20ms\nack_timeout: 2s\n" + more
		},
	})
}

func openElastic(o Options) (*Receiver, error) {
	b := &sinktest.Bulk{Stream: "logs-agentrail-default", Lose: o.Lose}
	if o.Poison != nil {
		b.Item = func(_ int, doc []byte) int {
			if o.Poison(doc) {
				return http.StatusBadRequest
			}
			return http.StatusCreated
		}
	}
	return serve(o, b, &Receiver{
		Violations: b.Violations,
		Events: func() (map[string]int, error) {
			out := map[string]int{}
			for id := range b.Documents() {
				out[id]++
			}
			return out, nil
		},
		Fields: func(address, ca string) string {
			url, more := endpoint(address, ca)
			return "urls: [" + url + "]\n" + more
		},
	})
}

func openSentinel(o Options) (*Receiver, error) {
	const rule = "dcr-0123456789abcdef0123456789abcdef"
	tokens := &sinktest.Tokens{}
	s := &sinktest.Sentinel{Tokens: tokens, Rule: rule, Stream: "Custom-Agentrail_CL", Poison: o.Poison}
	r := &Receiver{Events: counted(s.Events), Violations: s.Violations}
	authority, err := issuer(tokens, r)
	if err != nil {
		return nil, err
	}
	r.Fields = func(address, ca string) string {
		url, more := endpoint(address, ca)
		return "endpoint: " + url + "\nauthority: " + authority + "\nrule: " + rule + "\nstream: Custom-Agentrail_CL\n" +
			"tenant_id: dir\nclient_id: app\nclient_secret_file: " + o.keep("secret", secret) + "\n" + more
	}
	return serve(o, s, r)
}

func openSecOps(o Options) (*Receiver, error) {
	tokens := &sinktest.Tokens{}
	s := &sinktest.SecOps{Tokens: tokens, Parent: "projects/p1/locations/eu/instances/i-1", LogType: "AGENTRAIL", Fwd: "f-1", Poison: o.Poison}
	r := &Receiver{Events: counted(s.Events), Violations: s.Violations}
	url, err := issuer(tokens, r)
	if err != nil {
		return nil, err
	}
	account, err := serviceAccount(url)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(o.Dir, "account.json")
	if err := os.WriteFile(file, account, 0o600); err != nil {
		return nil, err
	}
	r.Fields = func(address, ca string) string {
		url, more := endpoint(address, ca)
		return "project: p1\nregion: eu\ninstance: i-1\nlog_type: AGENTRAIL\nforwarder: f-1\nendpoint: " + url + "\ncredentials_file: " + file + "\n" + more
	}
	return serve(o, s, r)
}

func openDatadog(o Options) (*Receiver, error) {
	d := &sinktest.Datadog{Poison: o.Poison, Key: func(int, string) int { return http.StatusAccepted }}
	return serve(o, d, &Receiver{
		Events: counted(d.Events), Violations: d.Violations,
		Fields: func(address, ca string) string {
			url, more := endpoint(address, ca)
			return "url: " + url + "\napi_url: " + url + "\nhost: h1\napi_key_file: " + o.keep("key", secret) + "\n" + more
		},
	})
}

func openSumo(o Options) (*Receiver, error) {
	const path = "/receiver/v1/http/c2VjcmV0"
	s := &sinktest.Sumo{Secret: func(_ int, at string) bool { return at == path }, MaxBytes: 4 << 20}
	return serve(o, s, &Receiver{
		Events: counted(s.Events), Violations: s.Violations,
		Fields: func(address, ca string) string {
			url, more := endpoint(address, ca)
			return "url_file: " + o.keep("url", url+path) + "\n" + more
		},
	})
}

func openWebhook(o Options) (*Receiver, error) {
	h := &posted{o: o, ids: map[string]int{}}
	return serve(o, h, &Receiver{
		Events: counted(h.events),
		Fields: func(address, ca string) string {
			url, more := endpoint(address, ca)
			return "url: " + url + "\nsecret_file: " + o.keep("secret", secret) + "\n" + more
		},
	})
}

// posted is the receiver of a webhook.
type posted struct {
	o   Options
	mu  sync.Mutex
	ids map[string]int
}

// ServeHTTP takes an array of events.
func (p *posted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var events []json.RawMessage
	if err == nil {
		err = json.Unmarshal(body, &events)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, ev := range events {
		if p.o.refused(ev) {
			http.Error(w, "one of the events is not valid", http.StatusUnprocessableEntity)
			return
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ev := range events {
		p.ids[eventID(ev)]++
	}
}

func (p *posted) events() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]int{}
	maps.Copy(out, p.ids)
	return out
}

var inNative = regexp.MustCompile(`"event_id":"([0-9a-f]{32})"`)

// eventID finds the id in the native form; an event without one is one too many.
func eventID(doc []byte) string {
	if m := inNative.FindSubmatch(doc); m != nil {
		return string(m[1])
	}
	return ""
}

// counted is for receivers that can always say what they have.
func counted(events func() map[string]int) func() (map[string]int, error) {
	return func() (map[string]int, error) { return events(), nil }
}

// issuer starts a server of tokens, which is always well.
func issuer(tokens *sinktest.Tokens, r *Receiver) (url string, err error) {
	f, err := NewFront()
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: tokens, ReadHeaderTimeout: time.Minute, ErrorLog: quiet}
	var done sync.WaitGroup
	done.Go(func() { _ = srv.Serve(f) })
	r.stop = append(r.stop, func() {
		_ = srv.Shutdown(context.Background())
		done.Wait()
	})
	return "http://" + f.Addr().String(), nil
}
