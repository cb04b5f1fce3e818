// Package grafana holds Agentrail's dashboards for Grafana and the files that
// provision them. The dashboards are written in Go, a file each, since a panel
// is three lines there and forty in Grafana's JSON; the JSON beside this file is
// made from them (go test ./dashboards/grafana -update) and is what is shipped.
package grafana

import (
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
)

// Files are the dashboards as Grafana reads them.
//
//go:embed *.json
var Files embed.FS

// Data sources, by the uid that provisioning gives them.
const (
	ClickHouse   = "agentrail-clickhouse"
	Tempo        = "agentrail-tempo"
	Prometheus   = "agentrail-prometheus"
	Alertmanager = "agentrail-alertmanager"
)

// kinds are the plugins that the data sources are of.
var kinds = map[string]string{ClickHouse: "grafana-clickhouse-datasource", Tempo: "tempo", Prometheus: "prometheus", Alertmanager: "alertmanager"}

// Dashboard is one page of panels.
type Dashboard struct {
	UID, Title, About string
	From              string // the range that is shown first, such as now-24h
	Variables         []Variable
	Panels            []Panel
}

// Variable is a choice at the head of a dashboard. In a query it stands as
// has([${agent:sqlstring}], agent): with All chosen, Grafana puts All there,
// the column's own name.
type Variable struct {
	Name, Label string
	Query       string // SQL that lists the values; empty: a text box
	All         string // what All stands for; empty: one value must be chosen
}

// Panel is one picture.
type Panel struct {
	Title  string
	Kind   string // stat, timeseries, table, barchart, traces
	Source string // default: ClickHouse
	Query  string // SQL, PromQL or TraceQL
	Legend string // of PromQL
	Unit   string
	Width  int // of 24; default 12
	Height int // default 8
	About  string
	Links  map[string]string // by column of a table: address that its cells lead to
	Stack  bool
	Shows  []string // columns that the query must return
}

// All are the dashboards, in the order of the menu.
func All() []Dashboard {
	return []Dashboard{overview(), subscriptions(), toolCalls(), agent(), run(), pipeline()}
}

// object is one of JSON.
type object = map[string]any

// JSON writes the dashboard as Grafana 11 and later read it.
func (d *Dashboard) JSON() ([]byte, error) {
	var panels, variables []any
	x, y, row := 0, 0, 0 // of the next panel; height of the row
	for i, p := range d.Panels {
		w, h := cmp.Or(p.Width, 12), cmp.Or(p.Height, 8)
		if x+w > 24 {
			x, y, row = 0, y+row, 0
		}
		panels = append(panels, p.object(i+1, object{"x": x, "y": y, "w": w, "h": h}))
		x, row = x+w, max(row, h)
	}
	for _, v := range d.Variables {
		variables = append(variables, v.object())
	}
	b, err := json.MarshalIndent(object{
		"uid": d.UID, "title": d.Title, "description": d.About, "tags": []string{"agentrail"}, "schemaVersion": 39, "version": 1,
		"editable": true, "graphTooltip": 1, "refresh": "1m", "timezone": "browser", "time": object{"from": cmp.Or(d.From, "now-24h"), "to": "now"},
		"links": []any{object{
			"title": "Agentrail", "type": "dashboards", "tags": []string{"agentrail"}, "asDropdown": true, "includeVars": true, "keepTime": true,
		}},
		"annotations": object{"list": []any{}}, "templating": object{"list": variables}, "panels": panels,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write dashboard %s: %w", d.UID, err)
	}
	return append(b, '\n'), nil
}

func (v Variable) object() object {
	if v.Query == "" {
		return object{"name": v.Name, "label": v.Label, "type": "textbox", "query": "", "current": object{"text": "", "value": ""}}
	}
	o := object{
		"name": v.Name, "label": v.Label, "type": "query", "datasource": source(ClickHouse), "query": v.Query, "definition": v.Query,
		"refresh": 2, "sort": 1, "multi": v.All != "", "includeAll": v.All != "",
	}
	if v.All != "" {
		o["allValue"], o["current"] = v.All, object{"text": []string{"All"}, "value": []string{"$__all"}}
	}
	return o
}

func source(uid string) object { return object{"type": kinds[uid], "uid": uid} }

func (p *Panel) object(id int, at object) object {
	from := cmp.Or(p.Source, ClickHouse)
	return object{
		"id": id, "title": p.Title, "type": p.Kind, "description": p.About, "gridPos": at, "datasource": source(from),
		"targets": []any{p.target(from)}, "options": p.options(),
		"fieldConfig": object{"defaults": object{"unit": cmp.Or(p.Unit, "short"), "custom": p.custom()}, "overrides": p.overrides()},
	}
}

func (p *Panel) target(from string) object {
	t := object{"refId": "A", "datasource": source(from)}
	switch from {
	case ClickHouse:
		t["rawSql"], t["editorType"], t["format"], t["queryType"] = p.Query, "sql", 1, "table"
		if p.Kind == "timeseries" {
			t["format"], t["queryType"] = 0, "timeseries"
		}
	case Prometheus:
		t["expr"], t["legendFormat"], t["range"], t["instant"] = p.Query, p.Legend, p.Kind != "stat", p.Kind == "stat"
	case Tempo:
		t["query"], t["queryType"] = p.Query, "traceql"
	}
	return t
}

func (p *Panel) options() object {
	switch p.Kind {
	case "stat":
		return object{"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}, "colorMode": "value", "graphMode": "none", "textMode": "auto"}
	case "timeseries":
		return object{"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": object{"mode": "multi", "sort": "desc"}}
	case "barchart":
		return object{"orientation": "horizontal", "legend": object{"showLegend": false}}
	case "table":
		return object{"showHeader": true, "cellHeight": "sm"}
	}
	return object{}
}

func (p *Panel) custom() object {
	if p.Kind != "timeseries" {
		return object{}
	}
	c := object{"drawStyle": "line", "fillOpacity": 10, "showPoints": "never", "spanNulls": false}
	if p.Stack {
		c["drawStyle"], c["fillOpacity"], c["stacking"] = "bars", 80, object{"mode": "normal", "group": "A"}
	}
	return c
}

func (p *Panel) overrides() []any {
	out := []any{}
	for _, column := range p.Shows {
		if to := p.Links[column]; to != "" {
			out = append(out, object{
				"matcher":    object{"id": "byName", "options": column},
				"properties": []any{object{"id": "links", "value": []any{object{"title": "Open", "url": to}}}},
			})
		}
	}
	return out
}
