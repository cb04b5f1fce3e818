package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/schemas"
)

// stream sends the tenant's events as server-sent events. The message id is
// the offset of the batch and stands on the last message of the batch only, so
// that a client that reconnects with Last-Event-ID gets a batch again that it
// has not read to its end: at least once, never a hole. Nothing is buffered for
// the client: while it takes nothing the reader stands still, and a client
// that takes nothing for Patience is cut off. A stream ends after maxStream;
// the client reconnects and its credential is looked at again.
func (a *api) stream(w http.ResponseWriter, r *http.Request) {
	start, want, err := a.streamQuery(r)
	if err != nil {
		refuse(w, err)
		return
	}
	if want.shows() && principal(r).Has(streamContents...) && !a.showing(w, r, "stream") {
		return
	}
	select {
	case a.streams <- struct{}{}:
		defer func() { <-a.streams }()
	default:
		problem.Write(w, problem.Details{
			Status: http.StatusServiceUnavailable, Title: "Too many streams", Code: "too_many_streams",
			Detail: fmt.Sprintf("%d streams are open, which is the most; close one", cap(a.streams)), RetryAfter: 30 * time.Second,
		})
		return
	}
	if err := a.settle(r.Context(), &start); err != nil {
		a.fail(w, r, "stream", err)
		return
	}
	reader, err := a.o.Open(r.Context(), 0, start.from)
	if err != nil {
		a.fail(w, r, "stream", fmt.Errorf("open journal: %w", err))
		return
	}
	defer reader.Close()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // reverse proxies must not hold messages back
	s := &sender{
		w: w, rc: http.NewResponseController(w), patience: a.o.Patience,
		caller: principal(r), want: want, name: a.o.Survey.AgentName, next: start.offset, head: a.o.Head,
	}
	ctx, cancel := context.WithTimeout(r.Context(), maxStream)
	defer cancel()
	if err := s.run(ctx, reader, a.o.Heartbeat); err != nil && ctx.Err() == nil {
		a.log.Warn("stream cut off", "principal", s.caller.Name, "err", err)
	}
}

// streamContents may read content from streams.
var streamContents = append([]auth.Role{auth.RoleExecutor}, contents...)

// maxStream is how long one stream lasts.
const maxStream = time.Hour

// sender writes one stream.
type sender struct {
	w        http.ResponseWriter
	rc       *http.ResponseController
	patience time.Duration
	caller   *auth.Principal
	want     selection
	name     func(tenant, agent string) string // may be nil
	next     uint64                            // offset that comes next; 0: not known
	head     func() uint64                     // of the journal

	last  uint64 // offset of the last batch that was read
	moved bool   // last was not told to the client yet
	at    uint64 // offset that comes next, as StreamPosition tells it
}

