package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/survey"
)

// examineSource judges what one source delivered.
func examineSource(r *api.SourceReport, now time.Time, server string) []finding {
	about := "source " + r.Name
	s := r.Delivered
	if s == nil || s.Events+s.Duplicates+s.Rejected == 0 {
		return []finding{neverDelivered(r, about, server)}
	}
	e := &examined{about: about, s: s, name: r.Name}
	e.delivery(r, now)
	e.clock()
	e.refused()
	e.understood()
	e.derived()
	return e.out
}

func neverDelivered(r *api.SourceReport, about, server string) finding {
	if r.Path == "" {
		return finding{levelWarn, about, "nothing has come yet", "look at its path in the config, and at the server's log"}
	}
	return finding{
		levelWarn, about, "nothing has come yet",
		`send a record: curl -H "Authorization: Bearer $(cat TOKEN)" -H "Content-Type: application/x-ndjson" --data-binary @records.ndjson ` + server + r.Path,
	}
}

// examined collects what is found about one source.
type examined struct {
	about, name string
	s           *survey.Source
	out         []finding
}

func (e *examined) add(level, text, next string) {
	e.out = append(e.out, finding{level, e.about, text, next})
}

// share returns n of all events, and how to write it.
func (e *examined) share(n uint64) (float64, string) {
	part := float64(n) / float64(max(e.s.Events, 1))
	if part > 0 && part < 0.001 {
		return part, "less than 0.1 %"
	}
	return part, fmt.Sprintf("%.3g %%", 100*part)
}

// delivery tells when something came last and whether that is long ago.
func (e *examined) delivery(r *api.SourceReport, now time.Time) {
	s := e.s
	silent := now.Sub(s.Last)
	limit := max(5*time.Minute, time.Duration(3*s.LongestGap*float64(time.Second)))
	had := fmt.Sprintf("%d events, the last %s ago", s.Events, ago(silent))
	switch {
	case !r.Configured:
		e.add(levelNote, had+"; it is no longer in the config", "")
	case s.Backfill == s.Events && s.Events > 0:
		e.add(levelNote, had+", all of them history: alerts on it are shown, never notified", "")
	case s.Batches < 3 && silent > time.Hour:
		e.add(levelNote, fmt.Sprintf("%s, in %d %s: too few to know what is usual", had, s.Batches, plural(int(s.Batches), "delivery", "deliveries")), "if it should come by itself, look at the sender")
	case silent > limit:
		e.add(levelWarn, fmt.Sprintf("silent for %s; deliveries are usually %s apart, of late at most %s", ago(silent), seconds(s.UsualGap), seconds(s.LongestGap)),
			"look at the sender, its token and its network; agentrail dlq ls --consumer "+e.name+" shows what could not be read")
	default:
		e.add(levelOK, fmt.Sprintf("%s; %d in its last minute, deliveries usually %s apart", had, s.PerMinute, seconds(s.UsualGap)), "")
	}
	if part := float64(s.Duplicates) / float64(s.Events+s.Duplicates); part > 0.05 {
		e.add(levelNote, fmt.Sprintf("%d records came again (%.3g %% of all); each is counted once", s.Duplicates, 100*part), "")
	}
}

func seconds(s float64) string { return ago(time.Duration(s * float64(time.Second))) }

// clock compares the time of events with that of their receipt.
func (e *examined) clock() {
	s := e.s
	if part, text := e.share(s.TimeMissing); part > 0.01 {
		e.add(levelWarn, text+" of the events have no usable time; that of receipt is taken", "name where the time stands: fields.time in the mapping")
	} else if s.TimeMissing > 0 {
		e.add(levelNote, text+" of the events have no usable time", "")
	}
	if part, text := e.share(s.Early); part > 0.01 && s.EarlyMost > 30 {
		e.add(levelWarn, fmt.Sprintf("%s of the events are dated after their receipt, by up to %s", text, seconds(s.EarlyMost)), "set the clock of the sender or of this machine (NTP), or unit: and zone of fields.time")
	}
	switch {
	case s.Late50 > 900:
		e.add(levelWarn, fmt.Sprintf("half of the events come later than %s after they happened: alerts on them are notified as stale and not acted on", seconds(s.Late50/2)), "let the sender deliver sooner, or mark history as backfill")
	case s.Late90 > 600:
		e.add(levelNote, fmt.Sprintf("one event in ten comes later than %s after it happened", seconds(s.Late90/2)), "")
	}
}

