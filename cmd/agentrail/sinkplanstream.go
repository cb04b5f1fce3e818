package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
)

// planStream shows plans the events of a server, from its stream, up to where
// the journal ended when the stream began.
type planStream struct {
	tap   tap // how the stream is asked for, and taken up again
	plans []*sinks.Plan

	end    uint64        // offset behind the last batch to look at
	batch  schemas.Batch // what has come of a batch that is not whole yet
	said   time.Time
	hidden int // events whose record the token may not read
}

// errPlanned ends a stream that has come to its end.
var errPlanned = errors.New("all was looked at")

func (s *planStream) run(ctx context.Context) error {
	s.said = s.tap.c.now()
	body, err := s.tap.connect(ctx)
	for err == nil {
		err = s.read(body)
		body.Close()
		broken, lost := errors.AsType[*connectionError](err)
		if !lost || ctx.Err() != nil {
			break
		}
		s.batch = schemas.Batch{} // it comes again
		fmt.Fprintf(s.tap.c.err, "connection lost%s: %s; trying again\n", s.tap.after(), clean(broken.Error()))
		body, err = s.tap.reconnect(ctx)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !errors.Is(err, errPlanned) {
		return err
	}
	if s.hidden > 0 {
		fmt.Fprintf(s.tap.c.err, "the token may not read content: the records of %d events are missing in the sizes of sinks with content: true, and filters on record[...] see none\n", s.hidden)
	}
	for _, p := range s.plans {
		p.Finish()
	}
	return nil
}

// read takes one connection. A batch counts when its id has come: then it is
// whole.
func (s *planStream) read(body io.Reader) error {
	err := readMessages(body, s.message, func(id string) {
		s.tap.last = id
		s.flush()
	})
	return err
}

func (s *planStream) message(m sseMessage) error {
	wrong := func(err error) error {
		return hintf("is --server really an Agentrail server, of the same version?", "read event of stream: %w", err)
	}
	switch m.event {
	case "gap":
		return s.tap.gap(m.data)
	case "position":
		var at api.StreamPosition
		if err := json.Unmarshal([]byte(m.data), &at); err != nil {
			return wrong(err)
		}
		if s.end == 0 {
			s.end = at.Head
		}
		if at.Next >= s.end {
			s.flush()
			return errPlanned
		}
		return nil
	}
	var e api.Event
	if err := json.Unmarshal([]byte(m.data), &e); err != nil {
		return wrong(err)
	}
	if s.end > 0 && e.Offset >= s.end {
		return errPlanned
	}
	ev, err := eventOf(&e)
	if err != nil {
		return wrong(err)
	}
	if e.Raw == nil {
		s.hidden++
	}
	if len(s.batch.Events) > 0 && s.batch.Offset != e.Offset {
		s.flush()
	}
	s.batch.Header = schemas.Header{Tenant: e.Tenant, Source: e.Source, Class: ev.Class, Shard: e.Shard, Offset: e.Offset, Received: ev.Received}
	s.batch.Events = append(s.batch.Events, ev)
	return nil
}

// flush shows the batch to the plans.
func (s *planStream) flush() {
	if len(s.batch.Events) == 0 {
		return
	}
	for _, p := range s.plans {
		p.Add(&s.batch)
	}
	if now := s.tap.c.now(); now.Sub(s.said) > 2*time.Second {
		s.said = now
		fmt.Fprintf(s.tap.c.err, "batch %d of %s, %d events looked at\n", s.batch.Offset, time.Unix(0, s.batch.Received).UTC().Format(time.RFC3339), s.plans[0].Looked)
	}
	s.batch = schemas.Batch{}
}

// eventOf is the event that the API showed.
func eventOf(e *api.Event) (schemas.Event, error) {
	ev := schemas.Event{
		Time: e.Time.UnixNano(), Received: e.Received.UnixNano(), Shard: e.Shard, Offset: e.Offset, Index: e.Index, Tenant: e.Tenant, Kind: e.Kind, Source: e.Source,
		Actor: e.Actor, ActorEmail: e.ActorEmail, ActorType: e.ActorType, Department: e.Department, Agent: e.Agent, Name: e.Name, Owner: e.Owner,
		Subscription: e.Subscription, Run: e.Run, Session: e.Session, Trace: e.Trace, Span: e.Span, Action: e.Action, Endpoint: e.Endpoint, Method: e.Method,
		Tool: e.Tool, Target: e.Target, OutcomeText: e.OutcomeText, Reason: e.Reason, Status: e.Status, Duration: e.DurationNS, IP: e.IP, UserAgent: e.UserAgent,
		SourceID: e.SourceID, SourceAction: e.SourceAction, Flags: flagsOf(e.Flags),
	}
	id, errID := hex.DecodeString(e.ID)
	digest, errDigest := hex.DecodeString(e.Digest)
	if err := errors.Join(errID, errDigest); err != nil || copy(ev.ID[:], id) != len(ev.ID) || copy(ev.Digest[:], digest) != len(ev.Digest) {
		return ev, fmt.Errorf("event %.40q has no id or digest", e.ID)
	}
	var ok [4]bool
	ev.Class, ok[0] = schemas.ParseClass(e.Class)
	ev.Initiator, ok[1] = schemas.ParseInitiator(e.Initiator)
	ev.Access, ok[2] = schemas.ParseAccess(e.Access)
	ev.Outcome, ok[3] = schemas.ParseOutcome(e.Outcome)
	if slices.Contains(ok[:], false) {
		return ev, fmt.Errorf("event %s has a class, initiator, access or outcome that is not known here", e.ID)
	}
	ev.Denial, _ = schemas.ParseDenial(e.Denial) // nothing: none
	switch e.Autonomous {
	case schemas.TriYes.String():
		ev.Autonomous = schemas.TriYes
	case schemas.TriNo.String():
		ev.Autonomous = schemas.TriNo
	}
	if e.Raw != nil {
		ev.Raw = []byte(*e.Raw)
		ev.RawText = !json.Valid(ev.Raw)
	}
	return ev, nil
}

func flagsOf(names []string) (f schemas.Flags) {
	for bit := schemas.Flags(1); bit != 0; bit <<= 1 {
		if n := bit.Names(); len(n) == 1 && slices.Contains(names, n[0]) {
			f |= bit
		}
	}
	return f
}
