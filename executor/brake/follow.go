package brake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/schemas"
)

const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
	keepEach   = 10 * time.Second // how often a cursor is kept that only moved past what is not ours
)

// follower is where one Follow is in the stream.
type follower struct {
	b    *Brake
	next uint64    // offset that comes next
	kept uint64    // what of that is on disk
	at   time.Time // when it was kept
}

// errAnew says that the server's journal ends before the cursor.
var errAnew = errors.New("the server's journal was begun anew")

// Follow carries out the controls of the server's stream until ctx ends, through
// every loss of the connection.
func (b *Brake) Follow(ctx context.Context) error {
	next, _, err := b.o.Store.Cursor(ctx)
	if err != nil {
		return fmt.Errorf("follow the server: %w", err)
	}
	lapsed := make(chan struct{})
	go func() { defer close(lapsed); b.lapse(ctx) }()
	defer func() { <-lapsed }()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	f := &follower{b: b, next: next, kept: next, at: b.o.Now()}
	pause := retryFirst
	for ctx.Err() == nil {
		before := f.next
		err := b.read(ctx, client, f.next, func(m message) error {
			pause = retryFirst
			return f.take(ctx, m)
		})
		b.lost()
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errAnew) {
			b.o.Log.Error("server's journal is shorter than what was read of it; it is read again from its start", "cursor", before)
			f.next = 0
			if err := b.o.Store.MoveCursor(ctx, 0); err != nil {
				b.o.Log.Error("cursor is not kept", "error", err)
			}
			f.kept = 0
		}
		b.metrics.reconnects.Inc()
		b.o.Log.Warn("stream of the server ended; it is opened again", "error", err)
		t := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		pause = min(2*pause, retryMost)
	}
	f.keep(context.WithoutCancel(ctx))
	return nil
}

// take handles one message. An error ends the connection; the message comes
// again with the next one.
func (f *follower) take(ctx context.Context, m message) error {
	b, next := f.b, f.next
	if m.last {
		next = max(next, m.id+1)
	}
	switch m.name {
	case "control":
		if done, err := f.control(ctx, m.data, next); err != nil || done {
			return err
		}
	case "alert":
		f.alert(m.data)
	case "gap":
		var gap struct {
			From, To uint64
			Reason   string
		}
		if err := json.Unmarshal([]byte(m.data), &gap); err != nil {
			return fmt.Errorf("read gap: %w", err)
		}
		b.metrics.gaps.Inc()
		b.o.Log.Error("part of the server's journal cannot be read; controls in it are not carried out: compare with agentrail events --kind control", "from", gap.From, "to", gap.To, "reason", gap.Reason)
		next = max(next, gap.To)
	case "position":
		var p struct{ Next, Head uint64 }
		if err := json.Unmarshal([]byte(m.data), &p); err != nil {
			return fmt.Errorf("read position: %w", err)
		}
		if p.Head < f.next {
			return errAnew
		}
		next = max(next, p.Next)
		b.position(next, p.Head)
	}
	f.next = next
	if f.next != f.kept && b.o.Now().Sub(f.at) >= keepEach {
		f.keep(ctx)
	}
	return nil
}

// keep puts the cursor on disk. If it fails, what is read again is known.
func (f *follower) keep(ctx context.Context) {
	if f.next == f.kept {
		return
	}
	if err := f.b.o.Store.MoveCursor(ctx, f.next); err != nil {
		f.b.o.Log.Warn("cursor is not kept", "error", err)
		return
	}
	f.kept, f.at = f.next, f.b.o.Now()
}

// event is what is read of an event of the stream. The server sets the class:
// no record that is sent to an intake can be of class control.
type event struct {
	Class string `json:"class"`
	Kind  string `json:"kind"`
	Raw   string `json:"raw"`
}

// alert hands an alert on.
func (f *follower) alert(data string) {
	var ev event
	var a schemas.Alert
	if f.b.o.OnAlert == nil || json.Unmarshal([]byte(data), &ev) != nil || ev.Class != schemas.ClassAlert.String() || json.Unmarshal([]byte(ev.Raw), &a) != nil {
		f.b.o.Log.Warn("message named alert is none", "bytes", len(data))
		return
	}
	f.b.o.OnAlert(a)
}

