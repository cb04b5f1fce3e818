package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/dashboards/grafana"
)

func newGrafana(c *console) *cobra.Command {
	var a grafana.Addresses
	var out, token string
	cmd := &cobra.Command{
		Use:   "grafana",
		Short: "Write Grafana's provisioning files and dashboards",
		Long: "Writes data sources, dashboards and their provider, filled in with your addresses and the token of a principal\n" +
			"with the role sql. Without --out the data sources are printed.",
		Example: "  agentrail token new --file tokens.yaml --name grafana --roles sql > grafana.token\n" +
			"  agentrail grafana --sql-token grafana.token --out /etc/grafana/agentrail",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if token != "" {
				b, err := os.ReadFile(token)
				if err != nil {
					return hintf("make it with: agentrail token new --name grafana --roles sql", "read token: %w", err)
				}
				a.Token = strings.TrimSpace(string(b))
			}
			if a.Folder == "" && out != "" {
				a.Folder = filepath.Join(abs(out), "dashboards")
			}
			files, err := grafana.Provision(a)
			if err != nil {
				return err
			}
			if out == "" {
				_, err := c.out.Write(files["provisioning/datasources/agentrail.yaml"])
				return err
			}
			return writeProvisioning(c, out, files)
		},
	}
	f := cmd.Flags()
	f.StringVar(&a.Server, "address", defaultServer, "of agentrail serve, as Grafana reaches it")
	f.StringVar(&token, "sql-token", "", "file with a token of the role sql, put into the files")
	f.StringVar(&a.TokenFile, "sql-token-file", "", "or the file on Grafana's machine that Grafana reads the token from")
	f.StringVar(&a.Tempo, "tempo", "", "address of Tempo")
	f.StringVar(&a.Prometheus, "prometheus", "", "address of Prometheus")
	f.StringVar(&a.Alertmanager, "alertmanager", "", "address of Alertmanager")
	f.StringVar(&a.Folder, "dashboards", "", "folder in which Grafana finds the dashboards (default: dashboards in --out)")
	f.StringVar(&out, "out", "", "folder to write to")
	return cmd
}

// writeProvisioning writes the files below dir; the one with the token can be
// read by its owner and group only.
func writeProvisioning(c *console, dir string, files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path, mode := filepath.Join(dir, filepath.FromSlash(name)), os.FileMode(0o644)
		if strings.HasPrefix(name, "provisioning/datasources/") {
			mode = 0o640
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		if err := os.WriteFile(path, files[name], mode); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := os.Chmod(path, mode); err != nil { // of a file that was there
			return fmt.Errorf("write %s: %w", name, err)
		}
		fmt.Fprintln(c.out, path)
	}
	return nil
}
