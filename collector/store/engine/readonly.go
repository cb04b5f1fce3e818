package engine

import (
	"slices"
	"strings"
)

// outside are the functions and table functions that reach out of the engine
// or into its files. The sandbox stops them too; the reader's statements do
// not get that far.
var outside = []string{
	"arrowflight", "azureblobstorage", "catboostevaluate", "cluster", "clusterallreplicas", "cosn", "deltalake",
	"dictionary", "executable", "file", "filecluster", "gcs", "hdfs", "hive", "hudi", "iceberg", "input", "jdbc",
	"loop", "meilisearch", "merge", "mergetreeanalyzeindexes", "mergetreeindex", "mergetreeprojection",
	"mergetreetextindex", "mongodb", "mysql", "nlp", "odbc", "oss", "paimon", "postgresql", "prometheusquery",
	"python", "redis", "remote", "remotesecure", "s3", "sqlite", "timeseries", "url", "ytsaurus",
	"sleep", "sleepeachrow", "throwif", "addresstoline", "addresstosymbol", "demangle",
}

// readable reports, as an exception, why a statement may not be run by the
// reader: it must be one statement that reads, from tables only, within the
// reader's settings.
func (st *statement) readable() error {
	if st.kind != kindSelect && st.kind != kindShow {
		return refused(164, "READONLY", "the query user may run SELECT, WITH, SHOW, DESCRIBE, EXPLAIN and EXISTS only")
	}
	for i, t := range st.tokens {
		var next token
		if i+1 < len(st.tokens) {
			next = st.tokens[i+1]
		}
		switch {
		case t.kind == ';' && i+1 < len(st.tokens):
			return refused(62, "SYNTAX_ERROR", "one statement at a time")
		case (t.is("into") || t.is("from")) && (next.is("outfile") || next.is("infile")):
			return refused(497, "ACCESS_DENIED", "the query user has no access to files")
		case t.is("settings") && (next.kind == 'w' || next.kind == 'q') && i+2 < len(st.tokens) && st.tokens[i+2].kind == '=':
			return refused(164, "READONLY", "the query user gives settings as parameters of the request, not in the statement")
		case next.kind == '(' && t.kind == '}':
			return refused(497, "ACCESS_DENIED", "a function's name cannot be a parameter")
		case next.kind == '(' && (t.kind == 'w' || t.kind == 'q') && reachesOut(t.text):
			return refused(497, "ACCESS_DENIED", "the query user may not call "+t.text)
		}
	}
	return nil
}

// reachesOut also catches the variants that end in Cluster, Local, S3, Azure...
func reachesOut(function string) bool {
	f := strings.ToLower(function)
	if slices.Contains(outside, f) {
		return true
	}
	for _, prefix := range []string{"azureblobstorage", "deltalake", "hdfs", "hudi", "iceberg", "paimon", "s3", "url", "file", "remote", "gcs", "ytsaurus", "timeseries"} {
		if strings.HasPrefix(f, prefix) && (strings.HasSuffix(f, "cluster") || strings.HasSuffix(f, "local") ||
			strings.HasSuffix(f, "s3") || strings.HasSuffix(f, "azure") || strings.HasSuffix(f, "hdfs") || strings.HasSuffix(f, "secure")) {
			return true
		}
	}
	return false
}

// readerSettings are what a reader may set beside the caps, which are lowered
// and never raised.
var readerSettings = map[string]bool{
	"max_threads":                 true,
	"max_block_size":              true,
	"max_rows_to_read":            true,
	"max_bytes_to_read":           true,
	"max_result_bytes":            true,
	"additional_table_filters":    true, // narrows only
	"join_use_nulls":              true,
	"group_by_use_nulls":          true,
	"final":                       true,
	"session_timezone":            true,
	"limit":                       true,
	"offset":                      true,
	"prefer_column_name_to_alias": true,
	"date_time_output_format":     true,
	"output_format_json_quote_64bit_integers":            true,
	"output_format_json_quote_denormals":                 true,
	"output_format_json_named_tuples_as_objects":         true,
	"output_format_native_encode_types_in_binary_format": true,
	"output_format_native_write_json_as_string":          true,
}
