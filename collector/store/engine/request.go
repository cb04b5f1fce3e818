package engine

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/klauspost/compress/zstd"
)

// setting is one name = value.
type setting struct{ name, value string }

// request is what a client asks for.
type request struct {
	st        statement
	data      io.Reader // of an INSERT: what follows the statement
	database  string
	formatArg string
	settings  []setting
	params    []param
	revision  uint64 // protocol revision the client speaks
}

func (q *request) format() string {
	if q.st.format != "" {
		return q.st.format
	}
	return q.formatArg
}

// wire are the parameters of the URL that concern the transport, not the
// engine.
var wire = []string{
	"query", "database", "default_format", "user", "password", "compress", "decompress", "client_protocol_version",
	"query_id", "quota_key", "enable_http_compression", "http_zlib_compression_level", "network_compression_method",
	"network_zstd_compression_level", "wait_end_of_query", "buffer_size", "add_http_cors_header", "stacktrace",
	"send_progress_in_http_headers", "http_headers_progress_interval_ms",
}

var settingName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// readRequest reads parameters, headers and the statement. In a POST the
// statement is the parameter query followed by the body, except that the body
// after an INSERT ... FORMAT is its data.
func readRequest(r *http.Request) (*request, error) {
	v := r.URL.Query()
	q := &request{database: v.Get("database"), formatArg: v.Get("default_format"), data: bytes.NewReader(nil)}
	if f := r.Header.Get("X-ClickHouse-Format"); f != "" {
		q.formatArg = f
	}
	if q.formatArg == "" {
		q.formatArg = "TabSeparated"
	}
	if d := r.Header.Get("X-ClickHouse-Database"); d != "" {
		q.database = d
	}
	q.revision, _ = strconv.ParseUint(v.Get("client_protocol_version"), 10, 64)
	for _, name := range sortedKeys(v) {
		switch value := v.Get(name); {
		case slices.Contains(wire, name):
		case strings.HasPrefix(name, "param_"):
			q.params = append(q.params, param{strings.TrimPrefix(name, "param_"), value})
		case name == "session_id" || name == "role":
			return nil, refused(48, "NOT_IMPLEMENTED", "the embedded engine has no "+name)
		case !settingName.MatchString(name):
			return nil, refused(115, "UNKNOWN_SETTING", "no setting is named "+strconv.Quote(name))
		default:
			q.settings = append(q.settings, setting{name, value})
		}
	}
	return q, q.readStatement(r, v.Get("query"), v.Get("decompress") == "1")
}

func (q *request) readStatement(r *http.Request, sql string, decompress bool) error {
	if r.Method == http.MethodGet {
		q.st = parse(sql)
		return nil
	}
	body, err := decode(r, decompress)
	if err != nil {
		return err
	}
	q.st = parse(sql)
	if q.st.kind == kindInsert {
		q.data = body
		return nil
	}
	rest, err := io.ReadAll(io.LimitReader(body, maxStatement+1))
	if err != nil {
		return refused(23, "CANNOT_READ_FROM_ISTREAM", "read the body: "+err.Error())
	}
	if len(rest) > maxStatement {
		return refused(62, "SYNTAX_ERROR", "the statement is too large")
	}
	if sql != "" && len(rest) > 0 {
		sql += "\n"
	}
	q.st = parse(sql + string(rest))
	if len(q.st.tokens) == 0 {
		return refused(62, "SYNTAX_ERROR", "empty statement")
	}
	// An INSERT that came whole in the body carries its data in itself.
	return nil
}

// decode undoes the body's encoding: Content-Encoding first, then the blocks
// that ClickHouse clients compress themselves.
func decode(r *http.Request, blocks bool) (io.Reader, error) {
	var body io.Reader = r.Body
	var err error
	switch enc := r.Header.Get("Content-Encoding"); enc {
	case "", "identity":
	case "gzip":
		body, err = gzip.NewReader(body)
	case "deflate":
		body, err = zlib.NewReader(body)
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(body, zstd.WithDecoderConcurrency(1)); err == nil {
			body = z.IOReadCloser()
		}
	default:
		return nil, refused(48, "NOT_IMPLEMENTED", "no Content-Encoding "+strconv.Quote(enc)+" here; send gzip, deflate, zstd or none")
	}
	if err != nil {
		return nil, refused(23, "CANNOT_READ_FROM_ISTREAM", "decompress the body: "+err.Error())
	}
	if blocks {
		body = compress.NewReader(body)
	}
	return body, nil
}

func sortedKeys(v map[string][]string) []string {
	out := make([]string, 0, len(v))
	for k := range v {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func indexSetting(s []setting, name string) int {
	return slices.IndexFunc(s, func(s setting) bool { return s.name == name })
}

// lower returns the stricter of a cap and what was asked for; zero and what is
// not a number mean the cap.
func lower(limit, asked string) string {
	l, _ := strconv.ParseFloat(limit, 64)
	a, err := strconv.ParseFloat(asked, 64)
	if err != nil || !(a > 0 && a < l) {
		return limit
	}
	return asked
}

// joinSettings writes a SET statement's list; undo sets each to its default.
func joinSettings(settings []setting, undo bool) string {
	var b strings.Builder
	for i, s := range settings {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(s.name)
		if undo {
			b.WriteString(" = DEFAULT")
		} else {
			b.WriteString(" = " + quoteText(s.value))
		}
	}
	return b.String()
}

func quoteText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func quoteName(s string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(s) + "`"
}
