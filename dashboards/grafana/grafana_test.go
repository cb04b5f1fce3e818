package grafana_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/dashboards/grafana"
)

var update = flag.Bool("update", false, "write the JSON files anew")

// TestFiles holds the shipped JSON against what it is made from.
func TestFiles(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range grafana.All() {
		want, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		name := d.UID + ".json"
		seen[name] = true
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := grafana.Files.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what it is made from (%v): run go test ./dashboards/grafana -update", name, err)
		}
	}
	files, err := grafana.Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f.Name()] {
			t.Errorf("%s is no dashboard of ours", f.Name())
		}
	}
}

// document is what Grafana looks at first.
type document struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type string }
	}
	Panels []struct {
		ID         int
		Title      string
		Type       string
		GridPos    struct{ X, Y, W, H int }
		Datasource struct{ Type, UID string }
		Targets    []struct {
			RefID                          string
			RawSQL, Expr, Query, QueryType string
			Datasource                     struct{ Type, UID string }
		}
	}
}

var variable = regexp.MustCompile(`\$\{?([a-z]+)[:}]`)

// TestShape looks for what Grafana would refuse or show on top of something
// else.
func TestShape(t *testing.T) {
	uids := map[string]bool{}
	for _, d := range grafana.All() {
		b, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var doc document
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		if doc.UID == "" || len(doc.UID) > 40 || uids[doc.UID] || doc.Title == "" || doc.SchemaVersion < 39 {
			t.Errorf("%s: uid, title or schemaVersion %d will not do", doc.UID, doc.SchemaVersion)
		}
		uids[doc.UID] = true
		var known []string
		for _, v := range doc.Templating.List {
			known = append(known, v.Name)
		}
		ids := map[int]bool{}
		taken := map[[2]int]string{}
		for _, p := range doc.Panels {
			if p.ID <= 0 || ids[p.ID] || p.Title == "" || !slices.Contains([]string{"stat", "timeseries", "table", "barchart", "traces"}, p.Type) {
				t.Errorf("%s: panel %d %q of type %s: id, title or type will not do", doc.UID, p.ID, p.Title, p.Type)
			}
			ids[p.ID] = true
			at := p.GridPos
			if at.W < 1 || at.H < 2 || at.X < 0 || at.X+at.W > 24 {
				t.Errorf("%s: %s lies outside: %+v", doc.UID, p.Title, at)
			}
			for x := at.X; x < at.X+at.W; x++ {
				for y := at.Y; y < at.Y+at.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						t.Fatalf("%s: %s lies over %s", doc.UID, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			if len(p.Targets) != 1 || p.Datasource.UID == "" || p.Datasource.Type == "" || p.Targets[0].Datasource != p.Datasource {
				t.Errorf("%s: %s has no query or no source", doc.UID, p.Title)
				continue
			}
			q := p.Targets[0].RawSQL + p.Targets[0].Expr + p.Targets[0].Query
			for _, m := range variable.FindAllStringSubmatch(q, -1) {
				if !slices.Contains(known, m[1]) {
					t.Errorf("%s: %s uses the variable %s, which there is not", doc.UID, p.Title, m[1])
				}
			}
			if strings.TrimSpace(q) == "" {
				t.Errorf("%s: %s asks nothing", doc.UID, p.Title)
			}
		}
	}
}
