package collector

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/plug"
)

func init() {
	Register("file", func(_ context.Context, c plug.Config, d Deps) (Source, error) { return openFile(c, d) })
}

// fileConfig is what the source file can be told. It reads NDJSON and JSON
// arrays, plain or packed by gzip or zstd.
type fileConfig struct {
	// Path is a file or a pattern such as /var/log/agents/*.ndjson. In mode
	// tail let it match the rotated files as well (audit.log*), so that what
	// was written just before a rotation is not missed after a restart.
	// Mandatory.
	Path string `yaml:"path"`
	// Mode is once (read the files that there are to their ends) or tail (go
	// on reading as they grow, through rotation). Default: tail.
	Mode string `yaml:"mode"`
	// Format is ndjson, json (an array, or objects one after the other) or
	// auto. Default: auto.
	Format string `yaml:"format"`
	// Mapping names the mapping that reads the records. Default: audit.
	Mapping string `yaml:"mapping"`
	// Log names the log within the source, as part of the identity of its
	// records. Default: none.
	Log string `yaml:"log"`
	// Tenant owns the records. Default: the tenant of the config file.
	Tenant string `yaml:"tenant"`
	// Backfill marks the records as history: alerts on them are shown but
	// never notified or acted on. Default: true in mode once, else false.
	Backfill *bool `yaml:"backfill"`
	// Poll is how often files that have been read are looked at. Default: 1s.
	Poll plug.Duration `yaml:"poll"`
	// CloseAfter is how long a file is still read after it has gone from its
	// path. Default: 1m.
	CloseAfter plug.Duration `yaml:"close_after"`
	// Rest is how long a packed file, or one that begins like another, must
	// have stayed the same before it is read in mode tail. Default: 5s.
	Rest plug.Duration `yaml:"rest"`
	// MaxRecord caps one record; a larger one is rejected and skipped.
	// Default: 1MiB.
	MaxRecord plug.Bytes `yaml:"max_record"`
	// Batch is how many bytes go into the journal at once. Default: 1MiB.
	Batch plug.Bytes `yaml:"batch"`
}

// file reads files. Everything is done by the goroutine of Run, one batch of
// each file in turn. What was taken is noted in the state file after the
// journal has it; if the note is lost in a crash, the records are read again
// under the same ids.
type file struct {
	name    string
	cfg     fileConfig
	read    readFunc
	append  AppendFunc
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time
	state   *fileState
	open    map[fileKey]*reading
	faults  map[string]string // path -> what was logged about it
}

// fileKey names a file whatever its path.
type fileKey struct{ dev, ino uint64 }

func openFile(c plug.Config, d Deps) (*file, error) {
	cfg := fileConfig{
		Mode: "tail", Format: "auto", Mapping: "audit", Tenant: d.Tenant,
		Poll: plug.Duration(time.Second), CloseAfter: plug.Duration(time.Minute), Rest: plug.Duration(5 * time.Second),
		MaxRecord: 1 << 20, Batch: 1 << 20,
	}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	if err := cfg.check(c); err != nil {
		return nil, err
	}
	if cfg.Backfill == nil {
		once := cfg.Mode == "once"
		cfg.Backfill = &once
	}
	m, err := d.Decode.Mapping(cfg.Mapping)
	if err != nil {
		return nil, c.Errorf("%v", err)
	}
	state, err := loadFileState(filepath.Join(d.DataDir, "collector", stateName(c.Name)))
	if err != nil {
		return nil, c.Errorf("%v", err)
	}
	return &file{
		name: c.Name, cfg: cfg, read: m.Read, append: d.Append, log: d.Log, metrics: newMetrics(d.Reg), now: d.Now,
		state: state, open: map[fileKey]*reading{}, faults: map[string]string{},
	}, nil
}

func (cfg *fileConfig) check(c plug.Config) error {
	if _, err := filepath.Match(cfg.Path, ""); err != nil {
		return c.Errorf("path %q: %v", cfg.Path, err)
	}
	switch {
	case cfg.Path == "":
		return c.Errorf("path is missing; name a file or a pattern")
	case cfg.Mode != "once" && cfg.Mode != "tail":
		return c.Errorf("mode %q is neither once nor tail", cfg.Mode)
	case cfg.Format != "auto" && cfg.Format != "ndjson" && cfg.Format != "json":
		return c.Errorf("format %q is none of auto, ndjson, json", cfg.Format)
	case cfg.Tenant == "":
		return c.Errorf("tenant is missing")
	case cfg.Poll <= 0 || cfg.CloseAfter < 0 || cfg.Rest < 0:
		return c.Errorf("poll must be above zero, close_after and rest not below it")
	case cfg.MaxRecord < 1 || cfg.MaxRecord > maxPeek/2 || cfg.Batch < 1 || cfg.Batch > maxPeek/2:
		return c.Errorf("max_record and batch must lie between 1 and %d", maxPeek/2)
	}
	return nil
}

// Run reads until ctx ends.
func (s *file) Run(ctx context.Context) error {
	defer s.close()
	backoff := time.Duration(0)
	for ctx.Err() == nil {
		more, err := s.round(ctx)
		if saveErr := s.state.save(s.now(), !more || err != nil); saveErr != nil {
			s.fault("state", saveErr)
		}
		switch {
		case err != nil && ctx.Err() == nil:
			backoff = s.backoff(backoff, err)
			wait(ctx, backoff)
		case !more:
			wait(ctx, time.Duration(s.cfg.Poll))
			fallthrough
		default:
			backoff = 0
		}
	}
	return nil
}

