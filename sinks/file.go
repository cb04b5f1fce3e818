package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/agentrail/agentrail/internal/durable"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("file", openFile) }

// fileConfig writes events to a file, one JSON object a line, mode 0600. After
// a crash the last events may stand in it twice, with the same id.
type fileConfig struct {
	Common Common `yaml:",inline"`
	// Path of the file. Its folder is made, for this user only, if need be.
	Path string `yaml:"path"`
	// MaxSize and MaxAge of the file, counted from when it was opened; then
	// it is renamed to NAME-TIME.EXT and a new one is begun. 0: no limit.
	MaxSize plug.Bytes    `yaml:"max_size"`
	MaxAge  plug.Duration `yaml:"max_age"`
	// Keep is how many renamed files stay. 0 keeps all.
	Keep int `yaml:"keep"`
	// Gzip compresses renamed files.
	Gzip bool `yaml:"gzip"`
}

// file is the sink. A write is confirmed by an fsync that is shared by all
// writes that wait for one.
type file struct {
	conf   fileConfig
	log    *slog.Logger
	format format.Func
	old    archive

	syncing sync.Mutex // held during fsync; taken before mu
	mu      sync.Mutex // guards what follows
	f       *os.File
	gen     int   // counts files; grows with each rotation
	size    int64 // of f
	synced  int64 // of f
	lost    int   // files of generations up to this were closed without a good fsync
	opened  time.Time
}

func openFile(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := fileConfig{Common: DefaultCommon(), MaxSize: 100 << 20, Keep: 10, Gzip: true}
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	if conf.Path == "" {
		return nil, c.Errorf("path: is missing")
	}
	if conf.MaxSize < 0 || conf.MaxAge < 0 || conf.Keep < 0 {
		return nil, c.Errorf("max_size, max_age and keep must not be negative")
	}
	if d.DryRun {
		return idle{}, nil
	}
	s := &file{conf: conf, log: d.Log, old: archive{path: conf.Path, keep: conf.Keep, gzip: conf.Gzip, log: d.Log}}
	s.format, _ = format.Lookup(conf.Common.Format)
	if err := s.open(); err != nil {
		return nil, c.Errorf("%v", err)
	}
	s.old.start()
	return s, nil
}

// open begins or goes on with the file at the path. mu is held, or nobody
// else knows the file yet.
func (s *file) open() error {
	if err := os.MkdirAll(filepath.Dir(s.conf.Path), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	f, err := os.OpenFile(s.conf.Path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	size, err := s.claim(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.f, s.size, s.synced, s.opened = f, size, size, time.Now()
	s.gen++
	return nil
}

// claim locks the file against another sink and cuts off a torn last line.
func (s *file) claim(f *os.File) (int64, error) {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return 0, fmt.Errorf("lock %s: %w; does another sink or process write to it?", s.conf.Path, err)
	}
	size, torn, err := repairTail(f)
	if err != nil {
		return 0, fmt.Errorf("repair %s: %w", s.conf.Path, err)
	}
	if torn > 0 {
		s.log.Warn("torn last line removed; its event is sent again", "path", s.conf.Path, "bytes", torn)
	}
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("sync %s: %w", s.conf.Path, err)
	}
	return size, durable.SyncDir(filepath.Dir(s.conf.Path))
}

// Write appends whole lines or nothing.
func (s *file) Write(_ context.Context, evs []schemas.Event) (Receipt, error) {
	p := newPayload()
	defer p.release()
	n := p.lines(s.format, evs, int(s.conf.Common.Batch.MaxBytes))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.prepare(len(p.buf)); err != nil {
		return Receipt{Events: n}, &WriteError{Kind: KindRetry, Code: "file", Err: err}
	}
	if _, err := s.f.WriteAt(p.buf, s.size); err != nil {
		if terr := s.f.Truncate(s.size); terr != nil {
			s.discard()
		}
		return Receipt{Events: n}, &WriteError{Kind: KindRetry, Code: "file", Err: fmt.Errorf("write %s: %w", s.conf.Path, err)}
	}
	s.size += int64(len(p.buf))
	gen, upTo := s.gen, s.size
	return Receipt{Events: n, Bytes: len(p.buf), Confirm: func(context.Context) error { return s.sync(gen, upTo) }}, nil
}

// prepare makes sure that there is a file with room for n bytes. A single
// write larger than max_size has a file of its own.
func (s *file) prepare(n int) error {
	if s.f == nil {
		return s.open()
	}
	full := s.conf.MaxSize > 0 && s.size+int64(n) > int64(s.conf.MaxSize)
	aged := s.conf.MaxAge > 0 && time.Since(s.opened) >= time.Duration(s.conf.MaxAge)
	if s.size == 0 || !full && !aged {
		return nil
	}
	return s.rotate()
}

// rotate syncs, closes and renames the file and opens the next.
func (s *file) rotate() error {
	if err := s.f.Sync(); err != nil {
		s.discard()
		return fmt.Errorf("sync %s: %w", s.conf.Path, err)
	}
	if err := s.old.rename(); err != nil {
		return err
	}
	err := s.f.Close()
	s.f = nil
	if err != nil {
		s.log.Warn("renamed file not closed", "error", err)
	}
	s.old.tidy()
	return s.open()
}

// sync makes the file durable up to that size, if it is not yet.
func (s *file) sync(gen int, upTo int64) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	if gen <= s.lost {
		s.mu.Unlock()
		return &WriteError{Kind: KindRetry, Code: "fsync", Err: fmt.Errorf("%s was not synced; its last events are written again", s.conf.Path)}
	}
	if gen < s.gen || s.f == nil || upTo <= s.synced {
		s.mu.Unlock()
		return nil
	}
	f, size := s.f, s.size
	s.mu.Unlock()
	err := f.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	if gen < s.gen || gen <= s.lost {
		return s.outcome(gen) // rotated meanwhile, which synced it
	}
	if err != nil {
		s.discard()
		return &WriteError{Kind: KindRetry, Code: "fsync", Err: fmt.Errorf("sync %s: %w", s.conf.Path, err)}
	}
	s.synced = size
	return nil
}

func (s *file) outcome(gen int) error {
	if gen <= s.lost {
		return &WriteError{Kind: KindRetry, Code: "fsync", Err: fmt.Errorf("%s was not synced", s.conf.Path)}
	}
	return nil
}

// discard gives the file up after a failed fsync: the kernel may have dropped
// what it could not write, and a second fsync would say that all is well. So
// does a write that cannot be undone. The file is renamed; whatever of it was
// not confirmed is written again.
func (s *file) discard() {
	s.lost = s.gen
	if err := s.old.rename(); err != nil {
		s.log.Warn("broken file not renamed", "error", err)
	}
	if err := s.f.Close(); err != nil {
		s.log.Warn("broken file not closed", "error", err)
	}
	s.f = nil
}

// Close syncs and closes the file and waits for compression to end.
func (s *file) Close() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.old.stop()
	if s.f == nil {
		return nil
	}
	err := errors.Join(s.f.Sync(), s.f.Close())
	s.f = nil
	return err
}
