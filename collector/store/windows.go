package store

import (
	"iter"
	"time"
)

// Rows of the table events are sorted by kind before time, so the newest of all
// kinds are found by sorting everything that a query selects. Asked window by
// window, from the newest on, a page reads the windows that fill it, and an
// export is sorted a piece at a time.
const (
	pageRows     = 10_000 // more are an export
	firstWindow  = time.Hour
	lastWindow   = 2 * 366 * 24 * time.Hour // the next one has no beginning
	windowRows   = 50_000                   // rows of an export that one window should have
	growsAtMost  = 24                       // times as long as the window before
	shrinkAtMost = 4
	rareAfter    = 24 * time.Hour // what such a window, and those growsAtMost times as long, have no page of is rare
	spareEvents  = 20             // asked for beside a page, since some may come in the meantime
)

// newestFirst yields what read finds in window after window of the query's time,
// until the query's limit. A window is from From, inclusive, to To, exclusive;
// the first has the query's own end, the last its own beginning. Rows of one
// kind lie in the order of time and are asked for at once, and so is what is
// rare: what names it is found by skip indexes and by one column, and a window
// would add that of times.
//
// Where nothing came of late, the first window is empty, and windows go on from
// the newest hour before it in which something came; hour returns its end.
func newestFirst(q Query, now time.Time, hour func(before time.Time) (time.Time, error), read func(Query) iter.Seq2[EventRow, error]) iter.Seq2[EventRow, error] {
	if q.Kind != "" || q.Run != "" || q.Trace != "" {
		return read(q)
	}
	return func(yield func(EventRow, error) bool) {
		w, end, width := q, latest(q, now), firstWindow
		for found := 0; ; {
			last := width > lastWindow || !end.Add(-width).After(q.From)
			w.From = q.From
			if !last {
				w.From = end.Add(-width)
			}
			rows := 0
			for row, err := range read(w) {
				if !yield(row, err) || err != nil {
					return
				}
				rows++
			}
			found += rows
			if last || q.Limit > 0 && found >= q.Limit {
				return
			}
			if rare := width >= rareAfter && rows*growsAtMost <= q.Limit-found; rare && q.names() && q.Limit > 0 && q.Limit <= pageRows {
				theRest(q, w.From, q.Limit-found, read)(yield)
				return
			}
			if width == firstWindow && rows == 0 {
				before, err := hour(w.From)
				if err != nil {
					yield(EventRow{}, err)
					return
				}
				if before.Before(w.From) {
					end, w.To = before, before
					width = 2 * firstWindow // not once more
					continue
				}
			}
			want := windowRows
			if q.Limit > 0 {
				w.Limit = q.Limit - found
				want = min(want, 2*w.Limit) // rather one window that is too long than two
			}
			end, w.To = w.From, w.From
			width = nextWindow(width, rows, want)
		}
	}
}

// theRest yields what lies before the windows that were read, without asking for
// times.
func theRest(q Query, before time.Time, most int, read func(Query) iter.Seq2[EventRow, error]) iter.Seq2[EventRow, error] {
	return func(yield func(EventRow, error) bool) {
		q.Limit += spareEvents
		for row, err := range read(q) {
			if err == nil && !row.Time.Before(before) {
				continue
			}
			if !yield(row, err) || err != nil {
				return
			}
			if most--; most == 0 {
				return
			}
		}
	}
}

// names reports whether the query names something that may be rare.
func (q *Query) names() bool {
	return q.Actor != "" || q.Agent != "" || q.Action != "" || q.Tool != "" || q.Subscription != ""
}

// latest is where the first window is measured from: no event that matters to
// people is later.
func latest(q Query, now time.Time) time.Time {
	end := now
	if !q.To.IsZero() && q.To.Before(end) {
		end = q.To
	}
	if at, _, err := parseKey(q.After); q.After != "" && err == nil {
		if t := time.Unix(0, at).Add(1); t.Before(end) {
			end = t
		}
	}
	return end
}

// nextWindow returns how long the window before should be to have so many rows.
func nextWindow(width time.Duration, rows, want int) time.Duration {
	switch {
	case rows*growsAtMost <= want:
		return width * growsAtMost // at 24 four windows go back to the first event
	case rows >= want*shrinkAtMost:
		return max(width/shrinkAtMost, time.Minute)
	}
	return max(time.Duration(float64(width)*float64(want)/float64(rows)), time.Minute)
}
