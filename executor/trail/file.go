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
// workflowrun reads. Spans go nowhere.
type FileRecorder struct {
	mu    sync.Mutex
	files map[string]*os.File
	torn  map[string]bool // the last line may have been cut
}

// OpenFile opens the files, making them and their folder if they are missing.
func OpenFile(path string) (*FileRecorder, error) {
	if err := durable.Mkdir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("make folder of record: %w", err)
	}
	r := &FileRecorder{files: map[string]*os.File{}, torn: map[string]bool{}}
	for source, name := range map[string]string{SourceAudit: path, SourceRuns: RunsPath(path)} {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open record: %w", err), r.Close(context.Background()))
		}
		r.files[source] = f
		if r.torn[source], err = torn(f); err != nil {
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

// Reserve implements Recorder: there is always a place.
func (r *FileRecorder) Reserve() bool { return true }

func (r *FileRecorder) write(rec Record, sync bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.files[rec.Source]
	if f == nil { // spans are for a receiver of OTLP
		return nil
	}
	line := append(make([]byte, 0, len(rec.Body)+2), rec.Body...)
	if r.torn[rec.Source] {
		line = append([]byte{'\n'}, line...)
	}
	r.torn[rec.Source] = true
	if _, err := f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	r.torn[rec.Source] = false
	if !sync {
		return nil
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync record: %w", err)
	}
	return nil
}

// Close implements Recorder.
func (r *FileRecorder) Close(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.Sync(), f.Close())
	}
	return errors.Join(errs...)
}
