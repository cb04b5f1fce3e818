package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// instance is the loaded engine with its connections.
type instance struct {
	control *conn       // for KILL QUERY; open as long as the engine is
	kill    chan func() // what the control connection is to do
	users   map[string]*pool
	version string
	stopped chan struct{}
}

// durability are the table settings that make an acknowledged insert survive:
// the engine's own defaults fsync nothing and drop the sources of a merge at
// once. They are set for every table and asserted at start.
var durability = []struct{ name, value string }{
	{"fsync_after_insert", "1"},
	{"fsync_part_directory", "1"},
	{"min_compressed_bytes_to_fsync_after_merge", "1"},
	{"min_rows_to_fsync_after_merge", "1"},
	{"old_parts_lifetime", "60"},
}

// merging are the table settings that spare work per row. A part is merged when
// ten of its size are there instead of five, so a row is written anew less
// often, and columns that nobody asked about get no statistics.
var merging = []struct{ name, value string }{
	{"merge_selector_base", "10"},
	{"auto_statistics_types", ""},
}

// start loads the library and opens the data folder.
func start(o Options) (*instance, error) {
	if err := checkFormat(o.Data, ""); err != nil {
		return nil, err
	}
	config := filepath.Join(o.Data, "engine.xml")
	if err := os.WriteFile(config, o.config(), 0o600); err != nil {
		return nil, fmt.Errorf("write the engine's config: %w", err)
	}
	lib, err := load(o.Library)
	if err != nil {
		return nil, err
	}
	args := []string{"--path=" + filepath.Join(o.Data, "tables"), "--config-file=" + config}
	in := &instance{kill: make(chan func(), 64), users: map[string]*pool{}, stopped: make(chan struct{})}
	if in.control, err = lib.open(args); err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Data, err)
	}
	in.users[UserWriter] = newPool(o.Connections, func() (*conn, error) { return lib.open(args) })
	in.users[UserQuery] = newPool(o.Connections, func() (*conn, error) { return lib.open(args) })
	if err := errors.Join(in.assert(o), in.stamp(o.Data)); err != nil {
		in.control.close()
		return nil, err
	}
	go in.runControl()
	return in, nil
}

// config is the engine's own configuration file.
func (o *Options) config() []byte {
	var b strings.Builder
	b.WriteString("<clickhouse>\n")
	fmt.Fprintf(&b, "  <max_server_memory_usage>%d</max_server_memory_usage>\n", o.MaxMemory)
	fmt.Fprintf(&b, "  <mark_cache_size>%d</mark_cache_size>\n", o.MarkCache)
	fmt.Fprintf(&b, "  <timezone>UTC</timezone>\n")
	b.WriteString("  <merge_tree>\n")
	for _, s := range slices.Concat(durability, merging) {
		fmt.Fprintf(&b, "    <%s>%s</%s>\n", s.name, s.value, s.name)
	}
	b.WriteString("  </merge_tree>\n</clickhouse>\n")
	return []byte(b.String())
}

// assert reads back what the config asked for: the engine ignores names that
// it does not know.
func (in *instance) assert(o Options) error {
	var errs []error
	expect := func(sql, what, want string) {
		got, err := in.scalar(sql)
		if err != nil {
			errs = append(errs, fmt.Errorf("read %s: %w", what, err))
		} else if got != want {
			errs = append(errs, fmt.Errorf("the engine has %s = %q, asked for %q", what, got, want))
		}
	}
	for _, s := range durability {
		expect("SELECT value FROM system.merge_tree_settings WHERE name = '"+s.name+"'", s.name, s.value)
	}
	expect("SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'", "max_server_memory_usage", fmt.Sprint(o.MaxMemory))
	expect("SELECT value FROM system.server_settings WHERE name = 'mark_cache_size'", "mark_cache_size", fmt.Sprint(o.MarkCache))
	return errors.Join(errs...)
}

func (in *instance) scalar(sql string) (string, error) {
	var out string
	err := in.control.query(sql, "TSVRaw", nil, func(b []byte, _ uint64) error {
		out = strings.TrimSuffix(string(b), "\n")
		return nil
	})
	return out, err
}

// stamp writes the engine's version into the data folder after checking that
// no newer engine wrote it.
func (in *instance) stamp(dir string) error {
	var err error
	if in.version, err = in.scalar("SELECT version()"); err != nil {
		return fmt.Errorf("ask the engine's version: %w", err)
	}
	if err := checkFormat(dir, in.version); err != nil {
		return err
	}
	return writeFormat(dir, in.version)
}

// runControl carries out what is queued for the control connection.
func (in *instance) runControl() {
	defer close(in.stopped)
	for f := range in.kill {
		f()
	}
}

// cancel ends the statement that begins with the mark. It does not wait.
func (in *instance) cancel(mark string) {
	sql := "KILL QUERY WHERE startsWith(query, '" + mark + "') ASYNC"
	select {
	case in.kill <- func() { _ = in.control.exec(sql) }:
	default: // sixty-four cancellations wait already: the statement's own limits end it
	}
}

// close ends all connections; the engine goes with the last of them.
func (in *instance) close(ctx context.Context) {
	close(in.kill)
	<-in.stopped
	for _, p := range in.users {
		p.close()
		for range cap(p.slots) { // wait for statements that still run
			select {
			case p.slots <- struct{}{}:
			case <-ctx.Done():
				return // the process ends anyway; the tables are made for that
			}
		}
	}
	in.control.close()
}

const closeTimeout = 10 * time.Second