// close notes what was taken and lets go of the files.
func (s *file) close() {
	if err := s.state.save(s.now(), true); err != nil {
		s.fault("state", err)
	}
	for _, r := range s.open {
		r.close()
	}
}

// backoff says how long to wait after an Append that failed.
func (s *file) backoff(last time.Duration, err error) time.Duration {
	if last == 0 {
		s.log.Warn("records cannot be stored, waiting", "error", err)
	}
	next := min(max(2*last, 100*time.Millisecond), 30*time.Second)
	var later *journal.RetryAfter
	if errors.As(err, &later) {
		next = max(next, later.After)
	}
	return next/2 + rand.N(next/2)
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// round looks for files and takes at most one batch of each. More says that
// there was something to take; err is an Append that failed.
func (s *file) round(ctx context.Context) (more bool, err error) {
	s.discover()
	for _, key := range slices.SortedFunc(maps.Keys(s.open), func(a, b fileKey) int { return compareReadings(s.open[a], s.open[b]) }) {
		r := s.open[key]
		took, err := s.take(ctx, r)
		if err != nil {
			return more, err
		}
		more = more || took
		if !took && (r.finished || r.abandoned(s.now(), time.Duration(s.cfg.CloseAfter))) {
			r.close()
			delete(s.open, key)
		}
	}
	return more, nil
}

// discover opens the files that match and are not open yet, and notes which of
// those that are open have gone from their paths.
func (s *file) discover() {
	paths, err := filepath.Glob(s.cfg.Path)
	if err != nil {
		s.fault(s.cfg.Path, err)
	}
	seen := map[fileKey]bool{}
	for _, path := range paths {
		key, info, err := statFile(path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				s.fault(path, err)
			}
			continue
		}
		if !info.Mode().IsRegular() || seen[key] {
			continue
		}
		seen[key] = true
		if r, ok := s.open[key]; ok {
			r.path, r.missing = path, time.Time{}
		} else if p := s.state.find(key); p == nil || !p.Done || p.Size != info.Size() || p.Mtime != info.ModTime().UnixNano() {
			s.start(path, key)
		}
	}
	for key, r := range s.open {
		if !seen[key] && r.missing.IsZero() {
			r.missing = s.now()
		}
	}
}

func statFile(path string) (fileKey, os.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileKey{}, nil, err
	}
	return keyOf(info), info, nil
}

func keyOf(info os.FileInfo) fileKey {
	st := info.Sys().(*syscall.Stat_t)
	return fileKey{dev: uint64(st.Dev), ino: st.Ino}
}

// start opens a file. A fault is logged and tried again in the next round.
func (s *file) start(path string, key fileKey) {
	r, err := openReading(path)
	if err != nil {
		s.fault(path, err)
		return
	}
	if r.key != key { // replaced since it was looked at
		r.close()
		return
	}
	if r.at = s.state.find(key); r.at != nil {
		r.at.Done = false
	}
	s.open[key] = r
	delete(s.faults, path)
}

// begin gives a new file its place: its beginning or, if it is a copy of one
// that was read, as rotation by copy and truncate makes it, where that one is.
// It reports whether that can be told yet. Last says that there is no later.
func (s *file) begin(r *reading, last bool) bool {
	r.unpackAgain()
	var original *place
	if s.cfg.Mode == "tail" {
		var known bool
		var err error
		if original, known, err = s.original(r); err != nil {
			s.fault(r.path, err)
		}
		if !last && (err != nil || !known) {
			return false
		}
	}
	r.size, r.tail = -1, nil
	r.at = s.state.add(r.key, r.path, original)
	return true
}

// original returns the place of the file of which r is a copy, or nil if it is
// none. It is known when r cannot become such a copy by growing, or has rested.
func (s *file) original(r *reading) (_ *place, known bool, err error) {
	kind, err := r.kind()
	if err != nil {
		return nil, false, err
	}
	rested, size, err := s.rested(r)
	if err != nil || size == 0 || kind != "" && !rested {
		return nil, false, err
	}
	head, err := r.head(kind)
	if err != nil {
		return nil, true, nil // what is wrong with it is found when it is read
	}
	var best *place
	known = true
	for _, p := range s.state.places() {
		n := min(len(head), len(p.Head))
		if n == 0 || !bytes.Equal(head[:n], p.Head[:n]) || best != nil && p.Offset <= best.Offset {
			continue
		}
		same, err := r.beginsLike(kind, p)
		if err != nil {
			return nil, false, err
		}
		if same {
			best = p
		} else if p.Offset == 0 || kind == "" && p.Offset > size {
			known = known && rested
		}
	}
	return best, known || best != nil, nil
}

// rested reports whether the file has not changed for as long as the config
// says, and its size.
func (s *file) rested(r *reading) (bool, int64, error) {
	info, err := r.f.Stat()
	if err != nil {
		return false, 0, err
	}
	size, mtime := info.Size(), info.ModTime().UnixNano()
	if r.since.IsZero() || r.size != size || r.mtime != mtime {
		r.size, r.mtime, r.since = size, mtime, s.now()
	}
	return s.now().Sub(r.since) >= time.Duration(s.cfg.Rest), size, nil
}

// fault logs a fault of a path once, until it changes.
func (s *file) fault(path string, err error) {
	if text := err.Error(); s.faults[path] != text {
		s.faults[path] = text
		s.log.Warn("file cannot be read, trying again", "path", path, "error", err)
	}
}
