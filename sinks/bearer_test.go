package sinks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
)

// TestBearer keeps a token until shortly before it expires, and beyond that if
// there is no other while it holds.
func TestBearer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, life, fail := 0, time.Hour, error(nil)
		b := newBearer(func(context.Context) (*oauth2.Token, error) {
			if n++; fail != nil {
				return nil, fail
			}
			token := &oauth2.Token{AccessToken: fmt.Sprintf("t%d", n)}
			if life > 0 {
				token.Expiry = time.Now().Add(life)
			}
			return token, nil
		})
		f := func(wait time.Duration, want string) {
			t.Helper()
			time.Sleep(wait)
			got, err := b.get(t.Context())
			if err != nil {
				got = asWriteError(err).Code
			}
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		f(0, "t1")
		f(54*time.Minute, "t1")
		f(2*time.Minute, "t2") // four minutes before it expires
		b.refused("t1")        // an old answer
		f(0, "t2")
		b.refused("t2")
		f(0, "t3")
		fail = errors.New("issuer is away")
		f(56*time.Minute, "t3")
		f(10*time.Second, "t3")
		if n != 4 {
			t.Errorf("asked %d times", n)
		}
		f(30*time.Second, "t3")
		if n != 5 {
			t.Errorf("asked %d times", n)
		}
		f(5*time.Minute, "token")
		fail, life = nil, 0
		f(0, "t7") // one that never expires
		f(1000*time.Hour, "t7")
	})
}

func TestBearerHoldsNoNonsense(t *testing.T) {
	for _, token := range []string{"", "a\nb"} {
		b := newBearer(func(context.Context) (*oauth2.Token, error) { return &oauth2.Token{AccessToken: token}, nil })
		if got, err := b.get(t.Context()); err == nil || got != "" {
			t.Errorf("%q was taken", token)
		}
	}
}

// TestBearerWaits lets a writer go that is cancelled while another one fetches.
func TestBearerWaits(t *testing.T) {
	asked, go1 := make(chan struct{}), make(chan struct{})
	b := newBearer(func(context.Context) (*oauth2.Token, error) {
		close(asked)
		<-go1
		return &oauth2.Token{AccessToken: "t"}, nil
	})
	done := make(chan error)
	go func() {
		_, err := b.get(t.Context())
		done <- err
	}()
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.get(ctx); asWriteError(err).Code != "cancelled" {
		t.Errorf("got %v", err)
	}
	close(go1)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func FuzzTokenFailure(f *testing.F) {
	f.Add(400, []byte(`{"error":"invalid_client","error_description":"AADSTS7000215: wrong\r\nTrace ID"}`))
	f.Add(503, []byte("<html>"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := tokenFailure(t.Context(), &oauth2.RetrieveError{Response: &http.Response{StatusCode: status, Header: http.Header{}}, Body: body})
		if e.Err == nil || strings.ContainsAny(e.Error(), "\n\r\x00\u202e") || len(e.Error()) > 600 {
			t.Errorf("%d %q: %v", status, body, e)
		}
	})
}
