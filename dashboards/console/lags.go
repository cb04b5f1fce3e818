package console

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// lags remembers for an hour how old the oldest batch was that each sink had
// not read. The one who owns it guards it.
type lags struct{ samples []lagSample }

type lagSample struct {
	at      time.Time
	seconds map[string]float64 // by sink
}

const (
	lagBack = time.Hour
	lagStep = time.Minute
)

func (l *lags) note(at time.Time, st api.Status) {
	s := lagSample{at, map[string]float64{}}
	for _, c := range st.Consumers {
		if c.Kind == "sink" {
			s.seconds[c.Name] = c.OldestUnread
		}
	}
	if len(s.seconds) == 0 {
		return
	}
	l.samples = append(l.samples, s)
	for l.samples[0].at.Before(at.Add(-lagBack)) {
		l.samples = l.samples[1:]
	}
}

// maxLagSinks is how many lines can be told apart; those most behind are drawn.
const maxLagSinks = 6

// noLag is an age, seconds, that nobody need look at.
const noLag = 1.0

// chart draws a line for each sink: the worst of each minute. It draws nothing
// where nothing is known, and where no sink was behind, which it says.
func (l *lags) chart(now time.Time) (ch *chart, inStep bool) {
	if len(l.samples) == 0 {
		return nil, false
	}
	worst := map[string]float64{}
	for _, s := range l.samples {
		for name, v := range s.seconds {
			worst[name] = max(worst[name], v)
		}
	}
	names := make([]string, 0, len(worst))
	for name := range worst {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if worst[a] != worst[b] {
			return map[bool]int{true: -1, false: 1}[worst[a] > worst[b]]
		}
		return strings.Compare(a, b)
	})
	if worst[names[0]] < noLag {
		return nil, true
	}
	ch = newChart("chart-lag", "How far sinks are behind", "seconds", now.Add(-lagBack), now, lagStep)
	kinds := []string{"ok", "warn", "good", "bad", "other", "plain"}
	for i, name := range names[:min(len(names), maxLagSinks)] {
		s := ch.line(name, kinds[i])
		for _, x := range l.samples {
			if step := int(x.at.Sub(ch.From) / ch.Step); step >= 0 && step < ch.steps {
				ch.Series[s].Values[step] = max(ch.Series[s].Values[step], x.seconds[name])
			}
		}
	}
	ch.Words = fmt.Sprintf("age of the oldest unread batch, worst of each minute of the last hour; most: %s, %s", names[0], (time.Duration(worst[names[0]]) * time.Second).String())
	return ch, false
}
