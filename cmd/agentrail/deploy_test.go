package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	amconfig "github.com/prometheus/alertmanager/config"
	"go.yaml.in/yaml/v4"

	"github.com/agentrail/agentrail/dashboards/grafana"
)

// compose is deploy/compose.yaml as far as it is looked at.
type compose struct {
	Services map[string]struct {
		Image, User   string
		Command       []string
		Ports, Expose []string
		Volumes       []string
		EnvFile       []string `yaml:"env_file"`
		DependsOn     []string `yaml:"depends_on"`
	}
	Volumes map[string]any
}

// deployed is a copy of deploy and dashboards in which setup.sh has run.
type deployed struct {
	t   *testing.T
	dir string
	c   compose
}

func newDeployed(t *testing.T) *deployed {
	t.Helper()
	d := &deployed{t: t, dir: t.TempDir()}
	for _, sub := range []string{"deploy/compose", "dashboards/grafana", "dashboards/prometheus"} {
		if err := os.CopyFS(filepath.Join(d.dir, sub), withoutSecrets{os.DirFS(filepath.Join("../..", sub))}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile("../../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Load(b, &d.c); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second one keeps what is there
		cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(d.dir, "deploy/compose/setup.sh"))
		cmd.Env = append(os.Environ(), "AGENTRAIL=agentrail")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("setup.sh: %v\n%s", err, out)
		}
	}
	return d
}

// withoutSecrets leaves out what setup.sh may have made in the working copy.
type withoutSecrets struct{ fs.FS }

func (w withoutSecrets) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(w.FS, name)
	return slices.DeleteFunc(all, func(e fs.DirEntry) bool { return e.Name() == "secrets" || e.Name() == "data" }), err
}

// host returns where a path of a container lies here, or "".
func (d *deployed) host(service, in string) string {
	for _, v := range d.c.Services[service].Volumes {
		from, to, _ := strings.Cut(v, ":")
		to, _, _ = strings.Cut(to, ":")
		if rest, ok := strings.CutPrefix(in, to); ok && strings.HasPrefix(from, ".") && (rest == "" || rest[0] == '/') {
			return filepath.Join(d.dir, "deploy", from, rest)
		}
	}
	return ""
}

// listens are the ports that a service is reached at by the others.
func (d *deployed) listens(service string) (out []string) {
	return d.c.Services[service].Expose
}

// TestCompose resolves what compose.yaml mounts, reads each configuration as
// its program would where that can be had here, and looks up every address in
// them among the services.
func TestCompose(t *testing.T) {
	d := newDeployed(t)
	for name, s := range d.c.Services {
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, named := d.c.Volumes[from]; named {
				continue
			}
			if _, err := os.Stat(filepath.Join(d.dir, "deploy", from)); err != nil {
				t.Errorf("%s mounts what is not there: %v", name, err)
			}
		}
		for _, f := range s.EnvFile {
			if _, err := os.Stat(filepath.Join(d.dir, "deploy", f)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, other := range s.DependsOn {
			if _, ok := d.c.Services[other]; !ok {
				t.Errorf("%s depends on %s, which there is not", name, other)
			}
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s publishes %s beyond loopback", name, p)
			}
		}
		if !strings.Contains(s.Image, ":") && s.Image != "agentrail" {
			t.Errorf("%s: image %s has no version", name, s.Image)
		}
	}
	d.ours("agentrail", "executor")
	d.addresses("compose/agentrail.yaml", "compose/executor.yaml", "compose/prometheus.yml", "compose/grafana/provisioning/datasources/agentrail.yaml")
	d.others()
}

// ours loads the configs of our services with their paths as they are mounted.
func (d *deployed) ours(services ...string) {
	d.t.Helper()
	for _, name := range services {
		file := d.host(name, "/etc/agentrail/agentrail.yaml")
		b, err := os.ReadFile(file)
		if err != nil {
			d.t.Fatal(err)
		}
		text := regexp.MustCompile(`(?m)(: )(/[a-z/.-]+)`).ReplaceAllStringFunc(string(b), func(m string) string {
			at := d.host(name, m[2:])
			if at == "" && !strings.Contains(string(b), m[2:]+" #") {
				d.t.Errorf("%s: nothing is mounted at %s", name, m[2:])
			}
			return ": " + firstOf(at, m[2:])
		})
		here := filepath.Join(d.t.TempDir(), "agentrail.yaml")
		if err := os.WriteFile(here, []byte(text), 0o600); err != nil {
			d.t.Fatal(err)
		}
		c, err := loadConfig(here)
		if err != nil {
			d.t.Fatalf("%s: %v", name, err)
		}
		if name == "agentrail" && (!c.SQL.Enabled || !strings.HasPrefix(c.SQL.URL.Reveal(), "http://agentrail_reader:") || c.SQL.URL.Reveal() == c.Store.DSN.Reveal()) {
			d.t.Errorf("%s: the SQL endpoint has no user of its own", name)
		}
		if name == "executor" && c.Executor == nil {
			d.t.Errorf("%s: no executor", name)
		}
	}
}

var hostPort = regexp.MustCompile(`(?:http://|\["|: )([a-z]+):(\d{4,5})\b`)

