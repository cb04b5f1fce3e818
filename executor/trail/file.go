package trail

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/agentrail/agentrail/internal/durable"
)

// FileRecorder appends records to two NDJSON files: PATH takes what source audit
// reads, and beside it PATH with -runs before its ending what source
// workflowrun reads. Spans go nowhere. Records that are committed at once share
// one sync.
type FileRecorder struct {
	files map[string]*recordFile
}

// recordFile is one of the files.
type recordFile struct {
	mu      sync.Mutex // of writes
	f       *os.File
	torn    bool   // the last line may have been cut
	written uint64 // lines

	syncing sync.Mutex // held while the disk is waited for, not beside mu
	settled uint64     // lines that are on disk, but for
	lost    []lostLines
}

// lostLines are lines of which the disk said that it may not have them: those
// after the one, up to the other.
type lostLines struct {
	after, to uint64
	why       error
}

// OpenFile opens the files, making them and their folder if they are missing.
func OpenFile(path string) (*FileRecorder, error) {
	if err := durable.Mkdir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("make folder of record: %w", err)
	}
	r := &FileRecorder{files: map[string]*recordFile{}}
	for source, name := range map[string]string{SourceAudit: path, SourceRuns: RunsPath(path)} {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open record: %w", err), r.Close(context.Background()))
		}
		r.files[source] = &recordFile{f: f}
		if r.files[source].torn, err = torn(f); err != nil {
			return nil, errors.Join(fmt.Errorf("read record: %w", err), r.Close(context.Background()))
		}
	}
	return r, durable.SyncDir(filepath.Dir(path))
}

// RunsPath is the name of the file for runs beside that for calls.
func RunsPath(path string) string {
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "-runs" + ext
}

// torn reports whether the file does not end with a line break.
func torn(f *os.File) (bool, error) {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 || !st.Mode().IsRegular() {
		return false, err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, st.Size()-1); err != nil {
		return false, err
	}
	return last[0] != '\n', nil
}

// Commit implements Recorder.
func (r *FileRecorder) Commit(_ context.Context, rec Record) error { return r.write(rec, true) }

// Put implements Recorder.
func (r *FileRecorder) Put(rec Record) error { return r.write(rec, false) }

// Takes implements Selective: spans are for a receiver of OTLP.
func (r *FileRecorder) Takes(source string) bool { return r.files[source] != nil }

// Reserve implements Recorder: there is always a place.
func (r *FileRecorder) Reserve() bool { return true }

func (r *FileRecorder) write(rec Record, sync bool) error {
	f := r.files[rec.Source]
	if f == nil {
		return nil
	}
	n, err := f.append(rec.Body)
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if !sync {
		return nil
	}
	if err := f.sync(n); err != nil {
		return fmt.Errorf("sync record: %w", err)
	}
	return nil
}

// append writes a line and returns its number.
func (f *recordFile) append(body []byte) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	line := make([]byte, 0, len(body)+2)
	if f.torn {
		line = append(line, '\n')
	}
	f.torn = true
	if _, err := f.f.Write(append(append(line, body...), '\n')); err != nil {
		return 0, err
	}
	f.torn = false
	f.written++
	return f.written, nil
}

// sync returns when line n is on disk. Who waits for the disk does so for all
// lines that were written by then; if it fails, it fails for all of them, since
// the next try would not write them again.
func (f *recordFile) sync(n uint64) error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if n > f.settled {
		f.mu.Lock()
		written := f.written
		f.mu.Unlock()
		if err := f.f.Sync(); err != nil {
			f.lose(written, err)
		}
		f.settled = written
	}
	for _, l := range f.lost {
		if n > l.after && n <= l.to {
			return l.why
		}
	}
	return nil
}

func (f *recordFile) lose(to uint64, why error) {
	if n := len(f.lost); n > 0 && f.lost[n-1].to == f.settled {
		f.lost[n-1].to = to
		return
	}
	f.lost = append(f.lost, lostLines{f.settled, to, why})
}

// Close implements Recorder.
func (r *FileRecorder) Close(context.Context) error {
	var errs []error
	for _, f := range r.files {
		f.mu.Lock()
		errs = append(errs, f.f.Sync(), f.f.Close())
		f.mu.Unlock()
	}
	return errors.Join(errs...)
}
