package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo terminal: what a person types goes into the first
// file, the program sits at the second.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetUint32(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	if err := unix.IoctlSetWinsize(int(person.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120}); err != nil {
		t.Fatal(err)
	}
	return person, program
}

// TestTopOnATerminal runs top as a person does: it draws full screen, enter on
// an alert ends it, the screen is given back, and the command is printed.
func TestTopOnATerminal(t *testing.T) {
	env := nextServer(t)
	person, program := terminal(t)
	cmd := exec.Command("agentrail", "top", "--interval", "100ms")
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "AGENTRAIL_SERVER="+env("AGENTRAIL_SERVER"), "AGENTRAIL_TOKEN_FILE="+env("AGENTRAIL_TOKEN_FILE"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var seen syncBuffer
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := person.Read(buf)
			if n > 0 {
				_, _ = seen.Write(buf[:n])
			}
			if err != nil {
				return
			}
		}
	}()
	wait := func(what string) {
		t.Helper()
		deadline := time.NewTimer(30 * time.Second)
		defer deadline.Stop()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for !strings.Contains(seen.String(), what) {
			select {
			case <-deadline.C:
				t.Fatalf("waited in vain for %q in %q", what, seen.String())
			case <-tick.C:
			}
		}
	}
	wait("\x1b[?1049h") // the alternate screen
	wait("40 writes in 5m0s, usually 3")
	if _, err := person.WriteString("p"); err != nil {
		t.Fatal(err)
	}
	wait("PAUSED")
	if _, err := person.WriteString("\r"); err != nil {
		t.Fatal(err)
	}
	wait("\x1b[?1049l")
	wait("agentrail alerts show a1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("top ends with %v: %q", err, seen.String())
	}
}
