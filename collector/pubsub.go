package collector

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// looksPushed reports whether the body may be a push delivery of Google Cloud
// Pub/Sub.
func looksPushed(body []byte) bool {
	switch firstKey(body) {
	case "message", "subscription", "deliveryAttempt":
		return true
	}
	return false
}

// push is a push delivery, as far as it matters here. Both spellings of the id
// are sent.
type push struct {
	Subscription string `json:"subscription"`
	Message      *struct {
		Data      *string `json:"data"`
		MessageID string  `json:"messageId"`
		Older     string  `json:"message_id"`
	} `json:"message"`
}

// openPush returns what a push delivery holds: one LogEntry, if a log sink of
// Cloud Logging fills the topic. It returns nil if the body is no delivery but
// a record that resembles one.
func openPush(body []byte) (*delivery, error) {
	var p push
	if json.Unmarshal(body, &p) != nil || p.Subscription == "" || p.Message == nil {
		return nil, nil
	}
	id := p.Message.MessageID
	if id == "" {
		id = p.Message.Older
	}
	if id == "" {
		return nil, nil
	}
	d := &delivery{key: "pubsub/" + id}
	var value []byte
	if p.Message.Data != nil {
		var err error
		if value, err = base64.StdEncoding.DecodeString(*p.Message.Data); err != nil {
			return nil, fmt.Errorf("data of Pub/Sub message %.100q: %w", id, err)
		}
	}
	d.add("pubsub/"+p.Subscription+"/"+id, value)
	return d, nil
}
