package engine

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// sandboxABI is the Landlock version that the query user needs: files and
// outgoing TCP. Kernels have it from 6.7 on.
const sandboxABI = 4

// sandbox confines the process to the engine's folders for good: no other
// file, no outgoing TCP. Of /proc it leaves only the process itself and what
// counts memory and processors: the environment of the parent, which may hold
// secrets, was readable otherwise. It reports whether the kernel could do all
// of that; on older kernels what it can do is done, and the query user stays
// shut.
func sandbox(o Options) (complete bool, err error) {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		return false, nil // no Landlock in this kernel, or switched off at boot
	}
	if abi < 2 {
		return false, nil // without the right to rename between folders the engine cannot merge
	}
	const read = landlock.AccessFSSet(ll.AccessFSReadFile | ll.AccessFSReadDir)
	rules := []landlock.Rule{
		landlock.RWDirs(o.Data, filepath.Dir(o.Socket)).WithRefer(),
		landlock.PathAccess(ll.AccessFSReadFile, o.Library),
		landlock.PathAccess(ll.AccessFSReadFile, "/etc/ld.so.cache", "/etc/localtime").IgnoreIfMissing(),
		landlock.PathAccess(read, "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo",
			"/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup", "/sys/block").IgnoreIfMissing(),
		landlock.PathAccess(read, "/proc/self", "/proc/sys/vm", "/proc/sys/kernel").IgnoreIfMissing(),
		landlock.PathAccess(ll.AccessFSReadFile, "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/uptime", "/proc/loadavg",
			"/proc/vmstat", "/proc/diskstats", "/proc/version", "/proc/filesystems").IgnoreIfMissing(),
		landlock.PathAccess(ll.AccessFSReadFile|ll.AccessFSWriteFile, "/dev/null").IgnoreIfMissing(),
		landlock.PathAccess(ll.AccessFSReadFile, "/dev/urandom", "/dev/random").IgnoreIfMissing(),
	}
	if err := landlock.V6.BestEffort().Restrict(rules...); err != nil {
		return false, fmt.Errorf("confine the engine with Landlock: %w", err)
	}
	return abi >= sandboxABI && confined(), nil
}

// confined proves the sandbox by trying what it must refuse.
func confined() bool {
	f, err := os.Open("/etc/passwd")
	if err == nil {
		f.Close()
	}
	return os.IsPermission(err) || os.IsNotExist(err)
}
