package grafana

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Addresses say where Grafana finds what it reads. An empty one is left out.
type Addresses struct {
	Server       string // of agentrail serve, with sql.enabled. Mandatory.
	Token        string // of the role sql; or
	TokenFile    string // the file that Grafana itself reads it from. One of the two is mandatory.
	Tempo        string
	Prometheus   string
	Alertmanager string
	Folder       string // in which Grafana finds the dashboards. Mandatory.
}

// SQLPath is where the server answers SQL.
const SQLPath = "/agentrail/v1/sql"

// Provision returns the files of a provisioning folder by path: data sources,
// the provider, and the dashboards.
func Provision(a Addresses) (map[string][]byte, error) {
	sources, err := a.sources()
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for name, doc := range map[string]object{
		"provisioning/datasources/agentrail.yaml": {"apiVersion": 1, "datasources": sources},
		"provisioning/dashboards/agentrail.yaml": {"apiVersion": 1, "providers": []object{{
			"name": "agentrail", "type": "file", "folder": "Agentrail", "allowUiUpdates": false, "options": object{"path": a.Folder},
		}}},
	} {
		var b bytes.Buffer
		b.WriteString("# Written by agentrail grafana.\n")
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		if err := errors.Join(e.Encode(doc), e.Close()); err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
		out[name] = b.Bytes()
	}
	files, err := Files.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		b, err := Files.ReadFile(f.Name())
		if err != nil {
			return nil, err
		}
		out["dashboards/"+f.Name()] = b
	}
	return out, nil
}

func (a *Addresses) sources() ([]object, error) {
	u, err := address("server", a.Server)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		port = map[string]int{"http": 80, "https": 443}[u.Scheme]
	}
	var key string
	switch {
	case a.Token != "" && a.TokenFile != "" || a.Token == "" && a.TokenFile == "":
		return nil, errors.New("name the token of the role sql, or the file that Grafana reads it from")
	case a.TokenFile != "":
		key = "$__file{" + a.TokenFile + "}"
	default:
		key = strings.ReplaceAll(a.Token, "$", "$$") // Grafana puts variables in
	}
	out := []object{{
		"name": "Agentrail ClickHouse", "uid": ClickHouse, "type": kinds[ClickHouse], "access": "proxy", "editable": false,
		"jsonData": object{
			"host": u.Hostname(), "port": port, "protocol": "http", "secure": u.Scheme == "https", "path": SQLPath,
			"username": "agentrail", "defaultDatabase": "default",
		},
		"secureJsonData": object{"password": key},
	}}
	for _, s := range []struct{ uid, name, url string }{
		{Tempo, "Agentrail Tempo", a.Tempo}, {Prometheus, "Agentrail Prometheus", a.Prometheus}, {Alertmanager, "Agentrail Alertmanager", a.Alertmanager},
	} {
		if s.url == "" {
			continue
		}
		if _, err := address(strings.ToLower(s.name[len("Agentrail "):]), s.url); err != nil {
			return nil, err
		}
		o := object{"name": s.name, "uid": s.uid, "type": kinds[s.uid], "access": "proxy", "editable": false, "url": s.url}
		if s.uid == Alertmanager {
			o["jsonData"] = object{"implementation": "prometheus"}
		}
		out = append(out, o)
	}
	return out, nil
}

func address(what, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("address of %s is %q: write such as http://127.0.0.1:7680", what, s)
	}
	return u, nil
}
