package main

import (
	"context"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/agentrail/agentrail/dashboards/grafana"
)

// metricName finds metrics of ours; recorded ones have colons.
var metricName = regexp.MustCompile(`\bagentrail[_:][a-z0-9_:]+`)

// scrape reads /metrics as Prometheus does.
func scrape(ctx context.Context, address, token string) (map[string]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return parser.TextToMetricFamilies(resp.Body)
}

// TestMetricNames looks up every metric that the Prometheus rules and the
// dashboards name in what a server and an executor export.
func TestMetricNames(t *testing.T) {
	b := newBoards(t)
	h := newHouse(t)
	viewer, err := os.ReadFile(h.path("ann@example.com.token"))
	if err != nil {
		t.Fatal(err)
	}
	exported := map[string]bool{}
	for address, token := range map[string]string{b.url: b.token, h.address: string(viewer)} {
		families, err := scrape(t.Context(), address, token)
		if err != nil {
			t.Fatal(err)
		}
		for name := range families {
			exported[name] = true
		}
	}
	rules, err := os.ReadFile("../../dashboards/prometheus/agentrail.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)record: (\S+)$`).FindAllStringSubmatch(string(rules), -1) {
		exported[m[1]] = true
	}
	texts := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)expr: (.+)$`).FindAllStringSubmatch(string(rules), -1) {
		texts["rule "+m[1]] = m[1]
	}
	for _, d := range grafana.All() {
		for _, p := range d.Panels {
			if p.Source == grafana.Prometheus {
				texts[d.UID+": "+p.Title] = p.Query
			}
		}
	}
	if len(texts) < 30 {
		t.Fatalf("%d queries were found", len(texts))
	}
	for where, query := range texts {
		for _, name := range metricName.FindAllString(query, -1) {
			if !exported[name] && !exported[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("%s names %s, which nobody exports", where, name)
			}
		}
	}
}

// TestRulesNameVerbs looks up the commands that the rules tell people to run.
func TestRulesNameVerbs(t *testing.T) {
	rules, err := os.ReadFile("../../dashboards/prometheus/agentrail.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var verbs []string
	for _, cmd := range newRoot(&console{}).Commands() {
		verbs = append(verbs, cmd.Name())
	}
	for _, m := range regexp.MustCompile(`(?:Run|See|see|by|then|but) agentrail ([a-z]+)`).FindAllStringSubmatch(string(rules), -1) {
		if !slices.Contains(verbs, m[1]) {
			t.Errorf("the rules name agentrail %s, which there is not", m[1])
		}
	}
}
