package engine

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The roles that the test binary plays besides running tests.
const (
	roleSignals = "AGENTRAIL_TEST_SIGNALS" // a process with the engine in it, faulting
	roleParent  = "AGENTRAIL_TEST_PARENT"  // a process with a supervisor in it, to be killed
)

// TestFaultsAreGo: with the engine loaded and connections made, a fault in Go
// code is still a panic that can be recovered, not a hang.
func TestFaultsAreGo(t *testing.T) {
	if dir := os.Getenv(roleSignals); dir != "" {
		faultBesideEngine(t, dir)
		return
	}
	if _, err := Fetch(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestFaultsAreGo$")
	cmd.Env = append(os.Environ(), roleSignals+"="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%.3000s", err, out)
	}
}

func faultBesideEngine(t *testing.T, dir string) {
	lib, err := Fetch(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Data: dir, Library: lib}
	if err := o.setDefaults(); err != nil {
		t.Fatal(err)
	}
	in, err := start(o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < 300 && err == nil; i++ {
			var c *conn
			if c, err = in.users[UserWriter].get(context.Background()); err == nil {
				err = c.exec("SELECT sum(number) FROM numbers(10000)")
				in.users[UserWriter].put(c, true) // closed: the next one connects anew
			}
		}
		done <- err
	}()
	for n := 0; ; n++ {
		fault()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d faults recovered", n)
			in.close(t.Context())
			return
		default:
		}
	}
}

func fault() {
	defer func() { _ = recover() }()
	var p *Options
	p.Data = "x"
}

// TestDieWithParent: an engine does not outlive its parent, however that ends.
func TestDieWithParent(t *testing.T) {
	if dir := os.Getenv(roleParent); dir != "" {
		parent(t, dir)
		return
	}
	if _, err := Fetch(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDieWithParent$")
	cmd.Env = append(os.Environ(), roleParent+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for sc := bufio.NewScanner(out); sc.Scan(); {
		if s, ok := strings.CutPrefix(sc.Text(), "engine "); ok {
			if pid, err = strconv.Atoi(s); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if pid == 0 {
		t.Fatal("no engine was started")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(pid, 0) == nil && !zombie(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("engine %d outlived its parent", pid)
		}
		<-tick.C
	}
}

func parent(t *testing.T, dir string) {
	lib, err := Fetch(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), SupervisorOptions{
		Engine: Options{Data: dir, Library: lib}, Args: []string{"engine"}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("engine %d\n", s.PID())
	<-t.Context().Done() // until it is killed
}

// zombie reports whether the process is dead and only waits to be collected,
// by whatever process has inherited it.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") Z ")
}

// TestUnconfined: without the sandbox the query user is turned away before
// anything of its request is read.
func TestUnconfined(t *testing.T) {
	h := &handler{o: Options{WriterSecret: "w", QuerySecret: "q"}, log: slog.New(slog.DiscardHandler)}
	w, r := recorder(t, "query", "q")
	h.answer(w, r, false)
	if w.Code != 403 || !strings.Contains(w.Body.String(), "not sandboxed by Landlock") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	o := Options{Data: t.TempDir(), Library: filepath.Join(t.TempDir(), "libchdb.so"), WriterSecret: "w", QuerySecret: "q"}
	if err := Serve(t.Context(), o, slog.New(slog.DiscardHandler)); err == nil || !os.IsNotExist(err) {
		t.Errorf("no library: %v", err)
	}
	o.QuerySecret = "w"
	if err := Serve(t.Context(), o, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "secret") {
		t.Errorf("one secret for both: %v", err)
	}
}
