//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/agentrail/agentrail/dashboards/grafana"
)

// TestPrometheusIntegration has Debian's Prometheus scrape a server and an
// executor under the shipped rules, and asks it every query of the dashboards.
func TestPrometheusIntegration(t *testing.T) {
	program, promtool := os.Getenv("AGENTRAIL_PROMETHEUS"), os.Getenv("AGENTRAIL_PROMTOOL")
	if program == "" || promtool == "" {
		t.Fatal("AGENTRAIL_PROMETHEUS and AGENTRAIL_PROMTOOL name the programs")
	}
	rules, err := filepath.Abs("../../dashboards/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "rules", "agentrail.rules.yaml"}, {"test", "rules", "agentrail.rules.test.yaml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = rules
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	b, h := newBoards(t), newHouse(t)
	b.write("scrape.token", b.token)
	conf := b.write("prometheus.yml", fmt.Sprintf(`
global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [%q]
scrape_configs:
  - job_name: agentrail
    authorization: {credentials_file: %q}
    static_configs: [{targets: [%q]}]
  - job_name: agentrail-executor
    authorization: {credentials_file: %q}
    static_configs: [{targets: [%q]}]
`, filepath.Join(rules, "agentrail.rules.yaml"), filepath.Join(b.dir, "scrape.token"), b.url[len("http://"):], h.path("ann@example.com.token"), h.address[len("http://"):]))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "--config.file="+conf, "--storage.tsdb.path="+filepath.Join(b.dir, "tsdb"), "--web.listen-address="+addr)
	cmd.Stderr, cmd.Stdout = &b.log, &b.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	ask := func(query string) int {
		resp, err := http.Get("http://" + addr + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		var doc struct{ Data struct{ Result []any } }
		if json.NewDecoder(resp.Body).Decode(&doc) != nil {
			return 0
		}
		return len(doc.Data.Result)
	}
	b.await("both are scraped", func() bool { return ask(`up{job=~"agentrail.*"} == 1`) == 2 })
	for _, d := range grafana.All() {
		for _, p := range d.Panels {
			if p.Source == grafana.Prometheus {
				b.await(d.UID+": "+p.Title+" shows something", func() bool { return ask(p.Query) > 0 })
			}
		}
	}
	if n := ask(`ALERTS{alertstate="firing"}`); n != 0 {
		t.Errorf("%d alerts of a healthy pair fire", n)
	}
}
