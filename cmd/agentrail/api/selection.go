package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// streamStart is the place in the journal at which a stream starts.
type streamStart struct {
	from   journal.From
	since  time.Time // set: the offset is looked up
	offset uint64    // asked for by number; 0: not
}

// selection says which events a stream has. Empty fields select everything.
type selection struct {
	classes []schemas.Class
	query   Query
	prefix  string // of Action, where it ends with *
	outcome schemas.Outcome
	content bool // records as received, if the caller may read them

	position time.Duration // how often the stream says where it is; 0: by heartbeats only
}

// shows reports whether records as received are asked for; alerts and controls
// are our own.
func (s *selection) shows() bool {
	return s.content && slices.ContainsFunc(s.classes, func(c schemas.Class) bool { return c != schemas.ClassAlert && c != schemas.ClassControl })
}

// takes reports whether the event is selected, by the rules of GET events.
func (s *selection) takes(ev *schemas.Event) bool {
	q := &s.query
	is := func(want, have string) bool { return want == "" || want == have }
	return slices.Contains(s.classes, ev.Class) &&
		(q.Actor == "" || q.Actor == ev.Actor || q.Actor == ev.ActorEmail) &&
		is(q.Agent, ev.Agent) && is(q.Tool, ev.Tool) && is(q.Subscription, ev.Subscription) && is(q.Kind, ev.Kind) && is(q.Run, ev.Run) &&
		(q.Action == "" || q.Action == ev.Action || s.prefix != "" && strings.HasPrefix(ev.Action, s.prefix)) &&
		(q.Outcome == "" || s.outcome == ev.Outcome)
}

// streamQuery reads where the stream starts and which events it has. The
// header Last-Event-ID, which browsers send, goes before the parameters from
// and since.
func (a *api) streamQuery(r *http.Request) (start streamStart, want selection, err error) {
	v, err := params(r, streamParams...)
	if err != nil {
		return start, want, err
	}
	if start, err = parseStart(v, r.Header.Get("Last-Event-ID"), a.now()); err != nil {
		return start, want, err
	}
	if !start.since.IsZero() && a.o.OffsetAt == nil {
		return start, want, badParamf("this server cannot start a stream at a time; use from")
	}
	if want, err = parseSelection(v); err != nil {
		return start, want, err
	}
	want.position, err = a.parsePosition(v.Get("position"))
	return start, want, err
}

func (a *api) parsePosition(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if a.o.Head == nil {
		return 0, badParamf("this server cannot say how far a stream is; leave out position")
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > time.Minute {
		return 0, badParamf("position is %q; write a duration from 1s to 1m, such as 2s", text)
	}
	return d, nil
}

func parseSelection(v url.Values) (want selection, err error) {
	want.query = Query{
		Actor: v.Get("actor"), Agent: v.Get("agent"), Action: v.Get("action"), Tool: v.Get("tool"),
		Subscription: v.Get("subscription"), Outcome: v.Get("outcome"), Kind: v.Get("kind"), Run: v.Get("run"),
	}
	if err := checkNames(want.query); err != nil {
		return want, err
	}
	want.outcome, _ = schemas.ParseOutcome(want.query.Outcome)
	if prefix, ok := strings.CutSuffix(want.query.Action, "*"); ok {
		if want.prefix = prefix; prefix == "" {
			want.query.Action = ""
		}
	}
	switch v.Get("content") {
	case "", "yes":
		want.content = true
	case "no":
	default:
		return want, badParamf("content is %q; write yes or no", v.Get("content"))
	}
	if v.Get("class") == "" {
		want.classes = []schemas.Class{schemas.ClassActivity, schemas.ClassAlert, schemas.ClassControl}
		return want, nil
	}
	for name := range strings.SplitSeq(v.Get("class"), ",") {
		c, ok := schemas.ParseClass(name)
		if !ok {
			return want, badParamf("class is %q; known: %s", name, strings.Join(classNames(), ", "))
		}
		want.classes = append(want.classes, c)
	}
	return want, nil
}

func parseStart(v url.Values, last string, now time.Time) (start streamStart, err error) {
	if last != "" {
		n, err := strconv.ParseUint(last, 10, 63)
		if err != nil {
			return start, badParamf("Last-Event-ID is %q; it must be an id of this stream", last)
		}
		return streamStart{from: journal.FromOffset(n + 1), offset: n + 1}, nil
	}
	if start.since, err = parseTime(v, "since", now); err != nil {
		return start, err
	}
	switch from := v.Get("from"); {
	case from != "" && !start.since.IsZero():
		return start, badParamf("both from and since are given; give one")
	case from == "", from == "now":
		start.from = journal.FromNow()
	case from == "start":
		start.from = journal.FromStart()
	default:
		n, err := strconv.ParseUint(from, 10, 63)
		if err != nil {
			return start, badParamf("from is %q; write now, start or an offset", from)
		}
		start.from, start.offset = journal.FromOffset(n), n
	}
	return start, nil
}

// settle looks up the offset of a stream that starts at a time.
func (a *api) settle(ctx context.Context, start *streamStart) error {
	if start.since.IsZero() {
		return nil
	}
	n, err := a.o.OffsetAt(ctx, start.since)
	if err != nil {
		return fmt.Errorf("look up time in journal: %w", err)
	}
	start.from = journal.FromOffset(n)
	return nil
}
