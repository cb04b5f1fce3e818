package detectors

import (
	"fmt"
	"math"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// rhythm is when a source sends. All its times but at are awake time: that of
// the journal less what the server was down.
type rhythm struct {
	first, last int64
	longest     int64   // silence of the last weeks
	worst       float64 // most surprising silence of the last weeks
	counted     int64   // minute up to which shares were learned
	busy        bool    // something came in that minute
	week        [168]share16
	told        int64  // silence at the last raise; 0 while it sends
	why         string // it was told

	// The newest record of a busy minute, as evidence.
	shard  uint16
	offset uint64
	index  uint32
	id     schemas.ID
	at     int64
}

// share16 is the share of minutes of an hour of the week in which something
// came, in 1/65535, and how many minutes it was learned from, as far as that
// decides what the next one weighs.
type share16 struct {
	share uint16
	seen  uint8
}

const (
	weekHours      = 168
	rhythmMinutes  = 120  // that count of an hour of the week: two weeks of it
	rhythmMost     = 0.98 // share that no source is believed to be above
	weekLong       = int64(7 * 24 * time.Hour)
	longestFade    = 0.999 // of the longest silence, an hour
	mostCountedGap = 8 * 24 * 60
	mostSeldom     = 1000.0 // beyond it nothing is more seldom
)

// hourOfWeek is the hour of the week at that awake minute, in the tenant's zone.
func (s *silence) hourOfWeek(tenant string, minute int64) int {
	t := time.Unix((minute*int64(time.Minute)+s.slept)/int64(time.Second), 0).In(s.deps.Zone(tenant))
	return int(t.Weekday())*24 + t.Hour()
}

// learn learns from the minutes before the one that runs.
func (s *silence) learn(x *entry[thing, rhythm], minute int64) {
	r := &x.val
	if r.told != 0 { // what was told teaches nothing
		r.counted, r.busy = minute, false
	}
	r.counted = max(r.counted, minute-mostCountedGap)
	for ; r.counted < minute; r.counted++ {
		h := &r.week[s.hourOfWeek(x.key.tenant, r.counted)]
		is := 0.0
		if r.busy {
			is = 1
		}
		h.seen = min(h.seen+1, rhythmMinutes)
		v := float64(h.share) / math.MaxUint16
		v += (is - v) / float64(h.seen) // at first the mean: a source may send in the first minute of each hour
		h.share = uint16(math.Round(v * math.MaxUint16))
		r.busy = false
		if r.counted%60 == 0 {
			r.longest = int64(float64(r.longest) * longestFade)
			r.worst *= longestFade
		}
	}
}

// end learns from the silence that ends, unless it was told.
func (s *silence) end(x *entry[thing, rhythm], at int64) {
	r := &x.val
	if age := at - r.last; r.told == 0 && age > 0 {
		r.longest = max(r.longest, age)
		if age >= 2*int64(time.Minute) {
			seldom, _ := s.surprise(x, at)
			r.worst = max(r.worst, seldom)
		}
	}
}

// surprise is how seldom, as a natural logarithm, the source is silent since its
// last record until then, and in how many of these minutes it usually sends.
func (s *silence) surprise(x *entry[thing, rhythm], now int64) (seldom, busy float64) {
	from, to := floorDiv(x.val.last, int64(time.Minute))+1, floorDiv(now, int64(time.Minute))
	for m := max(from, to-mostCountedGap); m < to && seldom < mostSeldom; m++ {
		p := min(float64(x.val.week[s.hourOfWeek(x.key.tenant, m)].share)/math.MaxUint16, rhythmMost)
		seldom -= math.Log(1 - p)
		busy += p
	}
	return seldom, busy
}

func (r *rhythm) learned(now int64) bool { return now-r.first >= weekLong }

// look decides whether the source is silent for too long.
func (s *silence) look(x *entry[thing, rhythm], at int64, raise func(schemas.Alert)) {
	r := &x.val
	now := s.awake(at)
	age := now - r.last
	if age < int64(s.cfg.Least) {
		return
	}
	if r.told != 0 {
		if age-r.told >= silenceReminder {
			r.told = age
			s.tell(x, at, age, transitionFold, raise)
		}
		return
	}
	var why string
	if r.learned(now) {
		if seldom, busy := s.surprise(x, now); seldom >= max(silenceTelling, silenceMargin*r.worst) {
			why = fmt.Sprintf("at these hours of the week it usually sends in %.0f or more of so many minutes", max(busy, 1))
		} else if age >= silenceTimes*max(r.longest, int64(s.cfg.Least)) {
			why = "it was never silent for so long in the last weeks; the longest was " + short(time.Duration(r.longest).Round(time.Second))
		}
	} else if age >= int64(s.cfg.Limit) {
		why = "a week of it is not known yet, so the fixed limit of " + short(time.Duration(s.cfg.Limit)) + " holds"
	}
	if why == "" {
		return
	}
	r.told, r.why = age, why
	s.tell(x, at, age, "", raise)
}

// tell raises the alert, or keeps it open.
func (s *silence) tell(x *entry[thing, rhythm], at, age int64, t schemas.Transition, raise func(schemas.Alert)) {
	r := &x.val
	evidence := []schemas.Evidence{{ID: r.id.String(), Shard: r.shard, Offset: r.offset, Index: r.index, Time: unix(r.at)}}
	a := s.alert(x.key.tenant, RuleSilenceSource, "A source has stopped", schemas.SeverityHigh, "source", x.key.id, evidence, at)
	a.FirstSeen = unix(at - age)
	a.Count, a.Transition, a.Observed = 1, t, time.Duration(age).Minutes()
	longest := time.Duration(r.longest).Minutes()
	if r.learned(s.awake(at)) {
		a.Usual = &longest
	} else {
		a.Confidence = "low"
		a.Unseen = append(a.Unseen, "a whole week of this source")
	}
	a.Reason = fmt.Sprintf("Source %s has sent nothing for %s; %s.", x.key.id, short(time.Duration(age).Round(time.Second)), r.why)
	a.Why = append(a.Why, "by the times at which the journal took its records; the time while the server was down does not count", "evidence: its last record")
	a.Unseen = append(a.Unseen, "whether nothing happened or nothing was sent")
	a.Next = []string{"agentrail doctor", "agentrail tap --since 1h"}
	raise(a)
}

// Learning tells of sources of which no whole week is known.
func (s *silence) Learning(now int64) Learning {
	l := Learning{Keys: s.sources.len(), Needs: "a week of the source"}
	var first int64
	s.sources.oldest(func(x *entry[thing, rhythm]) {
		if left := weekLong - (s.awake(now) - x.val.first); left > 0 {
			l.Learning++
			if at := now + left; first == 0 || at < first {
				first = at
			}
		}
	})
	if l.Learning > 0 {
		l.Ready = unix(first)
	}
	return l
}

const silenceVersion = 2

// Save writes what the detector remembers.
func (s *silence) Save(e *Encoder) {
	e.Uint(silenceVersion)
	e.Int(s.now)
	e.Int(s.slept)
	e.Int(s.slot)
	saveTable(e, s.sources, func(e *Encoder, x *entry[thing, rhythm]) {
		saveThing(e, x.key)
		r := &x.val
		for _, v := range [...]int64{r.first, r.last, r.longest, r.counted, r.told, r.at} {
			e.Int(v)
		}
		e.Float(r.worst)
		e.Str(r.why)
		e.Bool(r.busy)
		for _, h := range r.week {
			e.Uint(uint64(h.share))
			e.Uint(uint64(h.seen))
		}
		e.Uint(uint64(r.shard))
		e.Uint(r.offset)
		e.Uint(uint64(r.index))
		e.Str(string(r.id[:]))
	})
	saveTable(e, s.sinks, func(e *Encoder, x *entry[thing, stopped]) {
		saveThing(e, x.key)
		e.Int(x.val.since)
		e.Int(x.val.told)
		e.JSON(x.val.alert)
	})
}

// Load reads what Save wrote.
func (s *silence) Load(d *Decoder) error {
	if v := d.Uint(); d.err == nil && v != silenceVersion {
		return errVersion(v, silenceVersion)
	}
	s.now, s.slept, s.slot = d.Int(), d.Int(), d.Int()
	loadTable(d, s.sources, loadThing, func(d *Decoder, x *entry[thing, rhythm]) {
		r := &x.val
		for _, v := range [...]*int64{&r.first, &r.last, &r.longest, &r.counted, &r.told, &r.at} {
			*v = d.Int()
		}
		r.worst, r.why = d.Float(), d.Str()
		r.busy = d.Bool()
		for i := range r.week {
			r.week[i] = share16{uint16(d.Uint()), uint8(min(d.Uint(), rhythmMinutes))}
		}
		r.shard, r.offset, r.index = uint16(d.Uint()), d.Uint(), uint32(d.Uint())
		copy(r.id[:], d.Str())
	})
	loadTable(d, s.sinks, loadThing, func(d *Decoder, x *entry[thing, stopped]) {
		x.val.since, x.val.told = d.Int(), d.Int()
		d.JSON(&x.val.alert)
	})
	return d.err
}
