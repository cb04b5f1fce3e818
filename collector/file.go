package collector

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/plug"
)

func init() {
	Register("file", func(_ context.Context, c plug.Config, d Deps) (Source, error) {
		return newFile(c, d, fileConfig{Mode: "tail", Format: "auto"})
	})
}

// fileConfig is what the sources file and csv can be told. They read NDJSON,
// JSON arrays and CSV, plain or packed by gzip or zstd.
type fileConfig struct {
	// Path is a file or a pattern such as /var/log/agents/*.ndjson. In mode
	// tail let it match the rotated files as well (audit.log*), so that what
	// was written just before a rotation is not missed after a restart.
	// Mandatory.
	Path string `yaml:"path"`
	// Mode is once (read the files that there are to their ends) or tail (go
	// on reading as they grow, through rotation). Default: tail; of csv: once.
	Mode string `yaml:"mode"`
	// Format is ndjson, json (an array, or objects one after the other), auto
	// (one of these) or csv (a header row, then a record a row). Default: auto;
	// of csv: csv.
	Format string `yaml:"format"`
	// Delimiter of csv is comma, semicolon, tab or auto (told by the header
	// row). Default: auto.
	Delimiter string `yaml:"delimiter"`
	// Zone is the time zone of times in csv that name none, such as
	// Europe/Berlin. Default: the mapping's, else UTC.
	Zone string `yaml:"zone"`
	// Mapping names the mapping that reads the records. Default: audit; for
	// format csv: csv.
	Mapping string `yaml:"mapping"`
	// Log names the log within the source, as part of the identity of its
	// records. Default: none.
	Log string `yaml:"log"`
	// Tenant owns the records. Default: the tenant of the config file.
	Tenant string `yaml:"tenant"`
	// Backfill marks the records as history: alerts on them are shown but
	// never notified or acted on. Default: true in mode once, else false; of
	// csv: true.
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

	dialect decode.Dialect // of Delimiter and Zone
}

// file reads files. Everything is done by the goroutine of Run, one batch of
// each file in turn. What was taken is noted in the state file after the
// journal has it; if the note is lost in a crash, the records are read again
// under the same ids.
type file struct {
	name    string
	cfg     fileConfig
	mapping *decode.Mapping
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

// newFile returns a source that reads files, with these defaults.
func newFile(c plug.Config, d Deps, cfg fileConfig) (*file, error) {
	cfg.Tenant, cfg.MaxRecord, cfg.Batch = d.Tenant, 1<<20, 1<<20
	cfg.Poll, cfg.CloseAfter, cfg.Rest = plug.Duration(time.Second), plug.Duration(time.Minute), plug.Duration(5*time.Second)
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
	if cfg.Mapping == "" {
		cfg.Mapping = "audit"
		if cfg.Format == formatCSV {
			cfg.Mapping = "csv"
		}
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
		name: c.Name, cfg: cfg, mapping: m, read: m.Read, append: d.Append, log: d.Log, metrics: newMetrics(d.Reg), now: d.Now,
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
	case cfg.Format != "auto" && cfg.Format != "ndjson" && cfg.Format != "json" && cfg.Format != formatCSV:
		return c.Errorf("format %q is none of auto, ndjson, json, csv", cfg.Format)
	case cfg.Format != formatCSV && (cfg.Delimiter != "" || cfg.Zone != ""):
		return c.Errorf("delimiter and zone are for format csv")
	case cfg.Tenant == "":
		return c.Errorf("tenant is missing")
	case cfg.Poll <= 0 || cfg.CloseAfter < 0 || cfg.Rest < 0:
		return c.Errorf("poll must be above zero, close_after and rest not below it")
	case cfg.MaxRecord < 1 || cfg.MaxRecord > maxPeek/2 || cfg.Batch < 1 || cfg.Batch > maxPeek/2:
		return c.Errorf("max_record and batch must lie between 1 and %d", maxPeek/2)
	}
	var err error
	if cfg.dialect, err = decode.NewDialect(cfg.Delimiter, cfg.Zone); err != nil {
		return c.Errorf("%v", err)
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
			backoff = storeBackoff(s.log, backoff, err)
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

// storeBackoff says how long to wait after an Append that failed.
func storeBackoff(log *slog.Logger, last time.Duration, err error) time.Duration {
	if last == 0 {
		log.Warn("records cannot be stored, waiting", "error", err)
	}
	next := min(max(2*last, 100*time.Millisecond), 30*time.Second)
	if later, ok := errors.AsType[*journal.RetryAfter](err); ok {
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

// fault logs a fault of a path once, until it changes.
func (s *file) fault(path string, err error) {
	if text := err.Error(); s.faults[path] != text {
		s.faults[path] = text
		s.log.Warn("file cannot be read, trying again", "path", path, "error", err)
	}
}
