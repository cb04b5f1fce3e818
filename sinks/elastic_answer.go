package sinks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/sinks/format"
)

// bulkAnswer is what a bulk request is answered with.
type bulkAnswer struct {
	Errors *bool `json:"errors"`
	Items  []struct {
		Create bulkItem `json:"create"`
	} `json:"items"`
}

// bulkItem is the outcome of one event.
type bulkItem struct {
	Status int       `json:"status"`
	Error  bulkError `json:"error"`
}

type bulkError struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
}

// bulkOutcome says what became of the n events of a request.
func bulkOutcome(a answer, n int) error {
	if a.status != http.StatusOK {
		return bulkFailure(a)
	}
	if created(a.body) == n {
		return nil
	}
	var b bulkAnswer
	err := json.Unmarshal(a.body, &b)
	switch {
	case err != nil && len(a.body) == bulkAnswerLimit:
		return &WriteError{Kind: KindTooLarge, Code: "long_answer", Err: errors.New("the answer is longer than is read of it; fewer events are sent at once")}
	case err != nil || b.Errors == nil:
		return &WriteError{Kind: KindRetry, Code: "bad_answer", Err: errors.New("receiver answers 200 with something that is not from a bulk API; is there a proxy in between?")}
	case len(b.Items) != n:
		return &WriteError{Kind: KindRetry, Code: "bad_answer", Err: fmt.Errorf("receiver answers for %d events, not for the %d sent", len(b.Items), n)}
	}
	items := make([]bulkItem, n)
	for i := range items {
		items[i] = b.Items[i].Create
	}
	return bulkItems(items, retryAfter(a.header, time.Now()))
}

// created counts the items of an answer in which each was created, as it stands
// when nothing else is asked for (answerFilter); of any other answer, written
// otherwise or with an item that was not created, it returns -1. Most answers
// are of this kind, and long.
func created(body []byte) int {
	const item = `{"create":{"status":201}}`
	rest, ok := bytes.CutPrefix(bytes.TrimSpace(body), []byte(`{"errors":false,"items":[`))
	rest, ok2 := bytes.CutSuffix(rest, []byte("]}"))
	n := (len(rest) + 1) / (len(item) + 1)
	if !ok || !ok2 || n*(len(item)+1) != len(rest)+1 {
		return -1
	}
	for i := range n {
		if i > 0 {
			if rest[0] != ',' {
				return -1
			}
			rest = rest[1:]
		}
		if string(rest[:len(item)]) != item {
			return -1
		}
		rest = rest[len(item):]
	}
	return n
}

// bulkItems sorts the items that were not taken. One that needs a person makes
// the whole write wait: taken again, the others are known by their ids.
func bulkItems(items []bulkItem, after time.Duration) error {
	e := &WriteError{Kind: KindPartial, RetryAfter: after}
	for i, it := range items {
		switch kind, ok := it.kind(); {
		case ok:
			continue
		case kind == KindAuth:
			return &WriteError{Kind: KindAuth, Code: it.code(), RetryAfter: after, Err: fmt.Errorf("elastic refuses an event: %s", it.reason())}
		case kind == KindRetry:
			e.Again = append(e.Again, i)
		default:
			e.Rejected = append(e.Rejected, Item{Index: i, Code: it.code(), Reason: it.reason()})
		}
		e.Code = it.code()
	}
	switch {
	case len(e.Again) == 0 && len(e.Rejected) == 0:
		return nil
	case len(e.Again) == len(items):
		e.Kind, e.Again = KindRetry, nil
	}
	e.Err = fmt.Errorf("elastic took %d of %d events (%s)", len(items)-len(e.Again)-len(e.Rejected), len(items), e.Code)
	if e.Kind == KindRetry {
		e.Err = fmt.Errorf("elastic took none of %d events (%s)", len(items), e.Code)
	}
	return e
}

// kind says what to do with the event, and whether it is stored: also when it
// was there before.
func (it bulkItem) kind() (kind Kind, ok bool) {
	switch s := it.Status; {
	case s == http.StatusOK, s == http.StatusCreated, s == http.StatusConflict && it.Error.Type == "version_conflict_engine_exception":
		return 0, true
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s >= 500, s == 0:
		return KindRetry, false
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusNotFound, it.pipelineMissing():
		return KindAuth, false
	}
	return KindRefused, false
}

// pipelineMissing reports a fault of the config that comes as one of the
// event.
func (it bulkItem) pipelineMissing() bool {
	return strings.HasPrefix(it.Error.Reason, "pipeline with id [") && strings.HasSuffix(it.Error.Reason, "does not exist")
}

func (it bulkItem) code() string { return "item_" + strconv.Itoa(min(max(it.Status, 0), 999)) }

// reason is the receiver's, without the value that it quotes.
func (it bulkItem) reason() string {
	why, _, _ := strings.Cut(it.Error.Reason, "Preview of field's value")
	return format.Plain(fmt.Sprintf("%s: %s", it.Error.Type, strings.TrimSpace(why)), 300)
}

// bulkFailure maps the answer to a whole request. Only what speaks of the data
// can lead to dead letters; whatever else is final needs a person.
func bulkFailure(a answer) *WriteError {
	e := &WriteError{Kind: KindAuth, Code: "http_" + strconv.Itoa(a.status), RetryAfter: retryAfter(a.header, time.Now())}
	var b struct {
		Error bulkError `json:"error"`
	}
	_ = json.Unmarshal(a.body, &b) // not JSON: the status decides
	e.Err = fmt.Errorf("elastic answers %d %s %s", a.status, http.StatusText(a.status), format.Plain(b.Error.Type, 80))
	switch s := a.status; {
	case s == http.StatusRequestEntityTooLarge:
		e.Kind = KindTooLarge
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s >= 500:
		e.Kind = KindRetry
	case s == http.StatusBadRequest && (strings.HasSuffix(b.Error.Type, "parse_exception") || strings.HasSuffix(b.Error.Type, "parsing_exception")):
		e.Kind = KindRefused
	case s/100 == 3:
		e.Err = fmt.Errorf("elastic answers %d to another place, which is not followed; correct urls", s)
	}
	return e
}
