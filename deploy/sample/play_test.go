package sample_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/agentrail/agentrail/deploy/sample"
)

// intake is a server's intake as far as Sender can tell.
type intake func(r *http.Request, body []byte) (status int, header http.Header, answer string)

func (f intake) RoundTrip(r *http.Request) (*http.Response, error) {
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	status, header, answer := f(r, body)
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: header, Body: io.NopCloser(strings.NewReader(answer)), Request: r}, nil
}

func sender(f intake) *sample.Sender {
	return &sample.Sender{URL: "http://server/", Token: "secret", Client: &http.Client{Transport: f}}
}

func TestSendTriesAgainWhenTheServerIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dl := &theDay().Deliveries[0]
		tries := 0
		s := sender(func(r *http.Request, body []byte) (int, http.Header, string) {
			tries++
			switch tries {
			case 1:
				return http.StatusServiceUnavailable, http.Header{"Retry-After": {"7"}}, `{"detail":"full"}`
			case 2:
				return http.StatusTooManyRequests, http.Header{"Retry-After": {"2"}}, ``
			case 3:
				return 0, nil, ""
			}
			if !bytes.Equal(body, dl.Body()) {
				t.Error("the body is not the delivery")
			}
			if got := r.URL.String(); got != "http://server/v1/"+dl.Source+"?backfill=true" || r.Header.Get("Authorization") != "Bearer secret" {
				t.Errorf("sent to %s", got)
			}
			return http.StatusAccepted, nil, `{"accepted":3,"duplicates":2,"rejected":[],"rejected_total":1}`
		})
		begin := time.Now()
		got, err := s.Send(t.Context(), dl)
		if err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(begin); waited < 9*time.Second || waited > 11*time.Second || got.Waited != waited {
			t.Errorf("waited %s and said %s, want some 10 s", waited, got.Waited)
		}
		if got.Accepted != 3 || got.Duplicates != 2 || got.Rejected != 1 || got.Records != len(dl.Records) {
			t.Errorf("the receipt is %+v", got)
		}
	})
}

func TestSendGivesUpWhenItMayNot(t *testing.T) {
	dl := &theDay().Deliveries[0]
	f := func(status int, answer, want string) {
		t.Helper()
		_, err := sender(func(*http.Request, []byte) (int, http.Header, string) { return status, nil, answer }).Send(t.Context(), dl)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("status %d gave %v, want an error with %q", status, err, want)
		}
	}
	f(http.StatusUnauthorized, `{"detail":"no such token"}`, "check the token")
	f(http.StatusBadRequest, `{"detail":"not JSON","code":"bad_json"}`, "bad_json not JSON")
	f(http.StatusAccepted, `<html>`, "read the answer")

	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		_, err := sender(func(*http.Request, []byte) (int, http.Header, string) { return 0, nil, "" }).Send(ctx, dl)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("a server that is away gave %v, want the deadline and the cause", err)
		}
	})
}

func TestLivePostsWhenItIsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
		defer stop()
		records := 0
		s := sender(func(_ *http.Request, body []byte) (int, http.Header, string) {
			records += bytes.Count(body, []byte{'\n'})
			return http.StatusAccepted, nil, `{"accepted":1}`
		})
		from := time.Now()
		for dl := range sample.Live(sample.Options{Seed: 1}, from, 20) {
			if dl.At.Before(from) || dl.At.After(from.Add(3*time.Minute)) {
				break
			}
			for _, r := range dl.Records {
				if r.Time.After(dl.At) {
					t.Fatalf("record of %s is handed over at %s", r.Time, dl.At)
				}
			}
		}
		if err := s.Live(ctx, sample.Live(sample.Options{Seed: 1}, from, 20), nil); err != nil {
			t.Fatal(err)
		}
		if perSecond := float64(records) / 180; perSecond < 15 || perSecond > 25 {
			t.Errorf("%.1f records a second, want some 20", perSecond)
		}
	})
}

func TestIncidentEndsNow(t *testing.T) {
	for _, name := range sample.Incidents() {
		dls, label, err := sample.Incident(sample.Options{Seed: 3}, name, thursday, 1)
		if err != nil {
			t.Fatal(err)
		}
		if label.Incident != name || label.Twin || len(label.Records) == 0 {
			t.Errorf("%s: the label is %+v", name, label)
		}
		if !label.End.Equal(thursday) {
			t.Errorf("%s ends at %s, want %s", name, label.End, thursday)
		}
		n := 0
		for _, dl := range dls {
			if dl.History {
				continue // how its agents came to be
			}
			n += len(dl.Records)
			if dl.At.After(thursday) {
				t.Errorf("%s is delivered at %s", name, dl.At)
			}
		}
		if n != len(label.Records) {
			t.Errorf("%s: %d records delivered, %d in the label", name, n, len(label.Records))
		}
	}
	if _, _, err := sample.Incident(sample.Options{}, "flood", thursday, 1); err == nil || !strings.Contains(err.Error(), "runaway-agent") {
		t.Errorf("an unknown incident gave %v, want the names", err)
	}
}