// addresses looks up every HOST:PORT, and the secrets that setup.sh wrote.
func (d *deployed) addresses(files ...string) {
	d.t.Helper()
	found := 0
	for _, f := range append(files, "compose/secrets/server/clickhouse.dsn", "compose/secrets/server/clickhouse.reader") {
		b, err := os.ReadFile(filepath.Join(d.dir, "deploy", f))
		if err != nil {
			d.t.Fatal(err)
		}
		text := regexp.MustCompile(`//[^/@\s]+@`).ReplaceAllString(string(b), "//")
		text = strings.ReplaceAll(text, "clickhouse://", "http://")
		for _, m := range hostPort.FindAllStringSubmatch(text, -1) {
			found++
			if !slices.Contains(d.listens(m[1]), m[2]) {
				d.t.Errorf("%s names %s:%s, where nobody listens", f, m[1], m[2])
			}
		}
	}
	if found < 12 {
		d.t.Errorf("only %d addresses were found", found)
	}
}

// others reads the configurations of the other programs.
func (d *deployed) others() {
	d.t.Helper()
	if _, err := amconfig.LoadFile(d.host("alertmanager", "/etc/alertmanager/alertmanager.yml")); err != nil {
		d.t.Errorf("alertmanager: %v", err)
	}
	var prom struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			Authorization struct {
				File string `yaml:"credentials_file"`
			}
		} `yaml:"scrape_configs"`
	}
	d.load(d.host("prometheus", "/etc/prometheus/prometheus.yml"), &prom)
	paths := prom.RuleFiles
	for _, s := range prom.ScrapeConfigs {
		paths = append(paths, s.Authorization.File)
	}
	for _, p := range paths {
		if info, err := os.Stat(d.host("prometheus", p)); err != nil || info.Size() == 0 {
			d.t.Errorf("prometheus: %s: %v", p, err)
		}
	}
	var tempo map[string]any
	d.load(d.host("tempo", "/etc/tempo.yaml"), &tempo)
	b, err := os.ReadFile(d.host("clickhouse", "/etc/clickhouse-server/users.d/agentrail.xml"))
	if err != nil {
		d.t.Fatal(err)
	}
	for dec := xml.NewDecoder(bytes.NewReader(b)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			d.t.Fatalf("clickhouse: %v", err)
		}
	}
	env, err := os.ReadFile(filepath.Join(d.dir, "deploy/compose/secrets/clickhouse.env"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`from_env="([A-Z_]+)"`).FindAllStringSubmatch(string(b), -1) {
		if !strings.Contains(string(env), m[1]+"=") {
			d.t.Errorf("clickhouse: %s is not in its environment", m[1])
		}
	}
	want, err := grafana.Provision(grafana.Addresses{
		Server: "http://agentrail:7680", TokenFile: "/run/agentrail/sql.token", Tempo: "http://tempo:3200", Prometheus: "http://prometheus:9090",
		Alertmanager: "http://alertmanager:9093", Folder: "/var/lib/agentrail-dashboards",
	})
	if err != nil {
		d.t.Fatal(err)
	}
	for name, text := range want {
		at := path.Join("/etc/grafana", name)
		if strings.HasPrefix(name, "dashboards/") {
			at = path.Join("/var/lib/agentrail-dashboards", path.Base(name))
		}
		if got, err := os.ReadFile(d.host("grafana", at)); err != nil || !bytes.Equal(got, text) {
			d.t.Errorf("grafana: %s is not what agentrail grafana writes (%v)", at, err)
		}
	}
	if info, err := os.Stat(d.host("grafana", "/run/agentrail/sql.token")); err != nil || info.Size() == 0 {
		d.t.Errorf("grafana's token: %v", err)
	}
}

func (d *deployed) load(file string, into any) {
	d.t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Load(b, into)
	}
	if err != nil {
		d.t.Errorf("%s: %v", file, err)
	}
}

// TestImage looks for what the image must be: not root, no shell, and nothing
// copied that is not there.
func TestImage(t *testing.T) {
	b, err := os.ReadFile("../../deploy/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, last, _ := strings.Cut(string(b), "FROM gcr.io/distroless/")
	if !regexp.MustCompile(`(?m)^USER 65532:65532$`).MatchString(last) || strings.Contains(last, "RUN ") {
		t.Errorf("the last stage is not distroless as nonroot:\n%s", last)
	}
	for _, m := range regexp.MustCompile(`(?m)^COPY ([^-].*) \S+$`).FindAllStringSubmatch(string(b), -1) {
		for f := range strings.FieldsSeq(m[1]) {
			if _, err := os.Stat(filepath.Join("../..", f)); err != nil {
				t.Errorf("COPY %s: %v", f, err)
			}
		}
	}
}

// TestUnits looks for the commands of the systemd units among our verbs and
// flags, and for their sandbox.
func TestUnits(t *testing.T) {
	for unit, verb := range map[string]string{"agentrail": "serve", "agentrail-executor": "executor"} {
		b, err := os.ReadFile("../../deploy/systemd/" + unit + ".service")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"ExecStart=/usr/bin/agentrail " + verb + " --config /etc/agentrail/agentrail.yaml", "NoNewPrivileges=yes", "ProtectSystem=strict",
			"ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes", "CapabilityBoundingSet=", "RestrictNamespaces=yes", "SystemCallFilter=@system-service",
			"User=" + unit, "StateDirectory=" + unit, "UMask=0077",
		} {
			if !slices.ContainsFunc(strings.Split(string(b), "\n"), func(line string) bool { return strings.HasPrefix(line, want) }) {
				t.Errorf("%s.service lacks %s", unit, want)
			}
		}
		cmd, _, err := newRoot(&console{}).Find([]string{verb})
		if err != nil || cmd.Flags().Lookup("config") == nil {
			t.Errorf("%s: no such verb, or it has no --config: %v", verb, err)
		}
	}
}
