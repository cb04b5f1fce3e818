package detectors

import (
	"math"
	"time"
)

// usual is what is known about how busy a key is: a winsorised moving average
// of its fullest windows with the mean deviation, and the highest window of the
// days before today. Only stretches with at least one event count, so that an
// agent that runs once an hour is judged by its runs and not by its rest.
type usual struct {
	band
	peak
	top uint32 // fullest window of the running stretch
}

const (
	slowest   = 0.02 // least weight of a new stretch in the average
	dayLength = int64(24 * time.Hour)
)

// learn takes in the running stretch, which is over. What lies above limit,
// which raised an alert, counts as limit.
func (u *usual) learn(at int64, limit float64) {
	u.turn(at)
	x := min(float64(u.top), limit)
	u.note(x)
	if u.n > 0 {
		x = min(x, u.level+clipWidth*u.counted())
	}
	u.band.learn(x, slowest)
	u.top = 0
}

// turn closes the day that is over, if one is.
func (u *usual) turn(at int64) { u.peak.turn(floorDiv(at, dayLength)) }

// seasoned reports whether enough was seen to judge by it: that many stretches
// on more than one day.
func (u *usual) seasoned(stretches uint32) bool { return u.n >= stretches && u.days > 0 }

// limit is the count that raises an alert: above the band of the average and
// above the highest window of late, with a margin that shrinks as more is
// known. Mind that turn comes first.
func (u *usual) limit(floor float64) float64 {
	return math.Ceil(max(u.band.limit(), u.peak.limit(u.n), floor))
}

func (u *usual) save(e *Encoder) {
	u.band.save(e)
	u.peak.save(e)
	e.Uint(uint64(u.top))
}

func (u *usual) load(d *Decoder) {
	u.band.load(d)
	u.peak.load(d)
	u.top = uint32(d.Uint())
}

const (
	hoursOfWeek = 7 * 24
	habitMargin = 1.5  // over what was seen at this hour before
	habitFade   = 0.75 // a week
	habitDays   = 3    // of the last seven that make a daily habit
)

// habit remembers the fullest window at each hour of the week, in the tenant's
// zone: of the running week, and of the weeks before it, fading. Here a burst
// counts in full: a job that comes every week at the same time raises an alert
// the first time and is usual from then on, at that time only.
type habit struct {
	week       int64
	this, past [hoursOfWeek]uint32
}

// hourOfWeek returns the number of the local week, counted from Monday, and the
// local hour within it.
func hourOfWeek(at int64, zone *time.Location) (week int64, hour int) {
	_, offset := time.Unix(0, at).In(zone).Zone()
	const monday = 3 * 24 // 1970-01-01 was a Thursday
	hours := floorDiv(floorDiv(at, int64(time.Second))+int64(offset), 3600) + monday
	week = floorDiv(hours, hoursOfWeek)
	return week, int(hours - week*hoursOfWeek)
}

func (h *habit) note(week int64, hour int, count uint32) {
	h.turn(week)
	if week == h.week {
		h.this[hour] = max(h.this[hour], count)
	}
}

func (h *habit) turn(week int64) {
	if week <= h.week {
		return
	}
	fade := math.Pow(habitFade, float64(week-h.week-1))
	for i := range h.past {
		h.past[i] = uint32(max(float64(h.this[i]), float64(h.past[i])*habitFade) * fade)
	}
	h.week, h.this = week, [hoursOfWeek]uint32{}
}

// limit is the count that is still usual at that hour, or 0: what was seen
// within an hour of it a week ago, or on three of the seven days before.
func (h *habit) limit(week int64, hour int) float64 {
	if h == nil {
		return 0
	}
	h.turn(week)
	var top [habitDays]uint32 // highest days, descending
	for d := 1; d <= 7; d++ {
		top = insert(top, h.around(hour-24*d))
	}
	return habitMargin * float64(max(h.around(hour-hoursOfWeek), top[habitDays-1]))
}

// around returns the highest count within an hour of the hour, which counts
// from the begin of the running week.
func (h *habit) around(hour int) (most uint32) {
	for x := hour - 1; x <= hour+1; x++ {
		switch {
		case x >= 0 && x < hoursOfWeek:
			most = max(most, h.this[x])
		case x < 0 && x >= -hoursOfWeek:
			most = max(most, h.past[x+hoursOfWeek])
		}
	}
	return most
}

func insert(top [habitDays]uint32, v uint32) [habitDays]uint32 {
	for i := range top {
		if v > top[i] {
			top[i], v = v, top[i]
		}
	}
	return top
}

func (h *habit) copy() *habit {
	if h == nil {
		return nil
	}
	c := *h
	return &c
}

func (h *habit) save(e *Encoder) {
	e.Int(h.week)
	for i := range h.this {
		e.Uint(uint64(h.this[i]))
		e.Uint(uint64(h.past[i]))
	}
}

func (h *habit) load(d *Decoder) {
	h.week = d.Int()
	for i := range h.this {
		h.this[i], h.past[i] = uint32(d.Uint()), uint32(d.Uint())
	}
}
