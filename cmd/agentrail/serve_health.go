package main

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/journal"
)

// parts adds how journal, store, sinks and notary are.
func (p *pipelineStatus) parts(ctx context.Context, st *api.Status, counts families) {
	j := p.j.Status()
	st.Journal = api.JournalStatus{
		Bytes: j.Bytes, MaxBytes: j.MaxBytes, Refusing: j.Refusing, DiskFree: diskFree(p.c.Data), Oldest: p.oldest.of(ctx, p.j),
	}
	st.Store = api.StoreStatus{Kind: p.c.Store.Kind}
	if p.store != nil {
		st.Store.NotReady, st.Store.Resident = p.store.notReady(), p.store.resident()
	}
	for name, f := range p.forwarders {
		l := f.Ledger()
		st.Sinks = append(st.Sinks, api.SinkStatus{
			Name: name, Seen: l.Seen, Filtered: l.Filtered, Accepted: l.Accepted, Indexed: l.Indexed, Dead: l.Dead,
			Retries: l.Retries, Held: l.Held, LastError: l.LastError,
		})
	}
	slices.SortFunc(st.Sinks, func(a, b api.SinkStatus) int { return strings.Compare(a.Name, b.Name) })
	st.Receivers = p.people.status()
	if at := counts.sum("agentrail_notary_last_head_timestamp_seconds", "", ""); at > 0 {
		st.LastHead = time.Unix(int64(at), 0).UTC()
	}
}

// oldest remembers when the first batch of the journal was received.
type oldest struct {
	mu    sync.Mutex
	first journal.Offset
	at    time.Time
}

func (o *oldest) of(ctx context.Context, j *journal.Disk) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := j.First()
	if !o.at.IsZero() && o.first == first || first == j.Head() {
		return o.at
	}
	if _, received, err := receivedAt(ctx, j, first); err == nil {
		o.first, o.at = first, time.Unix(0, received).UTC()
	}
	return o.at
}

// diskFree returns the bytes that are free for us where the path lies, or -1.
func diskFree(path string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

// resident returns the memory of the embedded engine, or 0 if there is none or
// the kernel does not say.
func (st *storage) resident() int64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.engine == nil {
		return 0
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(st.engine.PID()) + "/statm")
	if err != nil {
		return 0
	}
	if f := strings.Fields(string(b)); len(f) > 1 {
		pages, _ := strconv.ParseInt(f[1], 10, 64)
		return pages * int64(os.Getpagesize())
	}
	return 0
}

// writable reports whether this process may make files in the folder.
func writable(dir string) bool { return unix.Access(dir, unix.W_OK|unix.X_OK) == nil }
