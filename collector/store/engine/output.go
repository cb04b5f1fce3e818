package engine

import (
	"compress/gzip"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// frame is how much is compressed at once, bytes.
const frame = 1 << 20

// output is an answer under way: compressed as the client asked, and able to
// fail after part of it was sent.
type output struct {
	w       http.ResponseWriter
	blocks  *compress.Writer // ClickHouse's own compression, else nil
	pending []byte           // not yet compressed into a block
	zip     *gzip.Writer     // Content-Encoding, else nil
	gzip    bool
	tag     string
	started bool
	rows    uint64 // of the result
}

// SummaryHeader is where ClickHouse says what a statement came to. Here it is a
// trailer, and holds result_rows alone.
const SummaryHeader = "X-Clickhouse-Summary"

func newOutput(w http.ResponseWriter, r *http.Request) *output {
	o := &output{w: w}
	v := r.URL.Query()
	if v.Get("compress") == "1" {
		method := compress.LZ4
		if strings.EqualFold(v.Get("network_compression_method"), "zstd") {
			method = compress.ZSTD
		}
		o.blocks = compress.NewWriter(compress.LevelZero, method)
	}
	o.gzip = v.Get("enable_http_compression") == "1" && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
	h := w.Header()
	h.Set("X-ClickHouse-Server-Display-Name", "agentrail")
	h.Set("X-ClickHouse-Timezone", "UTC")
	h.Set("X-Content-Type-Options", "nosniff")
	return o
}

// format sets the headers of a good answer; only the first call counts.
func (o *output) format(name string) {
	if o.started {
		return
	}
	o.started = true
	o.tag = rand.Text()[:16]
	h := o.w.Header()
	h.Set("X-ClickHouse-Format", name)
	h.Set("X-ClickHouse-Exception-Tag", o.tag)
	h.Set("Trailer", SummaryHeader)
	h.Set("Content-Type", contentType(name))
	if o.gzip {
		h.Set("Content-Encoding", "gzip")
		o.zip = gzip.NewWriter(o.w)
	}
}

func contentType(format string) string {
	switch f := strings.ToLower(format); {
	case strings.HasSuffix(f, "eachrow") || f == "jsonlines" || f == "ndjson":
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(f, "json"):
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(f, "csv"):
		return "text/csv; charset=UTF-8"
	case strings.HasPrefix(f, "tabseparated") || strings.HasPrefix(f, "tsv"):
		return "text/tab-separated-values; charset=UTF-8"
	case strings.HasPrefix(f, "pretty"):
		return "text/plain; charset=UTF-8"
	}
	return "application/octet-stream"
}

// chunk sends the next rows of a good answer.
func (o *output) chunk(format string, b []byte, rows uint64) error {
	o.format(format)
	o.rows += rows
	_, err := o.Write(b)
	return err
}

// Write sends a part of the answer. format was called before.
func (o *output) Write(b []byte) (int, error) {
	if o.blocks == nil {
		return o.raw(b)
	}
	for rest := b; len(rest) > 0; {
		n := min(len(rest), frame-len(o.pending))
		o.pending = append(o.pending, rest[:n]...)
		rest = rest[n:]
		if len(o.pending) == frame {
			if err := o.block(); err != nil {
				return 0, err
			}
		}
	}
	return len(b), nil
}

func (o *output) raw(b []byte) (int, error) {
	if o.zip != nil {
		return o.zip.Write(b)
	}
	return o.w.Write(b)
}

// block compresses and sends what is pending.
func (o *output) block() error {
	if len(o.pending) == 0 {
		return nil
	}
	if err := o.blocks.Compress(o.pending); err != nil {
		return fmt.Errorf("compress the answer: %w", err)
	}
	o.pending = o.pending[:0]
	_, err := o.raw(o.blocks.Data)
	return err
}

// close ends a good answer.
func (o *output) close() error {
	if o.blocks != nil {
		if err := o.block(); err != nil {
			return err
		}
	}
	o.w.Header().Set(SummaryHeader, fmt.Sprintf(`{"result_rows":"%d"}`, o.rows))
	if o.zip != nil {
		return o.zip.Close()
	}
	return nil
}

// fail answers with an exception: as the whole answer if nothing was sent yet,
// else framed behind what was.
func (o *output) fail(e *exception) {
	if !o.started {
		h := o.w.Header()
		h.Set("X-ClickHouse-Exception-Code", strconv.Itoa(e.code))
		h.Set("Content-Type", "text/plain; charset=UTF-8")
		o.w.WriteHeader(e.status())
		o.last(e.text + "\n")
		return
	}
	if o.blocks != nil {
		_ = o.block()
	}
	o.last("\r\n__exception__\r\n" + o.tag + "\r\n" + e.text + "\n" + strconv.Itoa(len(e.text)+1) + " " + o.tag + "\r\n__exception__\r\n")
	if o.zip != nil {
		_ = o.zip.Close()
	}
}

// last writes text in a block of its own that is framed but not compressed:
// clients look for it in the bytes as they come.
func (o *output) last(s string) {
	b := []byte(s)
	if o.blocks != nil {
		plain := compress.NewWriter(compress.LevelZero, compress.None)
		if err := plain.Compress(b); err == nil {
			b = plain.Data
		}
	}
	_, _ = o.raw(b) // the client may be gone; there is no one else to tell
}

// hello answers the query that clickhouse-go opens a connection with. The
// engine writes blocks of revision 0 and cannot be told otherwise; a client
// that hears revision 0 here reads every later block as it comes.
func (o *output) hello(version string, revision uint64) error {
	b := proto.NewBlock()
	for _, c := range [][2]string{{"displayName()", "String"}, {"version()", "String"}, {"revision()", "UInt32"}, {"timezone()", "String"}} {
		if err := b.AddColumn(c[0], column.Type(c[1])); err != nil {
			return fmt.Errorf("answer hello: %w", err)
		}
	}
	if err := b.Append("agentrail", version, uint32(0), "UTC"); err != nil {
		return fmt.Errorf("answer hello: %w", err)
	}
	var buf chproto.Buffer
	if err := b.Encode(&buf, revision); err != nil {
		return fmt.Errorf("answer hello: %w", err)
	}
	o.format("Native")
	_, err := o.Write(buf.Buf)
	return err
}

var _ io.Writer = (*output)(nil)
