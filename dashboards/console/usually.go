package console

import (
	"fmt"
	"slices"
	"time"
)

// pageEvery is how often pages that ask the store look again.
const pageEvery = 3 * time.Second

// usually says in a sentence what the newest runs of an agent are like.
func usually(runs []runRow) string {
	var took []time.Duration
	ok, by := 0, map[string]int{}
	for _, r := range runs {
		if r.Took() > 0 {
			took = append(took, r.Took())
		}
		if r.Outcome == "ok" {
			ok++
		}
		by[r.Initiator]++
	}
	if len(runs) < 3 || len(took) == 0 {
		return ""
	}
	slices.Sort(took)
	most := ""
	for name, n := range by {
		if n > by[most] || n == by[most] && name < most {
			most = name
		}
	}
	return fmt.Sprintf("Of its last %d runs %d ended well; half took less than %s; most were started by %s.", len(runs), ok, took[len(took)/2].Round(time.Millisecond), most)
}
