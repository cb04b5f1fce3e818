// Package survey is the cursor that knows what arrives: for each tenant and
// source when, how much and how late, what the mapping did not understand, and
// who is busiest at the moment. It answers "is it wired right?" before anybody
// waits in vain for an alert. It holds names of fields, kinds, endpoints,
// agents, actors and tools, never the content of a record.
package survey

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Name of the survey's cursor.
const Name = "survey"

// Bounds of what is remembered.
const (
	maxSources   = 1000 // tenants times sources
	maxStrange   = 100  // kinds, endpoints and field paths of a source, each
	maxName      = 160  // bytes of a name that is kept
	maxCodes     = 50   // reasons of rejection of a source
	maxNames     = 20_000
	sampleFirst  = 32  // records of a source that are all looked at for unmapped fields
	sampleEvery  = 256 // then one of so many
	sampleOfCall = 8   // at most so many of one Consume call
	samplePerSec = 32  // and of one second of the journal
)

// Options of a Survey.
type Options struct {
	// Unmapped yields the paths of a record that the mapping of that digest
	// does not want, as decode.Set.Unmapped. Nil: fields are not surveyed.
	Unmapped func(mapping schemas.Digest, record []byte, yield func(path string))
	// NameOf returns the name of a mapping, as decode.Set.NameOf. May be nil.
	NameOf func(mapping schemas.Digest) string
}

// Survey is a journal.Consumer and a journal.State. Consume is called by one
// goroutine; all else is safe beside it.
type Survey struct {
	o Options

	mu      sync.Mutex
	sources map[sourceKey]*source
	untold  uint64 // batches of sources beyond maxSources
	names   map[agentKey]string
	busy    map[string]*busy // by tenant; not in the snapshot: it is of this minute

	second, sampled int64 // of the journal, and records that were sampled in it
}

type sourceKey struct{ tenant, source string }

type agentKey struct{ tenant, agent string }

// New returns an empty survey.
func New(o Options) *Survey {
	s := &Survey{o: o}
	s.reset()
	return s
}

func (s *Survey) reset() {
	s.sources, s.names, s.untold = map[sourceKey]*source{}, map[agentKey]string{}, 0
	s.busy = map[string]*busy{}
}

// Consume counts the batches in. It never fails: what cannot be understood is
// what it counts.
func (s *Survey) Consume(_ context.Context, batches []*schemas.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.allowance(batches)
	for _, b := range batches {
		switch {
		case b.Gap != nil || b.Tick():
		case b.Class == schemas.ClassActivity:
			if src := s.source(b.Tenant, b.Source); src != nil {
				n := s.activity(src, b, left)
				left, s.sampled = left-n, s.sampled+int64(n)
			}
		case b.Class == schemas.ClassHealth:
			s.health(b)
		}
	}
	return nil
}

// allowance returns how many records this call may sample: a look at a record
// costs as much as storing it.
func (s *Survey) allowance(batches []*schemas.Batch) int {
	for _, b := range batches {
		if now := b.Received / int64(time.Second); now > s.second {
			s.second, s.sampled = now, 0
		}
	}
	return int(min(sampleOfCall, samplePerSec-s.sampled))
}

// source returns the entry, made if there is room, or nil.
func (s *Survey) source(tenant, name string) *source {
	if src := s.sources[sourceKey{tenant, name}]; src != nil {
		return src
	}
	if len(s.sources) >= maxSources {
		s.untold++
		return nil
	}
	src := newSource()
	s.sources[sourceKey{strings.Clone(tenant), strings.Clone(name)}] = src
	return src
}

// activity counts one batch in and returns how many records it sampled.
func (s *Survey) activity(src *source, b *schemas.Batch, left int) (sampled int) {
	src.batch(b, s.o.NameOf)
	live := b.Live()
	for i := range b.Events {
		ev := &b.Events[i]
		if !src.count(ev, live) {
			continue
		}
		if ev.Name != "" && ev.Agent != "" {
			s.name(ev)
		}
		if src.due() && sampled < left && s.o.Unmapped != nil && ev.Flags&schemas.FlagSealed == 0 {
			sampled++
			src.sample(b, ev, s.o.Unmapped)
			if ev.Agent != "" {
				src.Agents++
				src.Nameless += one(s.names[agentKey{ev.Tenant, ev.Agent}] == "")
			}
		}
	}
	if live {
		s.busyOf(b.Tenant).take(b)
	}
	return sampled
}

// name learns what an agent is called.
func (s *Survey) name(ev *schemas.Event) {
	k := agentKey{ev.Tenant, ev.Agent}
	if s.names[k] == ev.Name || len(ev.Name) > maxName || len(ev.Agent) > maxName {
		return
	}
	if _, known := s.names[k]; !known && len(s.names) >= maxNames {
		return
	}
	s.names[agentKey{strings.Clone(k.tenant), strings.Clone(k.agent)}] = strings.Clone(ev.Name)
}

// AgentName returns what the agent was last called, or "".
func (s *Survey) AgentName(tenant, agent string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[agentKey{tenant, agent}]
}

// health counts dead letters of sources by their code.
func (s *Survey) health(b *schemas.Batch) {
	for i := range b.Events {
		ev := &b.Events[i]
		if ev.Kind != "dead_letter" || !ev.Accepted() {
			continue
		}
		consumer, _ := ev.Lookup("consumer")
		code, _ := ev.Lookup("code")
		// Letters of sinks are not about what arrives: their sinks are no sources.
		if src := s.sources[sourceKey{ev.Tenant, consumer.Str}]; src != nil {
			src.Codes.add(code.Str, short, ev)
		}
	}
}

// Sources returns what is known of the tenant's sources, in the order of their
// names.
func (s *Survey) Sources(tenant string) []Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Source
	for k, src := range s.sources {
		if k.tenant == tenant {
			out = append(out, src.report(k.source))
		}
	}
	sortByName(out)
	return out
}

// Busiest returns the tenant's busiest agents, actors and tools of the minute
// before now, at most n of each.
func (s *Survey) Busiest(tenant string, now time.Time, n int) Busiest {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.busy[tenant]
	if b == nil {
		return Busiest{}
	}
	out := b.report(now.UnixNano(), n)
	for i := range out.Agents {
		out.Agents[i].Name = s.names[agentKey{tenant, out.Agents[i].Key}]
	}
	return out
}
