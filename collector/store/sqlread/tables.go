package sqlread

import (
	"slices"
	"strings"
)

// tables are what may be read, and the column in which each has its tenant.
var tables = map[string]string{
	"events":                  "tenant",
	"events_per_hour":         "tenant",
	"runs":                    "tenant",
	"alerts":                  "tenant",
	"alerts_latest":           "tenant",
	"responses":               "tenant",
	"spans":                   "Tenant",
	"otel_traces_trace_id_ts": "Tenant",
}

// contents are tables that hold prompts, arguments and answers.
var contents = map[string]string{"raw": "tenant", "otel_traces": "Tenant"}

// hidden are the store's own.
var hidden = []string{"agentrail_meta", "agentrail_probe", "agentrail_migrations"}

// allowed reports whether the caller may read the table.
func allowed(table string, c Caller) bool {
	_, open := tables[table]
	_, content := contents[table]
	return open || content && c.Content
}

// names returns what the caller may read, for messages.
func names(c Caller) string {
	var out []string
	for _, set := range []map[string]string{tables, contents} {
		for name := range set {
			if allowed(name, c) {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// filters is the setting additional_table_filters: the engine adds each to
// every read of its table, inside views, too. raw is filtered to nothing for
// who may not read it; otel_traces is not, since the view spans reads it.
func filters(database string, c Caller) string {
	var b strings.Builder
	add := func(table, filter string) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quote(database+"."+table) + ": " + quote(filter))
	}
	for _, set := range []map[string]string{tables, contents} {
		for table, column := range set {
			filter := column + " = " + quote(c.Tenant)
			if table == "raw" && !c.Content {
				filter = "0"
			}
			add(table, filter)
		}
	}
	for _, table := range hidden {
		add(table, "0")
	}
	return "{" + b.String() + "}"
}

// quote writes a string literal of SQL.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
