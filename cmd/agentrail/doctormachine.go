package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"

	"github.com/agentrail/agentrail/collector/store/engine"
	"github.com/agentrail/agentrail/internal/auth"
)

// examineMachine looks at a config and at what it will find on this machine.
// It changes nothing.
func examineMachine(ctx context.Context, file string) (out []finding) {
	cfg, err := loadConfig(file)
	if err == nil {
		err = cfg.checkParts(ctx)
	}
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			out = append(out, finding{levelFail, "config", line, "mend it; agentrail validate --config " + file + " checks it again"})
		}
		return out
	}
	out = append(out, finding{levelOK, "config", file + " is valid", ""})
	out = append(out, examineTokens(cfg.Auth.Tokens), examineKey(cfg.Evidence.Key))
	out = append(out, examineData(cfg)...)
	out = append(out, examineListen(cfg.Listen))
	if cfg.Store.Kind == "embedded" {
		out = append(out, examineEngine(cfg)...)
	}
	return out
}

func examineTokens(file string) finding {
	next := "agentrail token new --file " + file + " --name me --roles ingest,viewer,admin"
	if _, err := auth.Load(file); errors.Is(err, fs.ErrNotExist) {
		return finding{levelFail, "tokens", "there is no token file " + file, next}
	} else if err != nil {
		return finding{levelFail, "tokens", err.Error(), "mend the file, or make a new one: " + next}
	}
	return finding{levelOK, "tokens", file + " can be read, by its owner only", ""}
}

func examineKey(file string) finding {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return finding{levelNote, "evidence", "there is no signing key yet; the first start makes " + file, "keep a copy of its public half elsewhere: agentrail verify needs it"}
	case err != nil:
		return finding{levelFail, "evidence", err.Error(), "give the server's user access to it"}
	case info.Mode().Perm()&0o077 != 0:
		return finding{levelWarn, "evidence", fmt.Sprintf("the signing key %s has mode %#o: others could read it", file, info.Mode().Perm()), "chmod 600 " + file}
	}
	return finding{levelOK, "evidence", "the signing key " + file + " is readable by its owner only", ""}
}

// examineData looks at the data folder, or at the one that it will be made in.
func examineData(cfg *config) (out []finding) {
	dir := cfg.Data
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		for errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
			dir = filepath.Dir(dir)
			info, err = os.Stat(dir)
		}
		out = append(out, finding{levelNote, "data", "there is no folder " + cfg.Data + " yet; the first start makes it in " + dir, ""})
	} else if err == nil && info.Mode().Perm()&0o077 != 0 {
		out = append(out, finding{levelWarn, "data", fmt.Sprintf("%s has mode %#o: others could look into the evidence", dir, info.Mode().Perm()), "chmod 700 " + dir})
	}
	if err != nil {
		return append(out, finding{levelFail, "data", err.Error(), "give the server's user access to it"})
	}
	if !info.IsDir() || !writable(dir) {
		return append(out, finding{levelFail, "data", dir + " is no folder that " + userName() + " may write to", "name another under data:, or change its owner"})
	}
	free, want := diskFree(dir), int64(cfg.Journal.MaxBytes)+int64(cfg.Journal.Reserve)
	text := fmt.Sprintf("%s, %s free; the journal may take %s", dir, size(free), size(want))
	switch {
	case free < int64(cfg.Journal.Reserve)+1<<30:
		return append(out, finding{levelWarn, "data", text, "free space, or move data: to a larger disk"})
	case free < want:
		return append(out, finding{levelNote, "data", text, "lower journal.max_bytes, so that intake is refused before the disk is full"})
	}
	return append(out, finding{levelOK, "data", text, ""})
}

func userName() string { return fmt.Sprintf("user %d", os.Getuid()) }

func examineListen(addr string) finding {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return finding{levelWarn, "listen", "listen on " + addr + ": " + err.Error(), "if a server runs there, ask it: agentrail doctor --server http://" + addr + "; if not, name another address"}
	}
	l.Close()
	host, _, _ := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return finding{levelNote, "listen", addr + " is free; it is reached from other machines, without TLS", "put a reverse proxy with TLS in front"}
	}
	return finding{levelOK, "listen", addr + " is free", ""}
}

// examineEngine looks for what the embedded ClickHouse needs.
func examineEngine(cfg *config) (out []finding) {
	if v, err := ll.LandlockGetABIVersion(); err != nil || v < 1 {
		out = append(out, finding{levelNote, "sandbox", "the kernel has no Landlock: the engine serves our own statements only", "boot a kernel with Landlock (lsm=landlock,...), or use store.kind: clickhouse"})
	} else {
		out = append(out, finding{levelOK, "sandbox", fmt.Sprintf("the kernel has Landlock, ABI %d", v), ""})
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return append(out, finding{levelWarn, "engine", "there is no verified library for " + runtime.GOOS + "/" + runtime.GOARCH, "use store.kind: clickhouse or none, or name your own store.library with its checksum"})
	}
	lib, fetched := cfg.Store.Library, false
	if lib == "" {
		dir := cfg.Store.Cache
		if dir == "" {
			var err error
			if dir, err = engine.DefaultDir(); err != nil {
				return append(out, finding{levelFail, "engine", err.Error(), "set store.cache"})
			}
		}
		lib, fetched = filepath.Join(dir, "engine", engine.Release, "libchdb.so"), true
	}
	if _, err := os.Stat(lib); err == nil {
		return append(out, finding{levelOK, "engine", "the library is there: " + lib, ""})
	}
	if !fetched {
		return append(out, finding{levelFail, "engine", "there is no library " + lib, "mend store.library, or leave it out to have it fetched"})
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return append(out, finding{levelFail, "engine", "the library is not there yet and npm, which fetches it, is not either", "install npm, put libchdb.so at store.library, or use store.kind: clickhouse or none"})
	}
	return append(out, finding{levelNote, "engine", "the library is not there yet; the first start fetches it with npm (178 MB)", ""})
}
