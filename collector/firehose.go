package collector

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"

	"github.com/agentrail/agentrail/internal/problem"
)

// Headers of Amazon Data Firehose, when it delivers to an HTTP endpoint. Its
// access key is a token of ours and is checked where tokens are.
const firehoseID = "X-Amz-Firehose-Request-Id"

func fromFirehose(r *http.Request) bool { return r.Header.Get(firehoseID) != "" }

// firehose is a request of Firehose.
type firehose struct {
	RequestID string `json:"requestId"`
	Records   []struct {
		Data string `json:"data"`
	} `json:"records"`
}

// cloudwatch is the document that a subscription filter of CloudWatch Logs puts
// into a record of Firehose, packed by gzip.
type cloudwatch struct {
	MessageType string `json:"messageType"`
	Owner       string `json:"owner"`
	LogGroup    string `json:"logGroup"`
	LogStream   string `json:"logStream"`
	LogEvents   []struct {
		ID      string `json:"id"`
		Message string `json:"message"`
	} `json:"logEvents"`
}

// openFirehose returns the messages that a delivery holds, in order. Records
// that are no documents of CloudWatch Logs are taken as they are, such as those
// from which Firehose has extracted the messages itself. All records together
// may unpack to limit bytes.
func openFirehose(body []byte, limit int64, share *hold) (*delivery, error) {
	var f firehose
	if err := json.Unmarshal(body, &f); err != nil {
		return nil, fmt.Errorf("the Firehose request is no JSON of the form {requestId, records: [{data}]}: %w", err)
	}
	d := &delivery{key: "firehose/" + f.RequestID}
	for i, rec := range f.Records {
		data, err := base64.StdEncoding.DecodeString(rec.Data)
		if err == nil && bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
			data, err = unpackRecord(data, limit-int64(len(d.body)), share)
		}
		switch {
		case errors.Is(err, errTooLarge), errors.Is(err, errBomb), errors.Is(err, errBusy):
			return nil, err
		case err != nil:
			return nil, fmt.Errorf("record %d of the Firehose request: %w", i, err)
		}
		name := "firehose/" + f.RequestID + "/" + strconv.Itoa(i)
		if !d.addLogs(data) {
			d.add(name, data)
		}
		if int64(len(d.body)) > limit {
			return nil, errTooLarge
		}
	}
	return d, nil
}

// unpackRecord undoes gzip.
func unpackRecord(data []byte, limit int64, share *hold) ([]byte, error) {
	out, err := gunzip(&patient{from: bytes.NewReader(data), left: math.MaxInt}, limit, share)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return nil, errors.New("its gzip data break off")
	}
	return out, err
}

// addLogs takes the messages of a document of CloudWatch Logs, and reports
// whether the data are one. Control messages, which only ask whether somebody
// is there, hold none.
func (d *delivery) addLogs(data []byte) bool {
	var c cloudwatch
	if json.Unmarshal(data, &c) != nil || c.LogGroup == "" && c.MessageType != "CONTROL_MESSAGE" {
		return false
	}
	switch c.MessageType {
	case "CONTROL_MESSAGE":
		return true
	case "DATA_MESSAGE":
		for _, e := range c.LogEvents {
			d.add("cloudwatch/"+c.Owner+"/"+c.LogGroup+"/"+c.LogStream+"/"+e.ID, []byte(e.Message))
		}
		return true
	}
	return false
}

// firehoseAnswer is the only form of answer that Firehose takes; anything else
// counts as a failure, and is sent again.
type firehoseAnswer struct {
	RequestID string `json:"requestId"`
	Timestamp int64  `json:"timestamp"` // Unix ms
	Error     string `json:"errorMessage,omitempty"`
}

// answerFirehose writes the answer and returns its status.
func (s *intake) answerFirehose(w http.ResponseWriter, r *http.Request, fault *problem.Details) int {
	a, code := firehoseAnswer{RequestID: r.Header.Get(firehoseID), Timestamp: s.now().UnixMilli()}, http.StatusOK
	if fault != nil {
		code, a.Error = fault.Status, fault.Code+": "+fault.Detail
	}
	w.Header().Set("Content-Type", typeJSON)
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(a)
	return code
}
