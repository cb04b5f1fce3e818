//go:build integration

package sinks

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// TestSyslogIntoRsyslog sends to Debian's rsyslog, which takes messages apart
// by itself and writes event id and text of each on a line.
func TestSyslogIntoRsyslog(t *testing.T) {
	intoSyslog(t, func(ca authority, port, out, dir, unpacked, libs string) *exec.Cmd {
		conf := fmt.Sprintf(`
global(workDirectory=%q maxMessageSize="64k" defaultNetstreamDriver="ossl"
  defaultNetstreamDriverCAFile=%q defaultNetstreamDriverCertFile=%q defaultNetstreamDriverKeyFile=%q)
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
input(type="imtcp" address="127.0.0.1" port=%q)
template(name="line" type="string" string="%%structured-data:R,ERE,1,BLANK:event_id=.([0-9a-f]*)--end%% %%msg%%\n")
action(type="omfile" file=%q template="line")
`, dir, ca.file, ca.cert, ca.key, port, out)
		path := filepath.Join(dir, "rsyslog.conf")
		if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		return exec.Command(filepath.Join(unpacked, "usr/sbin/rsyslogd"), "-n", "-f", path, "-i", filepath.Join(dir, "pid"), "-M", filepath.Join(libs, "rsyslog"))
	})
}

// TestSyslogIntoSyslogNG does the same with Debian's syslog-ng.
func TestSyslogIntoSyslogNG(t *testing.T) {
	intoSyslog(t, func(ca authority, port, out, dir, unpacked, _ string) *exec.Cmd {
		conf := fmt.Sprintf(`@version: 3.38
options { log-msg-size(65536); };
source s { syslog(ip("127.0.0.1") port(%s) transport("tls") tls(ca-file(%q) cert-file(%q) key-file(%q) peer-verify(required-trusted))); };
destination d { file(%q template("${.SDATA.agentrail@32473.event_id} ${MSG}\n")); };
log { source(s); destination(d); };
`, port, ca.file, ca.cert, ca.key, out)
		path := filepath.Join(dir, "syslog-ng.conf")
		if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		modules, _ := filepath.Glob(filepath.Join(unpacked, "usr/lib/syslog-ng/*"))
		if len(modules) == 0 {
			t.Fatalf("no modules of syslog-ng in %s", unpacked)
		}
		return exec.Command(filepath.Join(unpacked, "usr/sbin/syslog-ng"), "-F", "--no-caps", "-f", path, "--module-path", modules[0],
			"--persist-file", filepath.Join(dir, "persist"), "--pidfile", filepath.Join(dir, "pid"), "--control", filepath.Join(dir, "ctl"))
	})
}

// intoSyslog starts a receiver, sends to it, starts it anew while the sink
// holds a connection, sends again and reads what it wrote.
func intoSyslog(t *testing.T, command func(ca authority, port, out, dir, unpacked, libs string) *exec.Cmd) {
	unpacked, libs := os.Getenv("AGENTRAIL_SYSLOG"), os.Getenv("AGENTRAIL_SYSLOG_LIBS")
	if unpacked == "" {
		t.Fatal("AGENTRAIL_SYSLOG is not set; deploy/integration/syslog.sh unpacks the receiver and sets it")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	dir := t.TempDir()
	ca, out := newCA(t), filepath.Join(dir, "out.log")
	start := func() *exec.Cmd {
		cmd := command(ca, port, out, dir, unpacked, libs)
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join([]string{libs, filepath.Join(unpacked, "lib", filepath.Base(libs)), filepath.Join(unpacked, "usr/lib/syslog-ng")}, ":"))
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("receiver said: %s", said.String())
			}
		})
		waitFor(t, "receiver", func() bool {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
		return cmd
	}
	first := start()
	_, fw := openTest(t, "syslog", "content: true\nmax_message: 64KiB\naddress: "+addr+"\ntls: {ca_file: "+ca.file+", cert_file: "+ca.cert+", key_file: "+ca.key+"}", nil)
	send := func(offset uint64) *schemas.Batch {
		b := testBatch(offset, 3000)
		for i, text := range []string{"line\nbreak", "\x00", "\u202egnirts", "]\\\"", "\xff\xfe", "😍", strings.Repeat("x", 20_000)} {
			b.Events[i].Target = text
		}
		now := time.Now().UnixNano()
		for i := range b.Events {
			b.Events[i].Time = now + int64(i)
		}
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		return b
	}
	batches := []*schemas.Batch{send(1)}
	awaitLines(t, out, batches...)
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	start()
	batches = append(batches, send(2))
	awaitLines(t, out, batches...)
	s, _ := openTest(t, "syslog", "settle: 5s\naddress: "+addr+"\ntls: {ca_file: "+ca.file+"}", nil)
	receipt, err := s.Write(t.Context(), batches[0].Events[:1])
	if err == nil {
		err = receipt.Wait(t.Context())
	}
	if err == nil || errors.Is(err, ErrUnconfirmed) { // rsyslog may reset before its alert is read
		t.Errorf("without a client certificate: got %v", err)
	}
}

// awaitLines waits until the file has a line "ID TEXT" for every event, with
// the text of the sink's format.
func awaitLines(t *testing.T, path string, batches ...*schemas.Batch) {
	t.Helper()
	want := wantIDs(batches...)
	waitFor(t, "messages in "+path, func() bool {
		text, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		left := len(want)
		seen := map[string]bool{}
		for line := range strings.Lines(string(text)) {
			id, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if rest = strings.TrimSpace(rest); !strings.Contains(rest, `"event_id":"`+id+`"`) || !strings.HasSuffix(rest, "}") {
				if strings.HasSuffix(line, "\n") {
					t.Fatalf("line %.300q", line)
				}
				continue
			}
			if !seen[id] {
				seen[id] = true
				left--
			}
		}
		return left == 0
	})
}