// control carries a control out: cursor, pause and record in one transaction,
// then what is in flight. done is false if it is not for the executor.
func (f *follower) control(ctx context.Context, data string, next uint64) (done bool, err error) {
	b := f.b
	var ev event
	var c schemas.Control
	if err := json.Unmarshal([]byte(data), &ev); err != nil || ev.Class != schemas.ClassControl.String() || ev.Kind != "control" {
		b.metrics.controls.WithLabelValues("ignored").Inc()
		b.o.Log.Error("message named control is none; it is ignored", "class", ev.Class, "kind", ev.Kind)
		return false, nil
	}
	if err := json.Unmarshal([]byte(ev.Raw), &c); err != nil || c.ID == "" {
		b.metrics.controls.WithLabelValues("ignored").Inc()
		b.o.Log.Error("control cannot be read; it is ignored", "error", err)
		return false, nil
	}
	kind, act, _ := strings.Cut(c.Verb, ".")
	pause := act == "pause" || act == "panic"
	proven := b.proven(&c)
	if _, ours := verbs[kind]; !ours || !pause && act != "resume" {
		if b.o.OnControl == nil {
			return false, nil
		}
		if err := b.o.OnControl(ctx, c); err != nil {
			return false, fmt.Errorf("carry out control %s: %w", c.ID, err)
		}
		f.next = next
		f.keep(ctx)
		return true, nil
	}
	if !pause && !proven {
		return true, f.refuse(ctx, kind, c, next)
	}
	ask := state.Control{Verb: c.Verb, Target: c.Target, Reason: c.Reason, Author: c.Author, Response: c.Args["response"], At: c.At, TTL: c.TTL}
	applied, err := b.o.Store.ApplyControl(ctx, next, c.ID, ask, b.readBack(ctx, kind, pause, c))
	if applied.Paused != nil { // also where it could not be kept
		b.stop(*applied.Paused)
	}
	if err != nil {
		return false, fmt.Errorf("carry out control %s: %w", c.ID, err)
	}
	outcome := "applied"
	if applied.Known {
		outcome = "known"
	}
	b.metrics.controls.WithLabelValues(outcome).Inc()
	for _, p := range applied.Resumed {
		b.o.Log.Info("resumed", "kind", p.Kind, "target", p.Target)
	}
	f.next, f.kept, f.at = next, next, b.o.Now()
	b.o.Wake()
	return true, nil
}

// unproven stands for an author who is not proven.
const unproven = "unproven author"

// proven reports whether the author is, and takes name and roles from a control
// whose author is not.
func (b *Brake) proven(c *schemas.Control) bool {
	if b.o.Proven == nil {
		return true
	}
	err := b.o.Proven(*c)
	if err == nil {
		return true
	}
	b.metrics.controls.WithLabelValues("unproven").Inc()
	b.o.Log.Error("author of a control is not proven; see executor.server_key", "control", c.ID, "verb", c.Verb, "author", c.Author, "error", err)
	c.Reason = "in the name of " + c.Author + ": " + c.Reason
	c.Author, c.Roles = unproven, nil
	return false
}

// refuse records that something is not resumed, since nobody is proven to have
// asked for it.
func (f *follower) refuse(ctx context.Context, kind string, c schemas.Control, next uint64) error {
	b := f.b
	w, a, err := b.about(ctx, kind, c.Target, false)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return fmt.Errorf("refuse control %s: %w", c.ID, err)
	}
	w.User, w.Initiator = c.Author, trail.InitiatorAPI
	a.ID, a.At, a.Reason, a.Control = "ctl_"+c.ID, b.o.Now().UTC(), c.Reason, c.ID
	a.Status, a.Problem = trail.StatusForbidden, "author_not_proven"
	if err := b.o.Store.PutRecord(ctx, w.Act(a)); err != nil {
		return fmt.Errorf("refuse control %s: %w", c.ID, err)
	}
	f.next = next
	f.keep(ctx)
	b.o.Wake()
	return nil
}

// readBack is the record by which the server knows that the control was carried
// out, or why it was not.
func (b *Brake) readBack(ctx context.Context, kind string, pause bool, c schemas.Control) trail.Record {
	w, a, err := b.about(ctx, kind, c.Target, pause)
	now := b.o.Now().UTC()
	w.User, w.Initiator = c.Author, initiator(c.Args["response"])
	a.ID, a.At, a.Reason, a.Control, a.Response = "ctl_"+c.ID, now, c.Reason, c.ID, c.Args["response"]
	if pause && c.TTL > 0 {
		a.Until = c.At.Add(c.TTL)
	}
	switch {
	case !a.Until.IsZero() && !now.Before(a.Until):
		a.Status, a.Problem = trail.StatusConflict, "pause_expired"
	case errors.Is(err, state.ErrNotFound):
		a.Status, a.Problem = trail.StatusNotFound, "resource_not_found"
	}
	return w.Act(a)
}
