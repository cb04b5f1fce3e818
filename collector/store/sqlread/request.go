package sqlread

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/collector/store/engine"
)

// maxStatement caps the text of a statement, bytes.
const maxStatement = 256 << 10

// text returns the statement: the parameter query followed by the body.
func text(w http.ResponseWriter, r *http.Request) (string, error) {
	sql := r.URL.Query().Get("query")
	if r.Method == http.MethodGet {
		return sql, nil
	}
	if r.URL.Query().Get("decompress") == "1" {
		return "", engine.Refused(48, "NOT_IMPLEMENTED", "the statement is taken plain or as gzip")
	}
	var body io.Reader = http.MaxBytesReader(w, r.Body, maxStatement)
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return "", engine.Refused(23, "CANNOT_READ_FROM_ISTREAM", "decompress the body: "+err.Error())
		}
		body = z
	default:
		return "", engine.Refused(48, "NOT_IMPLEMENTED", "the statement is taken plain or as gzip")
	}
	rest, err := io.ReadAll(io.LimitReader(body, maxStatement+1))
	if err != nil {
		return "", engine.Refused(23, "CANNOT_READ_FROM_ISTREAM", "read the body: "+err.Error())
	}
	if len(sql)+len(rest) > maxStatement {
		return "", engine.Refused(62, "SYNTAX_ERROR", "the statement is longer than 256 KiB")
	}
	if sql != "" && len(rest) > 0 {
		sql += "\n"
	}
	return sql + string(rest), nil
}

// wire are the parameters that concern how the answer is sent.
var wire = []string{
	"default_format", "compress", "client_protocol_version", "enable_http_compression",
	"network_compression_method", "wait_end_of_query",
}

// ignored are parameters that have a meaning in ClickHouse and none here.
var ignored = []string{
	"query", "user", "password", "query_id", "quota_key", "session_id", "buffer_size", "add_http_cors_header", "stacktrace",
	"send_progress_in_http_headers", "http_headers_progress_interval_ms", "decompress",
}

// capped are settings that a caller may lower.
var capped = []string{"max_execution_time", "max_memory_usage", "max_result_rows", "max_result_bytes"}

// parameters returns what goes to ClickHouse with the statement: the format,
// values for {name:Type}, harmless settings of the caller, and ours.
func (d *Reader) parameters(r *http.Request, st engine.Select, c Caller) (url.Values, error) {
	out := url.Values{}
	for name, values := range r.URL.Query() {
		value := values[0]
		switch {
		case slices.Contains(ignored, name):
		case name == "database":
			if value != "" && value != "default" && value != d.o.Database {
				return nil, engine.Refused(497, "ACCESS_DENIED", "there is no other database here")
			}
		case name == "readonly", name == "additional_table_filters", len(values) > 1:
			return nil, engine.Refused(452, "SETTING_CONSTRAINT_VIOLATION", "not to be set here: "+name)
		case slices.Contains(wire, name), strings.HasPrefix(name, "param_"), slices.Contains(capped, name), engine.MayRead(name):
			out.Set(name, value)
		default:
			return nil, engine.Refused(452, "SETTING_CONSTRAINT_VIOLATION", "not to be set here: "+name)
		}
	}
	if f := r.Header.Get("X-ClickHouse-Format"); f != "" {
		out.Set("default_format", f)
	}
	if st.Format != "" {
		out.Set("default_format", st.Format)
	}
	d.constrain(out, c)
	return out, nil
}

// constrain sets the caps, the filters and readonly.
func (d *Reader) constrain(v url.Values, c Caller) {
	seconds := max(int64(d.o.Time.Seconds()), 1)
	limit(v, "max_execution_time", seconds)
	limit(v, "max_memory_usage", d.o.Memory)
	limit(v, "max_result_rows", d.o.Rows)
	limit(v, "max_result_bytes", d.o.Bytes)
	v.Set("database", d.o.Database)
	v.Set("additional_table_filters", filters(d.o.Database, c))
	v.Set("readonly", "1")
}
