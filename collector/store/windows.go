package store

import (
	"iter"
	"time"
)

// Rows of the table events are sorted by kind before time, so the newest of all
// kinds are found by sorting everything that a query selects. Asked window by
// window, from the newest on, a page reads the windows that fill it, and an
// export is sorted a piece at a time. What is rare is still looked for in every
// window: each row is read once, and a window without any costs little.
const (
	firstWindow  = time.Hour
	lastWindow   = 2 * 366 * 24 * time.Hour // the next one has no beginning
	windowRows   = 50_000                   // rows of an export that one window should have
	growsAtMost  = 24
	shrinkAtMost = 4
)

// inWindows yields what read finds in window after window of the query's time,
// newest first, until the query's limit. A window is from From, inclusive, to
// To, exclusive; the first has the query's own end, the last its own beginning.
func inWindows[T any](q Query, now time.Time, read func(Query) iter.Seq2[T, error]) iter.Seq2[T, error] {
	if q.Kind != "" {
		return read(q)
	}
	return func(yield func(T, error) bool) {
		w := q
		end := latest(q, now)
		width := firstWindow
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
