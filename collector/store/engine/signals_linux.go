package engine

import (
	"syscall"
	"unsafe"
)

// sigaction is the kernel's struct sigaction: handler, flags, restorer, mask.
type sigaction [4]uint64

const lastSignal = 64

// guardSignals runs f and puts every signal handler back as it was. The
// library installs handlers of its own, without an alternate stack, whenever
// it is loaded or a connection is made; a Go fault after that would hang the
// process. The caller holds the library's lock, so that guards do not overlap.
func guardSignals(f func()) {
	var before [lastSignal + 1]sigaction
	for sig := 1; sig <= lastSignal; sig++ {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&before[sig])), 8, 0, 0)
	}
	f()
	for sig := 1; sig <= lastSignal; sig++ {
		if sig == int(syscall.SIGKILL) || sig == int(syscall.SIGSTOP) {
			continue
		}
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&before[sig])), 0, 8, 0, 0)
	}
}
