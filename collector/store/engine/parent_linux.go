package engine

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel end the child when the thread that starts it
// ends; the pipe on its standard input is the second string to that bow.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
