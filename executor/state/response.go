package state

import (
	"encoding/json"
	"time"
)

// Response is one answer to an alert, or to a person: an action on one target,
// who wants it and why, how long it holds, and how far it is. Its id is the
// same whenever the same alert asks the same policy for the same target.
type Response struct {
	ID     string `json:"id"`
	Policy string `json:"policy,omitempty"` // empty: a person asked
	Author string `json:"author"`           // "policy NAME", or who asked
	Reason string `json:"reason"`

	Alert  string `json:"alert,omitempty"`  // id of the alert that it answers
	Rule   string `json:"rule,omitempty"`   // of that alert
	Entity string `json:"entity,omitempty"` // of that alert: kind and id
	Key    string `json:"key,omitempty"`    // what the cool-down counts by

	Mode     string `json:"mode"`     // shadow, warn or enforce
	Action   string `json:"action"`   // subscription.pause, ...
	Target   string `json:"target"`   // id of the subscription, agent, actor or tenant
	Via      string `json:"via"`      // name of the adapter
	Resolved string `json:"resolved"` // how the target came out of the alert, a sentence

	Assignee string `json:"assignee,omitempty"` // of a task: who is to do it
	Link     string `json:"link,omitempty"`     // of a task: where

	Status  string        `json:"status"`            // requested, confirmed, failed, ...
	Problem string        `json:"problem,omitempty"` // what stands in the way, or why it was held back
	Asked   time.Time     `json:"asked"`
	Until   time.Time     `json:"until,omitzero"` // when it ends by itself
	TTL     time.Duration `json:"ttl_ns"`
	Ended   time.Time     `json:"ended,omitzero"`

	Need      int       `json:"need,omitempty"` // approvals that it takes
	Answers   []Answer  `json:"answers,omitempty"`
	AnswerBy  time.Time `json:"answer_by,omitzero"`
	ConfirmBy time.Time `json:"confirm_by,omitzero"` // unconfirmed then: failed, with an alarm

	Before    string          `json:"before,omitempty"` // what the platform said before anything was done
	Image     json.RawMessage `json:"image,omitempty"`  // what the adapter needs to take it back
	Done      bool            `json:"done,omitempty"`   // the adapter was told, and took it
	Tries     int             `json:"tries,omitempty"`
	NextTry   time.Time       `json:"next_try,omitzero"`
	Confirmed time.Time       `json:"confirmed,omitzero"`
	UndoBy    time.Time       `json:"undo_by,omitzero"` // not taken back then: an alarm
	Alarmed   bool            `json:"alarmed,omitempty"`
	Events    int             `json:"events"` // transitions so far
}

// Answer is one person's yes.
type Answer struct {
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// ResponseEvent is one line of a response's timeline. Each becomes a record of
// the audit trail.
type ResponseEvent struct {
	Response string    `json:"response"`
	Seq      int       `json:"seq"`
	At       time.Time `json:"at"`
	Status   string    `json:"status"`
	By       string    `json:"by"`
	Text     string    `json:"text"`
	Body     []byte    `json:"-"` // the record
}

// ResponseFilter selects responses, newest first. Zero fields select all.
type ResponseFilter struct {
	Open  bool      // only those that are not over
	Since time.Time // asked then or later
	Alert string
	Limit int // 0: 1000
}
