package main

import (
	"errors"
	"fmt"
	"sync"

	"github.com/agentrail/agentrail/collector/store/engine"
)

// upStore follows how the store comes up beside everything else. Safe for
// concurrent use.
type upStore struct {
	view   *upView
	config string // path of the config, as people write it

	mu   sync.Mutex
	news storeNews
	told bool // that the engine is missing
}

// take notes the news and tells people of those that matter to them: once that
// search is there, or once how to get it.
func (s *upStore) take(n storeNews) {
	s.mu.Lock()
	s.news = n
	missing, isMissing := errors.AsType[*engine.MissingError](n.err)
	tell := isMissing && !s.told
	s.told = s.told || tell
	s.mu.Unlock()
	if n.open {
		s.view.line("search     ready: events, runs and alerts can be asked for")
	}
	if tell {
		s.view.print(withoutEngine(missing.Err, s.config))
	}
}

func (s *upStore) now() storeNews {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.news
}

// missing reports whether there is no engine to look anything up with.
func (s *upStore) missing() bool {
	_, missing := errors.AsType[*engine.MissingError](s.now().err)
	return missing
}

// withoutEngine says what goes on and the three ways to have search, too.
func withoutEngine(why error, config string) string {
	npm := "let npm reach its registry              it is tried again by itself, and at the next start"
	if errors.Is(why, engine.ErrNoNPM) {
		npm = "install npm                             it fetches the embedded ClickHouse, 178 MB, once"
	}
	return fmt.Sprintf(`search     off: %s
           Journal, detectors, alerts and sinks work without it; events and runs cannot be looked up.
           To switch it on do one of these and start again:
             %s
             store: {library: /path/to/libchdb.so}   in %s: the same library, release %s
             store: {kind: clickhouse, dsn_file: F}  in %[3]s: a ClickHouse of your own
`, clean(why.Error()), npm, config, engine.Release)
}
