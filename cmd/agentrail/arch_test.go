package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// edges is the import graph between our packages: what each may import. A new
// edge is a line here that somebody reviews. Packages meet in cmd/agentrail and
// in the journal; detectors, sinks, store and notary do not know one another.
var edges = map[string][]string{
	"schemas":                       {"internal/jsonscan"},
	"schemas/mapping":               {},
	"schemas/clickhouse":            {},
	"internal/plug":                 {},
	"internal/auth":                 {"internal/problem", "internal/durable"},
	"internal/auth/authtest":        {},
	"internal/problem":              {},
	"internal/durable":              {},
	"internal/rest":                 {"internal/problem"},
	"internal/jsonscan":             {},
	"internal/otlpwire":             {},
	"internal/tlsconf":              {},
	"internal/kafkadial":            {"internal/plug", "internal/tlsconf"},
	"internal/webhooksig":           {},
	"collector":                     {"schemas", "collector/decode", "collector/journal", "internal/otlpwire", "internal/plug", "internal/auth", "internal/problem", "internal/durable", "internal/kafkadial", "internal/tlsconf"},
	"collector/decode":              {"schemas", "schemas/mapping", "internal/jsonscan", "internal/otlpwire", "internal/plug", "internal/durable"},
	"collector/journal":             {"schemas", "internal/durable"},
	"collector/journal/journaltest": {"schemas", "collector/journal"},
	"collector/notary":              {"schemas", "collector/journal", "internal/durable"},
	"collector/survey":              {"schemas"},
	"collector/store":               {"schemas", "schemas/clickhouse", "collector/journal", "collector/store/engine", "internal/otlpwire"},
	"collector/store/engine":        {"internal/durable"},
	"collector/store/sqlread":       {"collector/store/engine"},
	"collector/recent":              {"schemas"},
	"detectors":                     {"schemas", "internal/plug", "internal/otlpwire"},
	"detectors/sigma":               {"detectors", "detectors/rules", "schemas", "schemas/mapping", "internal/plug", "internal/jsonscan", "internal/otlpwire"},
	"detectors/rules":               {},
	"sinks":                         {"schemas", "sinks/format", "collector/journal", "internal/plug", "internal/durable", "internal/kafkadial", "internal/tlsconf", "internal/webhooksig"},
	"sinks/alerting":                {"schemas", "sinks", "internal/plug", "internal/auth", "internal/problem", "internal/durable"},
	"sinks/format":                  {"schemas"},
	"sinks/sinktest":                {},
	"sinks/sinktest/receivers":      {"sinks/sinktest"},
	"executor":                      {"executor/gate", "internal/plug"},
	"executor/gate":                 {"internal/plug"},
	"executor/brake":                {"executor/state", "executor/trail", "schemas"},
	"executor/state":                {"internal/durable"},
	"executor/trail":                {"executor/gate", "internal/durable"},
	"executor/platform":             {"executor", "executor/brake", "executor/gate", "executor/state", "executor/trail", "internal/auth", "internal/problem", "internal/rest"},
	"executor/response":             {"executor/state", "executor/trail", "internal/auth", "internal/plug", "internal/problem", "schemas", "internal/webhooksig"},
	"executor/action":               {"executor/gate", "internal/plug"},
	"executor/action/actiontest":    {},
	"executor/adversary":            {},
	"executor/run":                  {"executor", "executor/action", "executor/gate", "executor/state", "executor/trail"},
	"executor/gateway":              {"executor/action", "executor/gate", "executor/run", "executor/state", "executor/trail", "internal/auth", "internal/durable", "internal/problem"},
	"executor/trigger":              {"executor", "executor/gate", "executor/run", "executor/state", "executor/trail", "internal/plug", "internal/problem", "internal/webhooksig"},
	"deploy/sample":                 {"schemas"},
	"deploy/sample/agents":          {},
	"deploy/sample/watch":           {"schemas", "deploy/sample", "collector/decode", "detectors", "detectors/sigma", "internal/plug"},
	"deploy/scenarios":              {"deploy/sample", "deploy/sample/watch"},
	"deploy/brake":                  {"deploy/sample", "deploy/sample/watch", "executor/platform", "executor/response", "executor/state", "executor/trail", "internal/auth", "schemas"},
	"deploy/bench":                  {"collector/journal", "collector/decode", "deploy/sample", "schemas"},
	"dashboards/grafana":            {},
	"dashboards/console":            {"schemas", "internal/auth", "cmd/agentrail/api", "executor/platform", "executor/response", "internal/problem"},
	"cmd/agentrail/api":             {"schemas", "collector/journal", "collector/survey", "internal/auth", "internal/problem", "internal/rest"},
}

// free may import anything of ours: programs, which wire.
var free = []string{"cmd/agentrail", "deploy/faults"}

// TestProviderOfTestsIsNotLinked: the identity provider that tests log in at is no
// part of the program.
func TestProviderOfTestsIsNotLinked(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "github.com/agentrail/agentrail/cmd/agentrail").Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	if !strings.Contains(string(out), "github.com/coreos/go-oidc/v3/oidc") || strings.Contains(string(out), "zitadel") {
		t.Error("the program links the provider of the tests, or no client of providers")
	}
}

func TestImportGraph(t *testing.T) {
	const module = "github.com/agentrail/agentrail/"
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	seen := map[string]bool{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		seen[name] = true
		if slices.Contains(free, name) {
			continue
		}
		allowed, known := edges[name]
		if !known {
			t.Errorf("package %s is not in the table of edges", name)
		}
		for _, imp := range p.Imports {
			if to, ours := strings.CutPrefix(imp, module); ours && !slices.Contains(allowed, to) {
				t.Errorf("new edge %s -> %s", name, to)
			}
		}
	}
	for name := range edges {
		if !seen[name] {
			t.Errorf("package %s is in the table of edges but not in the tree", name)
		}
	}
}
