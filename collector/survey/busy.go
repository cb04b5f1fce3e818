package survey

import (
	"cmp"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// Bounds of the counts of busy keys.
const (
	maxBusy    = 64   // keys of a dimension in ten seconds
	maxUsual   = 1024 // keys of a dimension whose usual rate is kept
	perBatch   = 16   // events of a batch that are looked at; the others are taken to be like them
	usualAfter = 10   // minutes until a usual rate is told
	usualRate  = 0.05 // weight of a new minute in the usual rate
)

// Dimensions of busy keys.
const (
	byAgent = iota
	byActor
	byTool
	dimensions
)

// busy counts a tenant's live events per agent, actor and tool by the time of
// their receipt.
type busy struct {
	slots   [ring]busySlot
	usual   [dimensions]map[string]float64 // per minute
	minutes int                            // that usual has seen
	minute  int64                          // that is running
}

type busySlot struct {
	at     int64
	counts [dimensions]map[string]uint64
}

func (s *Survey) busyOf(tenant string) *busy {
	b := s.busy[tenant]
	if b == nil {
		b = &busy{}
		s.busy[strings.Clone(tenant)] = b
	}
	return b
}

// take counts the batch. Of a large batch every n-th event is counted n times.
func (b *busy) take(batch *schemas.Batch) {
	n := len(batch.Events)
	if n == 0 {
		return
	}
	b.turn(batch.Received / (6 * slotLength))
	at := batch.Received / slotLength
	slot := &b.slots[at%ring]
	if slot.at != at {
		*slot = busySlot{at: at}
	}
	stride := (n + perBatch - 1) / perBatch
	for i := 0; i < n; i += stride {
		ev := &batch.Events[i]
		if !ev.Accepted() || ev.Kind == schemas.KindSpan { // the call of a span has a record of its own
			continue
		}
		keys := [dimensions]string{ev.Agent, ev.ActorEmail, ev.Tool}
		if keys[byActor] == "" {
			keys[byActor] = ev.Actor
		}
		for d, key := range keys {
			if key != "" && len(key) <= maxName {
				count(&slot.counts[d], key, uint64(min(stride, n-i)))
			}
		}
	}
}

// count adds to the key. A key that finds no room takes that of the least busy.
func count(m *map[string]uint64, key string, n uint64) {
	if *m == nil {
		*m = map[string]uint64{}
	}
	if have, ok := (*m)[key]; ok {
		(*m)[key] = have + n
		return
	}
	if len(*m) >= maxBusy {
		least, least1 := uint64(1<<63), ""
		for k, v := range *m {
			if v < least {
				least, least1 = v, k
			}
		}
		delete(*m, least1)
		n += least
	}
	(*m)[strings.Clone(key)] = n
}

// turn closes the minute that is over, if one is: keys that were not seen in it
// fade.
func (b *busy) turn(minute int64) {
	if minute <= b.minute {
		return
	}
	if b.minute > 0 {
		b.minutes++
		for d, sum := range b.sum(6*b.minute + 5) {
			b.learn(d, sum)
		}
	}
	b.minute = minute
}

func (b *busy) learn(d int, sum map[string]uint64) {
	if b.usual[d] == nil {
		b.usual[d] = map[string]float64{}
	}
	u := b.usual[d]
	weight := max(usualRate, 1/float64(b.minutes))
	for k, v := range u {
		if v *= 1 - weight; v < 0.01 {
			delete(u, k)
		} else {
			u[k] = v
		}
	}
	for k, n := range sum {
		if _, ok := u[k]; ok || len(u) < maxUsual {
			u[k] += weight * float64(n)
		}
	}
}

// Busiest are the busiest keys of a minute.
type Busiest struct {
	Agents []Key `json:"agents"`
	Actors []Key `json:"actors"`
	Tools  []Key `json:"tools"`
}

// Key is one busy agent, actor or tool.
type Key struct {
	Key       string   `json:"key"`
	Name      string   `json:"name,omitempty"`
	PerMinute uint64   `json:"per_minute"`
	Usual     *float64 `json:"usual_per_minute,omitempty"` // of minutes with traffic; missing: not known yet
}

func (b *busy) report(now int64, most int) Busiest {
	sum := b.sum(now / slotLength)
	var lists [dimensions][]Key
	for d := range dimensions {
		lists[d] = b.rank(sum[d], d, most)
	}
	return Busiest{Agents: lists[byAgent], Actors: lists[byActor], Tools: lists[byTool]}
}

// sum adds up the minute that ends with that slot.
func (b *busy) sum(newest int64) (sum [dimensions]map[string]uint64) {
	for d := range dimensions {
		sum[d] = map[string]uint64{}
		for i := range b.slots {
			if at := b.slots[i].at; at > newest-6 && at <= newest {
				for k, n := range b.slots[i].counts[d] {
					sum[d][k] += n
				}
			}
		}
	}
	return sum
}

func (b *busy) rank(sum map[string]uint64, d, most int) []Key {
	var out []Key
	for k, n := range sum {
		key := Key{Key: k, PerMinute: n}
		if u, ok := b.usual[d][k]; ok && b.minutes >= usualAfter {
			key.Usual = &u
		}
		out = append(out, key)
	}
	slices.SortFunc(out, func(a, b Key) int {
		return cmp.Or(cmp.Compare(b.PerMinute, a.PerMinute), strings.Compare(a.Key, b.Key))
	})
	return out[:min(len(out), most)]
}
