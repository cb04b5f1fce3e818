//go:build integration

package main

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAlertmanagerIntegration uses Debian's Alertmanager and amtool.
func TestAlertmanagerIntegration(t *testing.T) {
	manager, amtool := os.Getenv("AGENTRAIL_ALERTMANAGER"), os.Getenv("AGENTRAIL_AMTOOL")
	if manager == "" || amtool == "" {
		t.Fatal("AGENTRAIL_ALERTMANAGER and AGENTRAIL_AMTOOL name the programs")
	}
	send := func(s *served) {
		now := time.Now().UTC()
		s.post("/v1/audit", record("c1", now.Add(-time.Hour), "createagentsubscription", "u_a")+record("e1", now, "editagentsubscription", "u_m"))
	}
	run := func(t *testing.T, name string, args ...string) string {
		t.Helper()
		var errs strings.Builder
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s%s", filepath.Base(name), args, err, out, errs.String())
		}
		return string(out)
	}

	t.Run("external Alertmanager", func(t *testing.T) {
		p := newPager(t)
		s := newServed(t)
		conf := s.write("am.yml", `
route: {receiver: soc, group_wait: 100ms, group_interval: 1s}
receivers: [{name: soc, webhook_configs: [{url: '`+p.URL+`'}]}]
`)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		s.more = "alerting: {urls: ['http://" + addr + "/am']}\n"
		s.start("max_record: 1MiB")
		send(s) // while there is no Alertmanager
		s.alert("subscription", "u_m")
		am := exec.Command(manager, "--config.file="+conf, "--storage.path="+filepath.Join(s.dir, "am"),
			"--web.listen-address="+addr, "--web.external-url=http://"+addr+"/am", "--cluster.listen-address=")
		am.Stderr, am.Stdout = &s.log, &s.log
		if err := am.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = am.Process.Kill(); _ = am.Wait() })
		s.await("Alertmanager tells", func() bool { return p.has("firing subscription open") })
		if got := run(t, amtool, "--alertmanager.url=http://"+addr+"/am", "alert", "query", "-o", "json", "alertname=subscription"); !strings.Contains(got, `"severity":"`) {
			t.Errorf("alert query: %s", got)
		}
		s.cli("alerts", "close", firstAlert(t, s), "--reason", "was right")
		s.await("Alertmanager tells of the end", func() bool { return p.has("resolved subscription resolved") })
		s.stop()
	})

	t.Run("amtool", func(t *testing.T) {
		p := newPager(t)
		s := newServed(t)
		s.write("alertmanager.yml", `
route: {receiver: soc, group_by: ['...'], group_wait: 100ms, group_interval: 300ms, repeat_interval: 1h}
receivers: [{name: soc, webhook_configs: [{url: '`+p.URL+`'}]}]
`)
		run(t, amtool, "check-config", filepath.Join(s.dir, "alertmanager.yml"))
		s.more = "alerting: {file: alertmanager.yml}\n"
		s.start("max_record: 1MiB")
		conf := s.write("http.yml", "authorization: {credentials_file: "+filepath.Join(s.dir, "token")+"}\n")
		at := func(args ...string) string {
			return run(t, amtool, append([]string{"--alertmanager.url=" + s.url + "/alertmanager", "--http.config.file=" + conf}, args...)...)
		}
		id := strings.TrimSpace(at("silence", "add", "alertname=subscription", "--duration=1h", "--author=mallory", "--comment=planned work"))
		send(s)
		s.alert("subscription", "u_m")
		s.await("amtool sees the alert, silenced", func() bool {
			var list []struct {
				Status struct {
					State      string
					SilencedBy []string
				}
			}
			return json.Unmarshal([]byte(at("alert", "query", "--silenced", "-o", "json")), &list) == nil && len(list) > 0 &&
				list[0].Status.State == "suppressed" && len(list[0].Status.SilencedBy) == 1 && list[0].Status.SilencedBy[0] == id
		})
		got := at("silence", "query", "-o", "json")
		if !strings.Contains(got, id) || !strings.Contains(got, `"createdBy":"op"`) || strings.Contains(got, "mallory") {
			t.Errorf("silence query: %s", got)
		}
		if got := at("config", "show"); !strings.Contains(got, "receiver: soc") {
			t.Errorf("config show: %s", got)
		}
		if p.has("firing subscription open") {
			t.Error("a silenced alert was told")
		}
		at("silence", "expire", id)
		s.await("it is told", func() bool { return p.has("firing subscription open") })
		s.stop()
	})
}

func firstAlert(t *testing.T, s *served) string {
	t.Helper()
	var list []struct{ ID string }
	if err := json.Unmarshal([]byte(s.cli("alerts", "--rule", "subscription", "-o", "json")), &list); err != nil || len(list) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	return list[0].ID
}
