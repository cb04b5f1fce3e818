//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

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
	ask := func(query string) map[string]float64 { return askPrometheus("http://"+addr, query) }
	b.await("both are scraped", func() bool { return len(ask(`up{job=~"agentrail.*"} == 1`)) == 2 })
	for _, d := range grafana.All() {
		for _, p := range d.Panels {
			if p.Source != grafana.Prometheus {
				continue
			}
			b.await(d.UID+": "+p.Title+" shows what the programs say", func() bool {
				got := ask(p.Query)
				own := append(scraped(t, b.url, b.token), scraped(t, h.address, h.read("ann@example.com.token"))...)
				switch p.Title {
				case "Servers up":
					return len(got) == 1 && got[""] == 2
				case "Journal fill":
					return got[""] > 0 && got[""] == metricSum(own, "agentrail_journal_disk_bytes")/metricSum(own, "agentrail_journal_max_bytes")
				case "Age of the signed head":
					age := float64(time.Now().Unix()) - metricSum(own, "agentrail_notary_last_head_timestamp_seconds")
					return len(got) == 1 && math.Abs(got[""]-age) < 5
				}
				if m := wholeQuery.FindStringSubmatch(p.Query); m != nil {
					return len(got) == 1 && got[""] == map[string]func([]exposed, string) float64{"sum": metricSum, "max": metricMax}[m[1]](own, m[2])
				}
				return len(got) > 0 && maps.Equal(keysOf(got), seriesOf(own, p.Query))
			})
		}
	}
	if n := ask(`ALERTS{alertstate="firing"}`); len(n) != 0 {
		t.Errorf("alerts of a healthy pair fire: %v", n)
	}
}

var (
	wholeQuery = regexp.MustCompile(`^(sum|max)\((agentrail_[a-z_]+)\)$`)
	ownMetric  = regexp.MustCompile(`agentrail_[a-z_]+`)
	recorded   = regexp.MustCompile(`agentrail:[a-z_]+:p99`)
	groupedBy  = regexp.MustCompile(`by \(([a-z_, ]+)\)`)
)

// exposed is one of a program's own metrics.
type exposed struct {
	name   string
	labels map[string]string
	value  float64
}

// scraped reads a program's metrics as Prometheus does.
func scraped(t *testing.T, at, token string) (out []exposed) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			s := exposed{name: name, labels: map[string]string{}, value: m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()}
			for _, l := range m.GetLabel() {
				s.labels[l.GetName()] = l.GetValue()
			}
			out = append(out, s)
		}
	}
	return out
}

func metricSum(all []exposed, name string) (sum float64) {
	for _, s := range all {
		if s.name == name {
			sum += s.value
		}
	}
	return sum
}

func metricMax(all []exposed, name string) (most float64) {
	for _, s := range all {
		if s.name == name {
			most = max(most, s.value)
		}
	}
	return most
}

// seriesOf are the series that the query must give, by the labels that it keeps.
func seriesOf(all []exposed, query string) map[string]bool {
	out := map[string]bool{}
	if recorded.MatchString(query) {
		return map[string]bool{"": true} // one a program, by its address
	}
	name := ownMetric.FindString(query)
	for _, s := range all {
		if s.name != name {
			continue
		}
		labels := maps.Clone(s.labels)
		if m := groupedBy.FindStringSubmatch(query); m != nil {
			keep := strings.Split(strings.ReplaceAll(m[1], " ", ""), ",")
			maps.DeleteFunc(labels, func(l, _ string) bool { return !slices.Contains(keep, l) })
		} else if strings.HasPrefix(query, "sum(") {
			labels = nil
		}
		out[keyOf(labels)] = true
	}
	return out
}

// keyOf writes labels, but for those that scraping adds.
func keyOf(labels map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if !slices.Contains([]string{"__name__", "job", "instance"}, name) {
			out = append(out, name+"="+labels[name])
		}
	}
	return strings.Join(out, " ")
}

func keysOf(m map[string]float64) map[string]bool {
	out := map[string]bool{}
	for k := range m {
		out[k] = true
	}
	return out
}

// askPrometheus returns the values of a query by their labels; nil where it
// cannot be asked yet.
func askPrometheus(at, query string) map[string]float64 {
	resp, err := http.Get(at + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var doc struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if json.NewDecoder(resp.Body).Decode(&doc) != nil {
		return nil
	}
	out := map[string]float64{}
	for _, r := range doc.Data.Result {
		text, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil
		}
		key := keyOf(r.Metric)
		if _, twice := out[key]; twice || strings.HasPrefix(query, "up{") {
			key += " of " + r.Metric["instance"]
		}
		out[key] = v
	}
	return out
}

// read returns a file of the house.
func (h *house) read(name string) string {
	h.t.Helper()
	b, err := os.ReadFile(h.path(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b)
}
