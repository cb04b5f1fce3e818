package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// The faults that a config can have are files in testdata/config, each named
// after its fault; the .err beside it is what validate says.
func TestConfigFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			_, err := loadConfig(f)
			if err == nil {
				t.Fatal("was taken")
			}
			golden := strings.TrimSuffix(f, ".yaml") + ".err"
			if *update {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, _ := os.ReadFile(golden)
			if d := cmp.Diff(string(want), err.Error()+"\n"); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestShippedConfigLoads(t *testing.T) {
	c, err := loadConfig("../../deploy/agentrail.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Sources) != 2 || len(c.Detectors) != 10 || len(c.Sinks) != 1 {
		t.Errorf("parts = %d sources, %d detectors, %d sinks", len(c.Sources), len(c.Detectors), len(c.Sinks))
	}
}

func TestConfigFolderAdds(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "config.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.yaml", "version: 1\nsinks: [{kind: file, name: one, path: x}]\n")
	write("config.d/b.yaml", "sinks: [{kind: file, name: two, path: y}]\ndetectors: []\n")
	c, err := loadConfig(filepath.Join(dir, "a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Sinks) != 2 || len(c.Detectors) != 0 || len(c.Sources) != 2 {
		t.Errorf("parts = %d sinks, %d detectors, %d sources; want 2, 0, 2", len(c.Sinks), len(c.Detectors), len(c.Sources))
	}
}

// TestShippedConfig: the commented config that the README names is valid.
func TestShippedConfig(t *testing.T) {
	cfg, err := loadConfig(filepath.Join("..", "..", "deploy", "agentrail.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.checkParts(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestGatewayInThreeLines: the README puts the gateway in front of an MCP server
// with these lines, and they are enough.
func TestGatewayInThreeLines(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(filepath.Join("testdata", "gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, three, _ := strings.Cut(string(lines), "\n")
	if strings.Count(three, "\n") != 3 || !strings.Contains(string(readme), "```yaml\n"+three+"```") {
		t.Errorf("the README does not hold\n%s", three)
	}
	c, err := loadConfig(filepath.Join("testdata", "gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.checkParts(t.Context()); err != nil || c.Executor.Listen != "127.0.0.1:7690" || c.Executor.Actions.Servers[0].Name != "notes" {
		t.Errorf("%+v, %v", c.Executor, err)
	}
}
