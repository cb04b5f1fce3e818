package grafana_test

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/agentrail/agentrail/dashboards/grafana"
)

// TestProvision reads the files back: every source that a panel names is there,
// and the token stands in one place only.
func TestProvision(t *testing.T) {
	files, err := grafana.Provision(grafana.Addresses{
		Server: "https://agentrail.example", Token: "ar_$ecret", Tempo: "http://tempo:3200", Prometheus: "http://prometheus:9090",
		Alertmanager: "http://alertmanager:9093", Folder: "/var/lib/grafana/agentrail",
	})
	if err != nil {
		t.Fatal(err)
	}
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			UID, Type, URL string
			JSONData       struct {
				Host, Path, Protocol string
				Port                 int
				Secure               bool
			} `yaml:"jsonData"`
			SecureJSONData map[string]string `yaml:"secureJsonData"`
		}
	}
	if err := yaml.Load(files["provisioning/datasources/agentrail.yaml"], &sources); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, s := range sources.Datasources {
		known[s.UID] = true
	}
	ch := sources.Datasources[0]
	if sources.APIVersion != 1 || ch.JSONData.Host != "agentrail.example" || ch.JSONData.Port != 443 || !ch.JSONData.Secure || ch.JSONData.Path != grafana.SQLPath || ch.SecureJSONData["password"] != "ar_$$ecret" {
		t.Errorf("ClickHouse is provisioned as %+v", ch)
	}
	for _, d := range grafana.All() {
		if files["dashboards/"+d.UID+".json"] == nil {
			t.Errorf("dashboard %s is not among the files", d.UID)
		}
		for _, p := range d.Panels {
			if p.Source != "" && !known[p.Source] || !known[grafana.ClickHouse] {
				t.Errorf("%s: %s asks %s, which is not provisioned", d.UID, p.Title, p.Source)
			}
		}
	}
	for name, b := range files {
		if name != "provisioning/datasources/agentrail.yaml" && strings.Contains(string(b), "ecret") {
			t.Errorf("the token stands in %s", name)
		}
	}
	if !strings.Contains(string(files["provisioning/dashboards/agentrail.yaml"]), "path: /var/lib/grafana/agentrail\n") {
		t.Errorf("the provider: %s", files["provisioning/dashboards/agentrail.yaml"])
	}
	for _, bad := range []grafana.Addresses{
		{Server: "agentrail:7680", Token: "a", Folder: "/x"},
		{Server: "http://a", Folder: "/x"},
		{Server: "http://a", Token: "a", TokenFile: "b", Folder: "/x"},
		{Server: "http://a", Token: "a", Tempo: "tempo", Folder: "/x"},
	} {
		if _, err := grafana.Provision(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
