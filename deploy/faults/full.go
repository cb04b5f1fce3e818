package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// Sizes of the disk that is filled, bytes.
const (
	diskBytes    = 64 << 20
	ballastBytes = 16 << 20
)

// fullDisk fills the disk under the data folder: intake is refused, alerts,
// dead letters and controls still come, also after a kill, and when space is
// given free it goes on by itself with all that was acknowledged.
func fullDisk(ctx context.Context, s *server) error {
	fmt.Println("\na full disk")
	if err := os.Mkdir(s.data(), 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", s.data(), "tmpfs", 0, fmt.Sprintf("size=%d", diskBytes)); err != nil {
		fmt.Printf("%-64s %8s  NOT RUN: no right to mount a tmpfs (%v)\n", "full disk", "", err)
		return nil
	}
	defer func() {
		s.kill()
		_ = syscall.Unmount(s.data(), 0)
	}()
	ballast := filepath.Join(s.data(), "ballast")
	if err := os.WriteFile(ballast, make([]byte, ballastBytes), 0o600); err != nil {
		return err
	}
	var refuses atomic.Bool // every record, once it is told to
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !refuses.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
	}))
	defer receiver.Close()
	sinks := fmt.Sprintf("  - {kind: webhook, name: picky, url: %q, secret_file: %s, from: start, body: event, filter: 'action == \"subscription.create\"'}\n", receiver.URL, s.secret())
	if err := s.configure(withoutDetectors+withoutStore, sinks); err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	sender := newSender(s, *seed)
	go sender.run(ctx)
	if _, err := s.watch(ctx, "archive", func() bool { return sender.refusals() > 3 }); err != nil {
		return err
	}
	taken := sender.acknowledged()
	s.promise("records acknowledged when the disk was full", taken, taken > 1000)

	// Now there are detectors, which have everything before them.
	s.kill()
	if err := journal.RemoveCursor(filepath.Join(s.data(), "journal"), "detectors"); err != nil {
		return err
	}
	if err := s.configure(withDetectors+withoutStore, sinks); err != nil {
		return err
	}
	refuses.Store(true)
	if err := s.start(ctx); err != nil {
		return err
	}
	full, err := s.whileFull(ctx)
	if err != nil {
		return err
	}
	s.promise("alert transitions written while it was full", full.alerts, full.alerts > 0)
	s.promise("dead letters written while it was full", full.letters, full.letters > 0)
	s.promise("records taken meanwhile", sender.acknowledged()-taken, sender.acknowledged() == taken)

	if err := os.Remove(ballast); err != nil {
		return err
	}
	before, began := sender.acks(), time.Now()
	if err := sender.awaitAck(ctx, before); err != nil {
		return err
	}
	s.promise("ms from free space to the next acknowledgement", int(time.Since(began).Milliseconds()), true)
	sender.stop()
	if err := s.drained(ctx, "archive"); err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	ids, err := archived(filepath.Join(s.dir, "archive.ndjson"))
	if err != nil {
		return err
	}
	lost, _, phantom := compare(ids, sender)
	s.promise("acknowledged records missing in the file sink", lost, lost == 0)
	s.promise("records in the file sink that were never sent", phantom, phantom == 0)
	report, err := journal.Check(filepath.Join(s.data(), "journal"))
	if err != nil {
		return err
	}
	s.promise("faults that log check finds", len(report.Faults), report.OK())
	return nil
}

// counted is what the journal holds of our own.
type counted struct{ alerts, letters int }

// whileFull waits, half a minute at most, until the detectors and the sinks have
// written something, and counts it.
func (s *server) whileFull(ctx context.Context) (n counted, err error) {
	for deadline := time.Now().Add(30 * time.Second); (n.alerts == 0 || n.letters == 0) && time.Now().Before(deadline); {
		if err := s.waitFor(ctx, 200*time.Millisecond); err != nil {
			return n, err
		}
		if n, err = s.written(); err != nil {
			return n, err
		}
	}
	return n, s.drained(ctx, "detectors")
}

func (s *server) written() (n counted, err error) {
	err = journal.Walk(filepath.Join(s.data(), "journal"), 0, math.MaxUint64, func(b *schemas.Batch) error {
		switch {
		case b.Gap != nil:
			return fmt.Errorf("batches %d to %d are a gap: %s", b.Gap.From, b.Gap.To, b.Gap.Reason)
		case b.Class == schemas.ClassAlert:
			n.alerts += len(b.Records)
		case b.Class == schemas.ClassHealth && strings.Contains(string(b.Body), `"consumer":"picky"`):
			n.letters += len(b.Records)
		}
		return nil
	})
	return n, err
}
