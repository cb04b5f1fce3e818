package collector

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/agentrail/agentrail/internal/problem"
)

// delivery is what stood in the envelope of a service that pushes records:
// values, each one or more records as their sender wrote them. The envelope is
// transport, like a Content-Encoding: it is undone and not kept.
type delivery struct {
	key   string   // the same when the service delivers again
	body  []byte   // the values, parted by line feeds
	ends  []uint32 // of the values in body
	names []string // of the values; they name records without an id of their own
}

// add takes one value.
func (d *delivery) add(name string, value []byte) {
	if len(d.ends) > 0 {
		d.body = append(d.body, '\n')
	}
	d.body = append(d.body, value...)
	d.ends, d.names = append(d.ends, uint32(len(d.body))), append(d.names, name)
}

// position names the place of a record; see decode.Limits.
func (d *delivery) position(start uint32) string {
	i := valueAt(d.ends, start)
	return d.names[i] + ":" + strconv.Itoa(int(start-valueStart(d.ends, i)))
}

// unwrap returns what the body delivers, or nil if it is no envelope that is
// known but the records themselves.
func (s *intake) unwrap(r *http.Request, media string, body []byte, share *hold) (*delivery, *problem.Details) {
	if media != typeJSON {
		return nil, nil
	}
	var d *delivery
	var err error
	switch {
	case fromFirehose(r):
		d, err = openFirehose(body, int64(s.cfg.MaxBody), share)
	case looksPushed(body):
		d, err = openPush(body)
	}
	if err != nil {
		return nil, s.envelopeFault(err)
	}
	if d != nil && !share.add(int64(len(d.body))) {
		return nil, s.envelopeFault(errBusy)
	}
	return d, nil
}

// envelopeFault turns an error of opening into the answer to it.
func (s *intake) envelopeFault(err error) *problem.Details {
	switch {
	case errors.Is(err, errBusy):
		return &problem.Details{
			Status: http.StatusServiceUnavailable, Code: "busy", RetryAfter: busyRetry,
			Detail: "too many bytes of other requests are in flight; send it again later",
		}
	case errors.Is(err, errTooLarge), errors.Is(err, errBomb):
		return &problem.Details{
			Status: http.StatusRequestEntityTooLarge, Code: "body_too_large",
			Detail: fmt.Sprintf("the records in the envelope unpack to more than the %d bytes that source %q takes; nothing was taken", s.cfg.MaxBody, s.name),
		}
	}
	return &problem.Details{Status: http.StatusBadRequest, Code: "bad_envelope", Detail: err.Error() + "; nothing was taken"}
}

// firstKey is the first key of the JSON object that the body begins with, if it
// is written without escapes.
func firstKey(body []byte) string {
	i := skipSpace(body, 0)
	if i == len(body) || body[i] != '{' {
		return ""
	}
	i = skipSpace(body, i+1)
	if i == len(body) || body[i] != '"' {
		return ""
	}
	key, _, found := bytes.Cut(body[i+1:min(len(body), i+64)], []byte{'"'})
	if !found {
		return ""
	}
	return string(key)
}