// refused tells of records that could not be read.
func (e *examined) refused() {
	if e.s.Rejected == 0 && len(e.s.Codes) == 0 {
		return
	}
	var codes strings.Builder
	var sum uint64
	for i, c := range e.s.Codes {
		sum += c.Count
		if i < 5 {
			fmt.Fprintf(&codes, ", %d %s", c.Count, c.Name)
		}
	}
	n := max(e.s.Rejected, sum)
	e.add(levelWarn, fmt.Sprintf("%d %s could not be read%s", n, plural(int(n), "record", "records"), codes.String()), "agentrail dlq ls --consumer "+e.name)
}

// understood tells of kinds, endpoints and fields that the mapping does not
// know.
func (e *examined) understood() {
	e.strange(e.s.Kinds, "record type", "record types", "kind.known")
	e.strange(e.s.Endpoints, "endpoint", "endpoints", "endpoints.known")
	if n := len(e.s.Fields); n > 0 {
		useful := 0
		var names strings.Builder
		for _, f := range e.s.Fields {
			field := fieldOf(f.Name)
			if field == "" {
				continue
			}
			if useful++; useful <= 3 {
				fmt.Fprintf(&names, ", %s (%s?)", f.Name, field)
			}
		}
		text := fmt.Sprintf("%d fields in %d sampled records are taken by no line of the mapping", n, e.s.Sampled)
		if useful == 0 {
			e.add(levelNote, text+", such as "+e.s.Fields[0].Name, "nothing to do, unless one of them says who, what or how it ended; agentrail doctor -o json lists all")
			return
		}
		e.add(levelNote, fmt.Sprintf("%s; %d of them may matter: %s", text, useful, names.String()[2:]), "add the lines below to the mapping; agentrail doctor -o json lists all")
	}
}

func (e *examined) strange(list []survey.Strange, one, many, section string) {
	if len(list) == 0 {
		return
	}
	var sum uint64
	for _, x := range list {
		sum += x.Count - x.Over
	}
	level := levelNote
	part, share := e.share(sum)
	if part > 0.05 {
		level = levelWarn
	}
	first := list[0]
	e.add(level, fmt.Sprintf("%d unknown %s in %s of the events; most often %s, %d %s, first %s, last %s",
		len(list), plural(len(list), one, many), share, terse(" ", first.Method, first.Name), first.Count, plural(int(first.Count), "time", "times"), first.First.Format(time.DateTime), first.Last.Format(time.DateTime)),
		"add the lines of "+section+" below to the mapping; an example: agentrail events show "+first.Example)
}

// derived tells what is not known of many events, and what that blinds.
func (e *examined) derived() {
	f := func(n uint64, what, blinds, field string) {
		part, text := e.share(n)
		level := levelNote
		switch {
		case part < 0.2:
			return
		case part > 0.9 && field != "fields.initiator":
			level = levelWarn
		}
		e.add(level, fmt.Sprintf("%s of the events %s: %s", text, what, blinds), "name where it stands: "+field+" in the mapping "+e.s.Mapping)
	}
	f(e.s.NoActor, "do not say who acted", "changes cannot be told from the owner's, and nobody's usual is learned", "fields.actor or fields.actor_email")
	f(e.s.NoAgent, "name no agent", "bursts are seen by actor and tool only", "fields.agent")
	f(e.s.NoInitiator, "do not say what started them", "they count as background unless the run's own record says otherwise", "fields.initiator")
	f(e.s.NoOutcome, "do not say how they ended", "denials are not seen", "outcome.text, outcome.code or fields.status")
	if e.s.Nameless*5 > e.s.SampledAgents {
		e.add(levelNote, fmt.Sprintf("%d of %d sampled events name an agent by its id only: alerts show that id", e.s.Nameless, e.s.SampledAgents),
			"send the inventory (product snapshots), or name where it stands: fields.name in the mapping "+e.s.Mapping)
	}
	f(e.s.NoAction, "do not say what was done", "tool calls and changes of subscriptions are not recognised", "fields.endpoint or kind")
}
