package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pty returns both ends of a terminal of that size.
func pty(t *testing.T, cols, rows uint16) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows}); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// TestUpOnATerminal runs the program on a terminal of its own. The status is a
// block that is drawn anew, Ctrl-C ends the program, and so does the end of the
// terminal; colour stays away where it is not wanted.
func TestUpOnATerminal(t *testing.T) {
	f := func(env string, colour, block bool, end func(master *os.File)) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "data")
		master, slave := pty(t, 130, 40)
		cmd := exec.Command("agentrail", "up", "--data", dir, "--listen", "127.0.0.1:0")
		cmd.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=", "XDG_CACHE_HOME="+t.TempDir(), "PATH=/nonexistent", env)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		slave.Close()
		var out syncBuffer
		read := make(chan struct{})
		go func() {
			defer close(read)
			buf := make([]byte, 32<<10)
			for {
				n, err := master.Read(buf)
				if _, _ = out.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
		t.Cleanup(func() { _ = cmd.Process.Kill(); master.Close(); <-read })
		awaitTrue(t, "a high alert", out.String, func() bool { return strings.Contains(out.String(), "HIGH") })
		end(master)
		err := cmd.Wait()
		got := out.String()
		if err != nil {
			t.Errorf("%s: ends with %v:\n%s", env, err, got)
		}
		if _, err := os.Stat(filepath.Join(dir, runningFile)); err == nil {
			t.Errorf("%s: the folder still says that it runs", env)
		}
		if has := strings.Contains(got, "\x1b[31mHIGH"); has != colour {
			t.Errorf("%s: coloured is %t:\n%q", env, has, got)
		}
		if has := strings.Contains(got, "A\x1b[J"); has != block {
			t.Errorf("%s: a block drawn anew is %t:\n%q", env, has, got)
		}
	}
	interrupt := func(master *os.File) {
		if _, err := master.Write([]byte{3}); err != nil {
			t.Error(err)
		}
	}
	f("LANG=C", true, true, interrupt)
	f("NO_COLOR=1", false, true, interrupt)
	f("TERM=dumb", false, false, func(master *os.File) { master.Close() })
}