// run sends until ctx ends, the journal ends or the client stops taking.
func (s *sender) run(ctx context.Context, reader Reader, heartbeat time.Duration) error {
	start := s.begins(reader) // before the goroutine below uses it
	ctx, cancel := context.WithCancel(ctx)
	batches, failed := make(chan *schemas.Batch), make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			b, err := reader.Next(ctx)
			if err != nil {
				failed <- err
				return
			}
			select {
			case batches <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { cancel(); <-done }() // before the reader is closed
	tick := s.heartbeat
	if s.want.position > 0 {
		heartbeat, tick = s.want.position, s.position
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	if err := s.write(": agentrail stream\n" + start + "\n"); err != nil {
		return err
	}
	if s.want.position > 0 {
		if err := s.position(); err != nil {
			return err
		}
	}
	for {
		var err error
		select {
		case b := <-batches:
			err = s.batch(b)
		case <-beat.C:
			err = tick()
		case err = <-failed:
			if errors.Is(err, journal.ErrClosed) {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// begins is the id of what comes before the stream's first batch, so that a
// client that loses the connection before it got anything misses nothing.
func (s *sender) begins(reader Reader) string {
	if p, ok := reader.(interface{ Position() journal.Offset }); ok && p.Position() > 0 {
		s.at = p.Position()
		return "id: " + strconv.FormatUint(p.Position()-1, 10) + "\n"
	}
	return ""
}

// batch sends those of the batch's events that the caller may see.
func (s *sender) batch(b *schemas.Batch) error {
	if b.Gap != nil {
		s.last, s.moved, s.next, s.at = b.Gap.To-1, true, b.Gap.To, b.Gap.To
		return s.gap(b.Gap.From, b.Gap.To, b.Gap.Reason)
	}
	if s.next > 0 && b.Offset > s.next {
		if err := s.gap(s.next, b.Offset, "these batches are no longer kept"); err != nil {
			return err
		}
	}
	s.last, s.moved, s.next, s.at = b.Offset, true, b.Offset+1, b.Offset+1
	if b.Tenant != s.caller.Tenant || b.Tick() {
		return nil
	}
	var out strings.Builder
	var pending string // the last message waits for its id
	for ev := range b.Accepted() {
		if ev.Tenant != s.caller.Tenant || !s.want.takes(ev) {
			continue
		}
		out.WriteString(pending)
		doc, err := json.Marshal(s.shown(ev))
		if err != nil {
			return fmt.Errorf("encode event %s: %w", ev.ID, err)
		}
		pending = "event: " + ev.Class.String() + "\ndata: " + string(doc) + "\n\n"
	}
	if pending == "" {
		return nil
	}
	s.moved = false
	out.WriteString("id: " + strconv.FormatUint(b.Offset, 10) + "\n" + pending)
	return s.write(out.String())
}

// gap says that there are batches that the client will not get, of whatever
// tenant: a hole is never passed in silence.
func (s *sender) gap(from, to uint64, reason string) error {
	doc, err := json.Marshal(StreamGap{From: from, To: to, Reason: reason})
	if err != nil {
		return fmt.Errorf("encode gap: %w", err)
	}
	return s.write("event: gap\ndata: " + string(doc) + "\n\n")
}

// StreamGap is the data of a message named gap.
type StreamGap struct {
	From   uint64 `json:"from"` // offsets [from, to)
	To     uint64 `json:"to"`
	Reason string `json:"reason"`
}

// shown is the event with its content if the caller may read content. Alerts
// and controls are our own documents and hold no content of records.
func (s *sender) shown(ev *schemas.Event) Event {
	e := EventOf(ev)
	e.Tenant = ev.Tenant
	if ev.Denial != schemas.DenialNone {
		e.Denial = ev.Denial.String()
	}
	if ev.Autonomous != schemas.TriUnknown {
		e.Autonomous = ev.Autonomous.String()
	}
	if s.name != nil && ev.Agent != "" {
		e.AgentName = s.name(ev.Tenant, ev.Agent)
	}
	own := ev.Class == schemas.ClassAlert || ev.Class == schemas.ClassControl
	if own || s.want.content && s.caller.Has(streamContents...) {
		raw := string(ev.Raw)
		e.Raw = &raw
	}
	return e
}

// heartbeat keeps proxies from closing the connection and tells the client how
// far it is, even if nothing was for it.
func (s *sender) heartbeat() error {
	if !s.moved {
		return s.write(": heartbeat\n\n")
	}
	s.moved = false
	return s.write(": heartbeat\nid: " + strconv.FormatUint(s.last, 10) + "\n\n")
}

// StreamPosition is the data of a message named position: everything before
// Next that the client may see was sent, and Head is the offset that the next
// batch will have. Where they are the same the client misses nothing.
type StreamPosition struct {
	Next uint64 `json:"next"`
	Head uint64 `json:"head"`
}

// position is the heartbeat of streams whose clients need to know whether they
// are at the journal's end.
func (s *sender) position() error {
	doc, err := json.Marshal(StreamPosition{Next: s.at, Head: s.head()})
	if err != nil {
		return fmt.Errorf("encode position: %w", err)
	}
	id := ""
	if s.moved {
		s.moved = false
		id = "id: " + strconv.FormatUint(s.last, 10) + "\n"
	}
	return s.write(id + "event: position\ndata: " + string(doc) + "\n\n")
}

// write sends the text and makes sure that it leaves within the patience.
func (s *sender) write(text string) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(s.patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("set deadline: %w", err)
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return fmt.Errorf("client took nothing for %s: %w", s.patience, err)
	}
	if err := s.rc.Flush(); err != nil {
		return fmt.Errorf("client took nothing for %s: %w", s.patience, err)
	}
	return nil
}
