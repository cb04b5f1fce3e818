// Package engine runs ClickHouse inside the house: it fetches the library,
// loads it in a child process of its own, serves ClickHouse's HTTP interface
// from there on a Unix socket, and keeps the child alive. Programs talk to it
// with any ClickHouse client, as they would to a server.
package engine

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Options say how an engine is run. They travel from the supervisor to the
// child as JSON on its standard input, so that no secret is seen in a process
// list or an environment.
type Options struct {
	Data    string `json:"data"`             // Mandatory. Folder of the tables; one engine owns it.
	Library string `json:"library"`          // Mandatory. Path of libchdb.so.
	SHA256  string `json:"sha256,omitempty"` // of the library; empty: that of the pinned release
	Socket  string `json:"socket,omitempty"` // path of the Unix socket; empty: run/engine.sock in Data

	// QueryListen is a host:port for the query user alone, for dashboards of
	// others; empty: none. It needs the sandbox.
	QueryListen string `json:"query_listen,omitempty"`

	WriterSecret string `json:"writer_secret,omitempty"` // of the user writer; the supervisor makes one
	QuerySecret  string `json:"query_secret,omitempty"`  // of the user query; the supervisor makes one

	MaxMemory   int64         `json:"max_memory,omitempty"`   // bytes the engine may allocate; 0: 1 GiB. The library's own pages come on top.
	MarkCache   int64         `json:"mark_cache,omitempty"`   // bytes; 0: 64 MiB
	Connections int           `json:"connections,omitempty"`  // statements at once, of each user; 0: 16
	QueryTime   time.Duration `json:"query_time,omitempty"`   // cap of one statement of the query user; 0: 30 s
	QueryMemory int64         `json:"query_memory,omitempty"` // bytes, cap of one such statement; 0: half of MaxMemory
	QueryRows   int64         `json:"query_rows,omitempty"`   // rows of one such result; 0: 1,000,000
}

// Users of the interface.
const (
	UserWriter = "writer" // statements of our own
	UserQuery  = "query"  // reads, within caps; needs the sandbox
)

func (o *Options) setDefaults() error {
	if o.Data == "" || o.Library == "" {
		return errors.New("start the engine: data folder and library must be given")
	}
	var err error
	if o.Data, err = filepath.Abs(o.Data); err != nil {
		return fmt.Errorf("find the data folder: %w", err)
	}
	if o.Library, err = filepath.Abs(o.Library); err != nil {
		return fmt.Errorf("find the library: %w", err)
	}
	if o.Socket == "" {
		o.Socket = filepath.Join(o.Data, "run", "engine.sock")
	}
	setDefault(&o.MaxMemory, 1<<30)
	setDefault(&o.MarkCache, 64<<20)
	setDefault(&o.Connections, 16)
	setDefault(&o.QueryTime, 30*time.Second)
	setDefault(&o.QueryMemory, o.MaxMemory/2)
	setDefault(&o.QueryRows, 1_000_000)
	return nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
